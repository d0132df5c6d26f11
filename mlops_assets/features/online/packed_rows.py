"""The features of one entity as one MessagePack value: the event time of each view, then the features in the service's order."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

FORMAT = "msgpack"  # part of the digest: values of another format are never decoded
NEVER = int(np.iinfo(np.int64).min)  # the event time of a view without values for the entity
FOREVER = 2**62  # microseconds: longer than all years of a datetime, and any moment minus it is still after NEVER
MICROSECOND = timedelta(microseconds=1)
ENCODER, DECODER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(list[Any])

Row = list[Any]


@dataclass(frozen=True)
class Segment:
    """One feature view's part of a value. A `ttl` of zero never expires."""

    view: str
    ttl: timedelta
    features: Mapping[str, pl.DataType]


@dataclass(frozen=True)
class Layout:
    """The views that share their join keys in one feature service, in its order."""

    segments: tuple[Segment, ...]

    @cached_property
    def digest(self) -> str:
        """Changes whenever the bytes would be decoded differently, so that no reader decodes a value of another layout."""
        views = [(segment.view, [(name, str(dtype)) for name, dtype in segment.features.items()]) for segment in self.segments]
        return sha256(json.dumps([FORMAT, views]).encode()).hexdigest()[:12]

    @cached_property
    def lifetimes(self) -> NDArray[np.int64]:
        """Microseconds after its event time for which each view's part is valid."""
        return np.array([segment.ttl // MICROSECOND or FOREVER for segment in self.segments])

    @cached_property
    def unknown(self) -> Row:
        """The row of an entity without values."""
        return [NEVER] * len(self.segments) + [None] * sum(len(segment.features) for segment in self.segments)

    def number_of(self, view: str) -> int:
        return next(number for number, segment in enumerate(self.segments) if segment.view == view)

    def unpack(self, values: Sequence[bytes | None]) -> list[Row]:
        """The rows of these values; None is an unknown entity."""
        return [self.unknown.copy() if value is None else DECODER.decode(value) for value in values]

    def merge(self, values: Sequence[bytes | None], view: str, newest: pl.DataFrame) -> list[bytes]:
        """The values with that view's part replaced by `newest`: as many rows, with `timestamp` and the view's features.

        One row at a time: 100,000 decoded rows held together cost more in garbage collection than in decoding.
        """
        number = self.number_of(view)
        first = len(self.segments) + sum(len(segment.features) for segment in self.segments[:number])
        features = self.segments[number].features
        columns = [_without_nan(newest[name]).to_list() for name in features]
        times = newest["timestamp"].dt.epoch("us").to_list()
        merged: list[bytes] = []
        for value, time, known in zip(values, times, zip(*columns, strict=True), strict=True):
            row = self.unknown.copy() if value is None else DECODER.decode(value)
            row[number] = time
            row[first : first + len(features)] = known
            merged.append(ENCODER.encode(row))
        return merged


def _without_nan(column: pl.Series) -> pl.Series:
    return column.fill_nan(None) if column.dtype.is_float() else column
