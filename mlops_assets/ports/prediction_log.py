"""Every answer that was given, with what it was given from: JSON lines, durable before the answer leaves.

Belongs here: the log's schema, appending, reading on from a position. Not here: joining labels (stages) or answering (serving).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import polars as pl

from mlops_assets.ports.durable_file import sync_folder
from mlops_assets.spec.contract import DType
from mlops_assets.spec.use_case import UseCase
from mlops_assets.spec.word import IllegalDeclaration

UTC = pl.Datetime("us", "UTC")
DTYPES: dict[DType, pl.DataType] = {
    "string": pl.String(),
    "int": pl.Int64(),
    "float": pl.Float64(),
    "datetime": UTC,
    "bool": pl.Boolean(),
}
ANSWER: dict[str, pl.DataType] = {
    "prediction_id": pl.String(),
    "answered_at": UTC,
    "event_timestamp": UTC,  # the prediction moment: nothing newer was used
    "model_version": pl.Int64(),
    "model_digest": pl.String(),
    "probability": pl.Float64(),
    "decision": pl.Boolean(),
    "features_from": pl.String(),  # online, last_known or point_in_time
    "latency_ms": pl.Float64(),
}


@dataclass(frozen=True)
class Segment:
    """One file of the log: what one process start has answered. It only grows, and only while that process lives."""

    name: str
    bytes: int


def log_schema(use_case: UseCase) -> pl.Schema:
    """ANSWER, then the request's columns, then the model's inputs that the request does not carry by the same name.

    Raises IllegalDeclaration when a request column or an input bears a name of ANSWER.
    """
    contract = use_case.contract(use_case.features.request_table)
    request = {name: DTYPES[contract.column(name).dtype] for name in use_case.features.request}
    inputs = dict.fromkeys(use_case.features.numeric, DTYPES["float"])
    inputs |= dict.fromkeys(use_case.features.categorical, DTYPES["string"])
    taken = sorted(ANSWER.keys() & (request.keys() | inputs.keys()))
    if taken:
        raise IllegalDeclaration(f"{use_case.name} · features · {', '.join(taken)} is a column of the prediction log. Rename it.")
    return pl.Schema(ANSWER | request | {name: dtype for name, dtype in inputs.items() if name not in request})


class PredictionLog:
    """The log of one use case, `<folder>/<use case>/<number>.jsonl`: one segment for each process that answered."""

    def __init__(self, folder: Path, use_case: UseCase) -> None:
        self.schema = log_schema(use_case)
        self._folder = folder / use_case.name
        self._file: BinaryIO | None = None
        self._lock = Lock()

    def append(self, rows: pl.DataFrame) -> None:
        """Durable when it returns. `rows` has every column of `schema`; others are left out. Raises OSError, PolarsError."""
        lines = rows.select(pl.col(name).cast(dtype) for name, dtype in self.schema.items())
        content = lines.with_columns(pl.selectors.datetime().dt.to_string("iso:strict")).write_ndjson().encode()
        with self._lock:
            file = self._file or self._open_segment()
            self._file = None  # after a failed write, its torn line stays the last of its segment
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            self._file = file

    def segments(self) -> list[Segment]:
        """Every segment with its size, in the order of their starts."""
        return [Segment(path.name, path.stat().st_size) for path in sorted(self._folder.glob("*.jsonl"))]

    def read(self, after: Mapping[str, int] | None = None) -> tuple[pl.DataFrame, dict[str, int]]:
        """The rows after the positions `after` (bytes by segment name), and the positions to go on from.

        An unfinished last line is left for the next read: it was not answered yet, or never will be.
        """
        positions = dict(after or {})
        frames = [pl.DataFrame(schema=self.schema)]
        for segment in self.segments():
            lines = self._whole_lines(segment.name, positions.get(segment.name, 0))
            positions[segment.name] = positions.get(segment.name, 0) + len(lines)
            if lines:
                frames.append(self._parse(lines))
        return pl.concat(frames), positions

    def _open_segment(self) -> BinaryIO:
        self._folder.mkdir(parents=True, exist_ok=True)
        number = max((int(path.stem) for path in self._folder.glob("*.jsonl")), default=0)
        while True:
            number += 1
            try:
                file = (self._folder / f"{number:06d}.jsonl").open("xb")
            except FileExistsError:  # another process took the number
                continue
            sync_folder(self._folder)
            return file

    def _whole_lines(self, name: str, position: int) -> bytes:
        with (self._folder / name).open("rb") as file:
            file.seek(position)
            content = file.read()
        return content[: content.rfind(b"\n") + 1]

    def _parse(self, lines: bytes) -> pl.DataFrame:
        moments = [name for name, dtype in self.schema.items() if dtype == UTC]
        text = pl.read_ndjson(lines, schema={**self.schema, **dict.fromkeys(moments, pl.String())})
        return text.with_columns(pl.col(moments).str.to_datetime("%+", time_unit="us", time_zone="UTC"))
