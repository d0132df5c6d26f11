"""What every reader of a form returns: the columns as the file names them, and its rows as text in parts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeVar

import polars as pl

from mlops_assets.spec.contract import Contract

T = TypeVar("T")
LINES_AT_ONCE = 20_000  # are parsed before they become columns
ALL_EXACT = 2**53  # below it, every whole number has a float of its own
PLACE = {"problem": pl.String(), "source_line": pl.Int64()}


class UnreadableFile(ValueError):
    """A file of which no row can be read: what was found, what is legal, what to do."""


class Table(NamedTuple):
    """`header` has the names of the columns in the file, and `cut` what is wrong with its end. `rows` reads the rows: a name for
    each column, None for one that is not needed. Its frames have these columns as text, `problem` and `source_line`.
    """

    header: list[str]
    rows: Callable[[Sequence[str | None]], Iterable[pl.DataFrame]]
    cut: str | None = None
    delimiter: str | None = None


class Reader(Protocol):
    def __call__(self, file: BinaryIO, form: Any, /, *, contract: Contract, max_bytes: int) -> Table:
        """Raises UnreadableFile."""
        ...


def in_parts(rows: Iterable[T]) -> Iterator[list[T]]:
    """A line takes ten times its length as plain values."""
    remaining = iter(rows)
    return iter(lambda: [*islice(remaining, LINES_AT_ONCE)], [])


def read_all(file: BinaryIO, max_bytes: int) -> bytes:
    """Raises UnreadableFile above `max_bytes`."""
    content = bytearray()
    while block := file.read(1 << 20):  # a read of all bytes allocates max_bytes
        content += block
        if len(content) > max_bytes:
            raise UnreadableFile(too_large(max_bytes))
    return bytes(content)


def too_large(max_bytes: int) -> str:
    legal = f"legal: at most {max_bytes:,}. Deliver fewer rows, or raise max_bytes of the source"
    return f"it has more than {max_bytes:,} bytes when it is decompressed; {legal}"


def float_text(number: pl.Expr) -> pl.Expr:
    """A whole number is written as one, where no other number has the same float."""
    text = number.cast(pl.String())
    is_whole = (number.abs() < ALL_EXACT) & (number == number.round()) & (text != "-0.0")
    return pl.when(is_whole).then(number.cast(pl.Int64(), strict=False).cast(pl.String())).otherwise(text)
