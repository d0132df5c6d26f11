"""Reads on in the prediction log from where an earlier scan ended, and again what that could not read."""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from typing import BinaryIO, NamedTuple, Self

import msgspec
import polars as pl

from mlops_assets.serving.log.prediction_log import BLANK, START, PredictionLog, whole_lines


class SegmentProgress(msgspec.Struct, frozen=True):
    """What was read of one segment: its first `read` bytes without the parts `unreadable`, by start and length. `first` is the
    length of the first line and its hash, by which a segment of a restored log is distinguished from a lost one of its name.
    """

    read: int = 0
    first: tuple[int, str] = (0, "")
    unreadable: tuple[tuple[int, int], ...] = ()

    def in_file(self, file: BinaryIO) -> Self:
        """This, or nothing where the file is another one: it ends earlier, or was edited by more than an erasure."""
        first = _first_line(file)
        file.seek(max(self.read - 1, 0))
        is_same = first[0] == self.first[0] and (first[1] == self.first[1] or not (first[1] and self.first[1]))
        return self if is_same and file.read(1) == b"\n" else type(self)(first=first)


class Progress(msgspec.Struct, frozen=True):
    """How far a log was read, and by which columns and types. The field names are keys of stored JSON."""

    types: str = ""
    segments: dict[str, SegmentProgress] = {}


class LogRows(NamedTuple):
    """The rows that are new since an earlier scan; `faults` are what of the whole log cannot be read, `unreadable_ids` the
    answers that they name, `unreadable_share` their part of its bytes.
    """

    rows: pl.DataFrame
    progress: Progress
    faults: tuple[str, ...]
    unreadable_ids: tuple[str, ...]
    unreadable_share: float


class _Scanned(NamedTuple):
    rows: pl.DataFrame | None
    progress: SegmentProgress
    unreadable: Sequence[bytes] = ()


def types_of(log: PredictionLog) -> str:
    """A fingerprint of the columns, types and former names by which the lines are read."""
    text = json.dumps([[(name, str(dtype)) for name, dtype in log.schema.items()], sorted(log.renamed.items())])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def scan(log: PredictionLog, before: Progress | None = None) -> LogRows:
    """What was logged since. All of it where the columns or their types have changed, as lines may be read otherwise now."""
    types = types_of(log)
    known = before.segments if before and before.types == types else {}
    progress, frames, faults, ids = dict(known), [pl.DataFrame(schema=log.schema)], list[str](), list[str]()
    total, lost = 0, 0
    for name, size in log.segments().items():
        former = known.get(name, SegmentProgress())
        try:
            scanned = _scan_segment(log, name, former)
        except OSError as error:
            faults.append(f"{name} cannot be read: {error.strerror}")
            total, lost = total + size, lost + size - former.read
            continue
        frames += [] if scanned.rows is None else [scanned.rows]
        if scanned.progress.read:
            progress[name] = scanned.progress
        matches = [(line, START.match(line)) for line in scanned.unreadable]
        ids += [match[1].decode(errors="replace") for _, match in matches if match]
        faults += [f"{name} · {_describe(line)}" for line, _ in matches]
        total, lost = total + scanned.progress.read, lost + sum(map(len, scanned.unreadable))
    share = lost / total if total else 0.0
    return LogRows(pl.concat(frames), Progress(types, progress), tuple(faults), tuple(ids), share)


def _scan_segment(log: PredictionLog, name: str, former: SegmentProgress) -> _Scanned:
    with log.open_segment(name) as file:
        former = former.in_file(file)
        parts = [(start, _read(file, start, length)) for start, length in former.unreadable]
        new = whole_lines(file, former.read)
    parts.append((former.read, new))
    if not (new or former.unreadable):  # nearly all segments, and Polars takes 0.5 ms to make an empty table of as many columns
        return _Scanned(None, former)
    rows, unreadable = log.parse(b"".join(lines for _, lines in parts))
    places = tuple(_places(parts, set(unreadable)))
    return _Scanned(rows, SegmentProgress(former.read + len(new), former.first, places), unreadable)


def _read(file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


def _places(parts: Sequence[tuple[int, bytes]], unreadable: Collection[bytes]) -> Iterator[tuple[int, int]]:
    """Start and length of the unreadable lines; neighbours are one part."""
    if not unreadable:
        return
    for start, lines in parts:
        begin, at = start, start
        for line in lines.split(b"\n")[:-1]:
            end = at + len(line) + 1
            if line not in unreadable:
                if begin < at:
                    yield begin, at - begin
                begin = end
            at = end
        if begin < at:
            yield begin, at - begin


def _first_line(file: BinaryIO) -> tuple[int, str]:
    """Its length, and its hash unless it was erased."""
    file.seek(0)
    line = file.readline()
    return len(line), "" if line.startswith(BLANK) else hashlib.sha256(line).hexdigest()[:12]


def _describe(line: bytes) -> str:
    """Names a line without its values, which may be personal."""
    match = START.match(line)
    return f"answer {match[1].decode(errors='replace')}" if match else f"a line of {len(line):,} bytes that names no answer"
