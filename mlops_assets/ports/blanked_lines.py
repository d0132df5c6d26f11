"""Lines of a log that are erased in place: blanks take their room, so that no reader's position moves.

Belongs here: finding, blanking and passing over them. Not here: what the lines say to readers (prediction_log.py).
A writer may hold the file open: it only appends, and only whole lines are touched.
"""

import fcntl
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from mlops_assets.ports.sought import Sought

BLANK = b" "  # what an erased line begins with, and no line of JSON does


class Span(NamedTuple):
    """A line without its line feed, in bytes."""

    start: int
    length: int


def without_blanked(lines: bytes) -> bytes:
    """Whole lines but the erased ones, those included whose erasing a kill has interrupted."""
    if not lines.startswith(BLANK) and b"\n" + BLANK not in lines:
        return lines
    return b"".join(line + b"\n" for line in lines.split(b"\n")[:-1] if not line.startswith(BLANK))


@contextmanager
def unchanging(file: BinaryIO) -> Generator[None]:
    """For a reader: no line is blanked meanwhile."""
    fcntl.flock(file, fcntl.LOCK_SH)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


@dataclass(frozen=True)
class LoggedRows:
    """The sought rows in the segments below `folder`, `<number>.jsonl`."""

    folder: Path
    sought: Sought

    def count(self) -> int:
        return sum(1 for segment in self._segments() for _ in _spans(segment, self._is_sought()))

    def erase(self) -> None:
        """A kill at any point leaves no row half read: a line is marked, durably, before its content is blanked."""
        is_sought = self._is_sought()
        for segment in self._segments():
            spans = [*_spans(segment, lambda line: is_sought(line) or _is_half_blanked(line))]
            if spans:
                _blank(segment, spans)

    def _segments(self) -> list[Path]:
        return sorted(self.folder.glob("*.jsonl"))

    def _is_sought(self) -> Callable[[bytes], bool]:
        sought, decode = self.sought, msgspec.json.Decoder(dict[str, object]).decode
        spelled = (msgspec.json.encode(sought.text)[1:-1], sought.hashed.encode())

        def is_sought(line: bytes) -> bool:
            """Few lines are worth decoding: a segment of 256 MB has 200,000."""
            likely = any(text in line for text in spelled) and not line.startswith(BLANK)
            return likely and sought.is_in(decode(line))

        return is_sought


def _spans(path: Path, is_sought: Callable[[bytes], bool]) -> Iterator[Span]:
    """An unfinished last line is not answered yet, and left alone."""
    with path.open("rb") as file:
        start = 0
        for line in file:
            if line.endswith(b"\n") and is_sought(line):
                yield Span(start, len(line) - 1)
            start += len(line)


def _is_half_blanked(line: bytes) -> bool:
    return line.startswith(BLANK) and not line.isspace()


def _blank(path: Path, spans: list[Span]) -> None:
    with path.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # waits for readers, and ends with the file
        for span in spans:
            os.pwrite(file.fileno(), BLANK, span.start)
        os.fsync(file.fileno())
        for span in spans:
            os.pwrite(file.fileno(), BLANK * span.length, span.start)
        os.fsync(file.fileno())
