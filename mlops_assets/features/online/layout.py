"""How the values of one entity are packed: a MessagePack row for all views of a service that share its join keys."""

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

Row = list[Any]  # the event time of each view, then the features in the service's order
FORMAT = "msgpack"  # part of the digest: values of another format are never decoded
NEVER = int(np.iinfo(np.int64).min)  # the event time of a view without values for the entity
FOREVER = 2**62  # microseconds: longer than all years of a datetime, and any moment minus it is still after NEVER
ENCODER, DECODER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(list[Any])


@dataclass(frozen=True)
class ServiceView:
    """One view as a service includes it. A `ttl` of zero never expires."""

    name: str
    declared: str  # its name in the registry
    ttl: timedelta
    features: Mapping[str, pl.DataType]
    keys: Mapping[str, tuple[str, pl.DataType]]  # the name of each join key in an entity frame, and its type

    @cached_property
    def lifetime_us(self) -> int:
        """Microseconds after its event time for which a value is valid."""
        return self.ttl // timedelta(microseconds=1) or FOREVER

    @cached_property
    def frame_keys(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.keys.values())


@dataclass(frozen=True)
class Layout:
    """The views of one feature service that share `keys`, their join keys as an entity frame names them, in its order."""

    keys: tuple[str, ...]
    views: tuple[ServiceView, ...]

    @cached_property
    def digest(self) -> str:
        """Changes whenever bytes would be decoded, or keys written, differently: no reader reads a value of another layout."""
        views = [(view.name, [(name, str(dtype)) for name, dtype in view.features.items()]) for view in self.views]
        # Keys are stored as text, in which the number 7 equals "7" and differs from "007". Text keys keep their first digest.
        numbers = {name: str(dtype) for view in self.views for name, dtype in view.keys.values() if dtype != pl.String()}
        return sha256(json.dumps([FORMAT, views, *numbers.items()]).encode()).hexdigest()[:12]

    @cached_property
    def unknown(self) -> Row:
        """The row of an entity without values."""
        return [NEVER] * len(self.views) + [None] * sum(len(view.features) for view in self.views)

    def number_of(self, view: str) -> int:
        return [member.name for member in self.views].index(view)

    def unpack(self, value: bytes | None) -> Row:
        return self.unknown.copy() if value is None else DECODER.decode(value)

    def merge(self, values: Sequence[bytes | None], view: str, newest: pl.DataFrame) -> list[bytes]:
        """The values with that view's part replaced by `newest`: one row per value, `timestamp` (null: the entity has no values
        any more) and the view's features.
        """
        number = self.number_of(view)
        first = len(self.views) + sum(len(before.features) for before in self.views[:number])
        columns = [newest[name] for name in self.views[number].features]
        features = [(column.fill_nan(None) if column.dtype.is_float() else column).to_list() for column in columns]
        times = newest["timestamp"].dt.epoch("us").fill_null(NEVER).to_list()
        merged: list[bytes] = []
        # One row at a time: 100,000 decoded rows held together cost more in garbage collection than in decoding.
        for value, time, known in zip(values, times, zip(*features, strict=True), strict=True):
            row = self.unpack(value)
            row[number] = time
            row[first : first + len(features)] = known
            merged.append(ENCODER.encode(row))
        return merged
