"""Every answer with its inputs: JSON lines, written to the operating system before the answer is sent."""

import errno
import fcntl
import mmap
import os
import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import Any, BinaryIO, cast

import msgspec
import polars as pl

from mlops_assets.foundation.atomic_file import sync_folder
from mlops_assets.foundation.conversions import TYPES, UTC, stored_type
from mlops_assets.foundation.names import EVENT_TIMESTAMP, FEATURE_AGE_S
from mlops_assets.foundation.wording import counted
from mlops_assets.serving.http.request import request_columns
from mlops_assets.serving.log.keyed_hash import keyed_hash
from mlops_assets.serving.log.logged_lines import parse_lines
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.use_case import UseCase
from mlops_assets.tasks import task_of

ROUTED: dict[str, pl.DataType] = {
    "prediction_id": pl.String(),
    "answered_at": UTC,
    EVENT_TIMESTAMP: UTC,  # the prediction moment: nothing newer was used
    "trace_id": pl.String(),
    "plan": pl.Int64(),
    "arm": pl.String(),  # champion, challenger or shadow
    "model_version": pl.Int64(),
    "model_digest": pl.String(),
}
ANSWERED: dict[str, pl.DataType] = {
    "features_from": pl.String(),  # online, last_known, point_in_time, or request
    "latency_ms": pl.Float64(),
    "call": pl.Int64(),  # the same for all rows that were scored together
    "model_ms": pl.Float64(),  # of the model, for all rows of the call
    "challenger_failed": pl.Boolean(),  # it gave no legal output, so the champion scored the row
}
REQUIRED = ("answered_at", EVENT_TIMESTAMP, "plan", "model_version", "model_digest")
SEGMENT_BYTES = 256 * 1024 * 1024
START = re.compile(rb'\{"prediction_id":"([^"\\]{1,80})"')
COPIED_BYTES = 1024 * 1024
BLANK = b" "  # the start of an erased line, and of no line of JSON; an erased line keeps its length, and so readers' positions


class UnknownPrediction(LookupError):
    """The log holds no prediction of this id."""


class AlteredLine(ValueError):
    """A line that the log did not write."""


def answer_columns(use_case: UseCase) -> dict[str, pl.DataType]:
    """The columns of every answer: how it was routed, the prediction, how it was made."""
    return ROUTED | dict(task_of(use_case.task).COLUMNS) | ANSWERED


def log_schema(use_case: UseCase) -> pl.Schema:
    """The columns of every answer, with those of the task and, next to a shadow's own output, the champion's (else null); the age
    of each view's features, the request columns, then the inputs that are no request columns. Personal data is text where its
    contract hashes it, and absent where it is left out. Raises IllegalDeclaration where a name is one of the log's own columns.
    """
    features, columns = use_case.features, request_columns(use_case)
    request = {column.name: pl.String() if column.pii else stored_type(column) for column in columns}
    inputs = dict.fromkeys(features.numeric, TYPES["float"]) | dict.fromkeys(features.categorical, TYPES["string"])
    ages = {FEATURE_AGE_S: pl.Struct({view.name: pl.Float64() for view in features.views})} if features.views else {}
    own = answer_columns(use_case) | task_of(use_case.task).rival_columns() | ages
    # A label of such a name would be compared with the log's own values.
    if taken := sorted(own.keys() & (request.keys() | inputs.keys() | {use_case.label.name})):
        raise IllegalDeclaration(f"{use_case.name} · features · {', '.join(taken)} is a column of the prediction log. Rename it.")
    left_out = {column.name for column in columns if column.pii == "left_out"}
    columns_by_name = own | request | inputs | request  # in this order; a column that is an input, too, has its request's type
    return pl.Schema({name: dtype for name, dtype in columns_by_name.items() if name not in left_out})


