"""Rows on disk, in the order of their partitions: in memory are those of a few partitions alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

PARTITION = "_partition"
MAX_BYTES = 64_000_000  # of the frames that wait for the disk
ROWS_AT_ONCE = 500_000  # of several partitions; one partition is read whole
ROWS_OF_GROUP = 20_000  # a group without a row of the partitions is not read


class Spool:
    """Frames with the column PARTITION, in files of `folder`. `rows`: how many, and `last`: the last partition."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES, rows_at_once: int = ROWS_AT_ONCE) -> None:
        self._folder, self._max_bytes, self._rows_at_once = folder, max_bytes, rows_at_once
        self._waiting, self._counts = list[pl.DataFrame](), dict[Any, int]()

    @property
    def rows(self) -> int:
        return sum(self._counts.values())

    @property
    def last(self) -> Any:
        return max(self._counts, default=None)

    def add(self, frame: pl.DataFrame) -> None:
        self._waiting.append(frame)
        if sum(waiting.estimated_size() for waiting in self._waiting) > self._max_bytes:
            self.flush()

    def flush(self) -> None:
        if rows := self._waiting:
            frame = pl.concat(rows).sort(PARTITION, maintain_order=True)
            for partition, count in frame[PARTITION].value_counts().iter_rows():
                self._counts[partition] = self._counts.get(partition, 0) + count
            number = len([*self._folder.iterdir()])
            frame.write_parquet(self._folder / f"{number:06}.parquet", row_group_size=ROWS_OF_GROUP, compression="lz4")
            self._waiting = []

    def batches(self) -> Iterator[pl.DataFrame]:
        """The rows of several whole partitions at a time, these in order, and within one in the order of arrival."""
        for first, last in self._spans():
            yield pl.scan_parquet(self._folder / "*.parquet").filter(pl.col(PARTITION).is_between(first, last)).collect()

    def _spans(self) -> Iterator[tuple[Any, Any]]:
        batch, size = list[Any](), 0
        for partition, count in sorted(self._counts.items()):
            if batch and size + count > self._rows_at_once:
                yield batch[0], batch[-1]
                batch, size = [], 0
            batch.append(partition)
            size += count
        if batch:
            yield batch[0], batch[-1]
