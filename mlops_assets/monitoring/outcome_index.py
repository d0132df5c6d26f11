"""Which days of predictions and which partitions of labels belong together, by hashes of their keys."""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple, Self

import msgspec
import polars as pl
from deltalake import DeltaTable

from mlops_assets.features.featurize import known_labels
from mlops_assets.foundation.calendars import DAY
from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.foundation.stored_frame import read_frame, write_frame
from mlops_assets.spec.use_case import UseCase

SERVED, LABELS, ROWS = range(3)  # keys of predictions, of labels, and unique columns of the rows that labels are made from
SCHEMA = pl.Schema({"side": pl.Int8(), DAY: pl.Date(), "hash": pl.List(pl.Int32())})
Days = Collection[date]


class DayCounts(msgspec.Struct, frozen=True):
    """Of the predictions of one day; at `next_known_at` the first label is known that is stored and dated later than the run."""

    known: int = 0
    waiting: int = 0
    repeated: int = 0
    next_known_at: datetime | None = None


class MadeFrom(msgspec.Struct, frozen=True):
    """What outcomes were joined from: `code`, the `table` of predictions and its `version`, and a digest of the files of each
    partition of labels. `days` are those with predictions. The field names are keys of stored JSON.
    """

    code: str = ""
    table: str = ""
    version: int = -1
    partitions: dict[date, str] = {}
    days: dict[date, DayCounts] = {}

    def due(self, now: datetime) -> set[date]:
        """The days with a label that is known by now and was not by the last report."""
        return {day for day, counts in self.days.items() if counts.next_known_at and counts.next_known_at <= now}


class OutcomeIndex(NamedTuple):
    """The hashes of each day and partition, 4 bytes a key, so that a year is read in some milliseconds. A wrong match by a hash
    adds a day or a partition to what is joined, which changes no result.
    """

    hashes: pl.DataFrame
    made_from: MadeFrom

    @classmethod
    def empty(cls) -> Self:
        return cls(SCHEMA.to_frame(), MadeFrom())

    @classmethod
    def read(cls, file: Path) -> Self:
        """An empty one where there is none."""
        stored = read_frame(file)
        return cls(stored[0], msgspec.json.decode(stored[1], type=MadeFrom)) if stored else cls.empty()

    def write(self, file: Path) -> None:
        write_frame(file, self.hashes, msgspec.json.encode(self.made_from).decode())

    def replaced(self, side: int, days: Days | None, hashes: pl.DataFrame) -> Self:
        """With these hashes in place of those of `days` (None: of all)."""
        is_old = pl.col("side") == side
        if days is not None:
            is_old &= pl.col(DAY).is_in([*days])
        new = hashes.unique().group_by(DAY).agg("hash").select(pl.lit(side, SCHEMA["side"]).alias("side"), DAY, "hash")
        return self._replace(hashes=pl.concat([self.hashes.filter(~is_old), new]))

    def hashes_of(self, side: int, days: Days) -> pl.Series:
        return self.hashes.filter(pl.col("side") == side, pl.col(DAY).is_in([*days]))["hash"].explode().unique()

    def days_of(self, side: int, hashes: pl.Series) -> set[date]:
        if hashes.is_empty():
            return set()
        keys = self.hashes.filter(pl.col("side") == side).select(DAY, "hash").explode("hash")
        return {*keys.filter(pl.col("hash").is_in(hashes.implode()))[DAY].unique()}

    def versions_of(self, partitions: Days) -> set[date]:
        """These partitions of labels, and those with another version of any of their rows."""
        return {*partitions, *self.days_of(ROWS, self.hashes_of(ROWS, partitions))}


def key_hash(columns: Iterable[pl.Expr]) -> pl.Expr:
    """Equal for equal values of equal types, in one version of Polars."""
    return (pl.struct(*columns).hash(0) & 0x7FFFFFFF).cast(pl.Int32).alias("hash")


def hash_served(use_case: UseCase, predictions: pl.LazyFrame) -> pl.DataFrame:
    day = pl.col(EVENT_TIMESTAMP).dt.date().alias(DAY)
    return predictions.select(day, key_hash(map(pl.col, use_case.label.key))).collect()


def hash_labels(use_case: UseCase, truths: pl.LazyFrame, types: pl.Schema, partitions: Days) -> pl.DataFrame:
    """Of the labels that the rows of each partition alone have, by the `types` of the predictions."""
    keys = [pl.col(name).cast(types[name], strict=False) for name in use_case.label.key]
    parts = truths.filter(pl.col(DAY).is_in([*partitions])).collect().partition_by(DAY, as_dict=True)
    labels = {day: known_labels(use_case, rows.lazy()).select(key_hash(keys)).collect() for (day,), rows in parts.items()}
    frames = [hashes.select(pl.lit(day).alias(DAY), "hash") for day, hashes in labels.items()]
    return pl.concat([pl.DataFrame(schema={DAY: pl.Date(), "hash": pl.Int32()}), *frames])


def hash_rows(unique: Sequence[str], truths: pl.LazyFrame) -> pl.DataFrame:
    return truths.select(DAY, key_hash(map(pl.col, unique))).collect()


def partition_files(path: Path) -> dict[date, str] | None:
    """A digest of the names of each partition's files, which change with its rows; None where it is not stored by day."""
    table = DeltaTable(str(path))
    if table.metadata().partition_columns != [DAY]:
        return None
    files = pl.DataFrame(table.get_add_actions(flatten=True)).sort("path").group_by(f"partition.{DAY}").agg("path")
    return {day: hashlib.sha256("\n".join(paths).encode()).hexdigest()[:12] for day, paths in files.iter_rows()}