class PredictionLog:
    """The log of one use case, `<folder>/<use case>/<number>.jsonl`, in new segments for each writing process. Thread-safe. A
    killed process loses no row that was appended; a power cut at most the rows since the last `flush`. `secret` is the key of
    the hash that replaces personal data; only a writer needs it.
    """

    def __init__(self, folder: Path, use_case: UseCase, *, secret: bytes = b"", segment_bytes: int = SEGMENT_BYTES) -> None:
        self.schema = log_schema(use_case)
        self._required = (*REQUIRED, *task_of(use_case.task).COLUMNS)
        self._answer = {*answer_columns(use_case), *task_of(use_case.task).rival_columns()}
        self._folder = folder / use_case.name
        self._max_waiting = use_case.serving.log.max_lost_rows
        self._segment_bytes = segment_bytes
        self._secret = secret
        columns = {column.renamed_from: column.name for column in request_columns(use_case) if column.name in self.schema}
        self.renamed = {old: new for old, new in columns.items() if old and old not in self.schema}
        self._hashed = [column.name for column in request_columns(use_case) if column.pii == "hashed"]
        self._encode = msgspec.json.Encoder().encode
        self._file: int | None = None
        self._written = 0
        self._waiting: list[bytes] = []
        self.problem = ""  # why the newest write failed
        self._lock = Lock()

    def append(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Rows with every column of `schema`; others are left out. Raises KeyError, OSError; none of them is logged then."""
        lines = [self._line(row) for row in rows]
        with self._lock:
            if len(self._waiting) + len(lines) > self._max_waiting:
                self._write([*self._waiting, *lines])
            else:
                self._waiting += lines

    def spool(self) -> BinaryIO:
        """A file without a name, next to the segments: for rows that wait. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return cast(BinaryIO, TemporaryFile(dir=self._folder))

    def lines(self, rows: Sequence[Mapping[str, object]]) -> bytes:
        """As `append` writes them."""
        return b"\n".join([*(self._line(row) for row in rows), b""])

    def append_file(self, file: BinaryIO) -> None:
        """All `lines` of a file. Raises OSError; none of them is logged then."""
        with self._lock:
            if self._waiting:
                self._write(self._waiting)
            file.seek(0)
            self._write_parts(iter(partial(file.read, COPIED_BYTES), b""))

    def flush(self) -> None:
        """Syncs everything to disk. Raises OSError; rows that waited then still wait."""
        with self._lock:
            if self._waiting:
                self._write(self._waiting)
            file = None if self._file is None else os.dup(self._file)
        if file is not None:
            try:  # outside the lock: a sync may take long, and answers do not wait for it
                os.fsync(file)
            finally:
                os.close(file)

    def segments(self) -> dict[str, int]:
        """The bytes of every segment by its file's name, in order. Each grows while the one process lives that writes it."""
        return {path.name: path.stat().st_size for path in sorted(self._folder.glob("*.jsonl"))}

    def read(self, after: Mapping[str, int] | None = None) -> tuple[pl.DataFrame, dict[str, int]]:
        """The rows after the positions `after` (bytes by segment name), and the positions to continue from. Only whole lines
        count: a process killed in a write doubles nothing. What cannot be read is left out; log_reader.py names it.
        """
        positions, frames = dict(after or {}), [pl.DataFrame(schema=self.schema)]
        for name in self.segments():
            with suppress(OSError), self.open_segment(name) as file:
                lines = whole_lines(file, positions.get(name, 0))
                positions[name] = positions.get(name, 0) + len(lines)
                frames.append(self.parse(lines)[0])
        return pl.concat(frames), positions

    @contextmanager
    def open_segment(self, name: str) -> Generator[BinaryIO]:
        with (self._folder / name).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # redaction holds it exclusively; no reader waits for another
            yield file

    def parse(self, lines: bytes) -> tuple[pl.DataFrame, list[bytes]]:
        """The rows of whole lines but the erased ones, and the lines that cannot be read, in order."""
        return parse_lines(without_erased(lines), self.schema, self.renamed)

    def find(self, prediction_id: str) -> pl.DataFrame:
        """The row of a prediction, in bounded memory, with inputs no longer declared. Raises UnknownPrediction, AlteredLine."""
        # Quotes within a value are escaped, so this text occurs only at the start of a line.
        start = b'{"prediction_id":' + self._encode(prediction_id) + b","
        segments = self.segments()
        for path in [self._folder / name for name, size in reversed(segments.items()) if size]:
            if (line := _last_line(path, start)) is None:
                continue
            where = f"{path} · answer {prediction_id} · its line"
            row, unreadable = parse_lines(line, self.schema, self.renamed)
            if unreadable:
                raise AlteredLine(f"{where} cannot be read. It was altered, or a column has a narrower type than it had then.")
            if missing := [name for name in self._required if row[name][0] is None]:
                raise AlteredLine(f"{where} lacks {', '.join(missing)}, which the log never leaves out. It was altered.")
            return self._as_written(row, msgspec.json.decode(line, type=dict[str, Any]))
        raise UnknownPrediction(
            f"{self._folder} · no answer {prediction_id!r} in its {counted(len(segments), 'segment')} "
            f"({sum(segments.values()) / 1e6:,.1f} MB). Look for the id in another use case or home, or among what was erased."
        )

    def _as_written(self, row: pl.DataFrame, fields: Mapping[str, Any]) -> pl.DataFrame:
        present = {*self._answer, FEATURE_AGE_S, *fields, *(self.renamed[name] for name in fields if name in self.renamed)}
        former = {name: [value] for name, value in fields.items() if name not in self.schema and name not in self.renamed}
        return row.select(name for name in self.schema if name in present).with_columns(pl.DataFrame(former))

    def _line(self, row: Mapping[str, object]) -> bytes:
        kept: dict[str, Any] = {name: row[name] for name in self.schema}
        for name in self._hashed:
            kept[name] = None if kept[name] is None else keyed_hash(kept[name], self._secret)
        return self._encode(kept)

    def _write(self, lines: list[bytes]) -> None:
        self._write_parts([b"\n".join([*lines, b""])])
        self._waiting = []

    def _write_parts(self, parts: Iterable[bytes]) -> None:
        try:
            self._write_all(parts)
        except OSError as error:
            self.problem = error.strerror or str(error)
            raise
        self.problem = ""

    def _write_all(self, parts: Iterable[bytes]) -> None:
        """All parts or none: what a full disk took of them is truncated, and its segment ends there."""
        if self._file is None or self._written >= self._segment_bytes:
            self._open_segment()
        assert self._file is not None
        written = self._written
        try:
            for content in parts:
                if os.write(self._file, content) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._folder))
                written += len(content)
        except OSError:
            if os.fstat(self._file).st_size > self._written:
                os.ftruncate(self._file, self._written)
                self._close_segment()  # a reader may have read the part, and its position must not point into other lines
            raise
        self._written = written

    def _close_segment(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open_segment(self) -> None:
        self._close_segment()
        self._folder.mkdir(parents=True, exist_ok=True)
        number = max((int(path.stem) for path in self._folder.glob("*.jsonl")), default=0)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        while self._file is None:
            number += 1
            with suppress(FileExistsError):  # another process took the number
                self._file = os.open(self._folder / f"{number:06d}.jsonl", flags, 0o660)  # the platform erases in it
        self._written = 0
        sync_folder(self._folder)


def whole_lines(file: BinaryIO, start: int) -> bytes:
    """From `start` on."""
    file.seek(start)
    content = file.read()
    return content[: content.rfind(b"\n") + 1]


def without_erased(lines: bytes) -> bytes:
    """Whole lines except those that were erased, or whose erasure was killed half way."""
    if not lines.startswith(BLANK) and b"\n" + BLANK not in lines:
        return lines
    return b"".join(line + b"\n" for line in lines.split(b"\n")[:-1] if not line.startswith(BLANK))


def _last_line(path: Path, start: bytes) -> bytes | None:
    """The last whole line of a file that is not empty, of those that start with `start`, which occurs nowhere else in a line."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        fcntl.flock(file, fcntl.LOCK_SH)
        end = content.rfind(b"\n") + 1
        at = content.rfind(start, 0, end)
        return None if at < 0 else content[at : content.find(b"\n", at) + 1]
