"""The rows of a large request, which stay text until they are read, a block at a time."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import msgspec

BLOCK_ROWS = 5000  # as values, with their answers and lines of the log, some 20 MB
FEWEST_BYTES = 8  # of a field with its name, in a row
Row = tuple[Any, ...]


def has_many_rows(body: bytes, max_rows: int) -> bool:
    """Whether a request can be legal and is better read in blocks. Any other is refused at its first illegal row: as texts,
    sixteen megabytes of `{},` are 5 million rows, and half a gigabyte.
    """
    objects = body.count(b"{")
    is_legal = objects <= 2 * max_rows + 1  # rows, features, and the request itself
    return is_legal and objects > BLOCK_ROWS and body.count(b",") * FEWEST_BYTES <= len(body)


class RowsOfText(Sequence[Row]):
    """`parse` gets the texts of some rows that follow, and the number of the first; it raises BadRequest."""

    def __init__(self, texts: Sequence[msgspec.Raw], parse: Callable[[Sequence[msgspec.Raw], int], list[Row]]) -> None:
        self._texts, self._parse = texts, parse

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        if isinstance(at, slice):
            return self._parse(self._texts[at], at.indices(len(self))[0])
        return self._parse([self._texts[at]], at)[0]

    def __iter__(self) -> Iterator[Row]:
        for at in range(0, len(self), BLOCK_ROWS):
            yield from self[at : at + BLOCK_ROWS]
