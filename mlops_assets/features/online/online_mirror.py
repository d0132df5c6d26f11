"""The packed copy of one feature service next to Feast's online store: one value per entity and version of the service.

A key names service, layout and entity, so that versions of a service do not overwrite each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.features.online.key_value_stores import KeyValueStore
from mlops_assets.features.online.packed_rows import NEVER, Layout, Row

Moments = NDArray[np.int64]  # microseconds since 1970, UTC
Ages = dict[str, float | None]
POINT_IN_TIME = "point_in_time"
PREFIX_LETTERS = 8


class NotFilled(LookupError):
    """The store answers and holds nothing of this service: it is new, or has been emptied."""


@dataclass(frozen=True)
class Group:
    """The part of a service whose views share `keys`, the join keys as an entity frame names them."""

    keys: tuple[str, ...]
    layout: Layout


class LookupResult(NamedTuple):
    """Row by row: `features` by name (None or NaN: not known), the source of each row, and its ages in seconds by view
    (None: not known). Plain values: a frame of 25 features costs 0.7 ms to build and read, as much as the whole lookup.
    """

    features: dict[str, list[Any]]
    features_from: list[str]
    ages: list[Ages | None]

    def replace(self, places: Sequence[int], others: "LookupResult") -> None:
        """Puts the rows of `others` into these places."""
        pairs = [(column, others.features[name]) for name, column in self.features.items()]
        for ours, theirs in [*pairs, (self.features_from, others.features_from), (self.ages, others.ages)]:
            for place, value in zip(places, cast(list[Any], theirs), strict=True):
                cast(list[Any], ours)[place] = value


@dataclass(frozen=True)
class OnlineValues:
    """Row by row: `features` by name, None where not known; `event_times` (NEVER where missing) and `fresh` of shape
    (rows, views), in the order of `views`. `age_s`: see blob_stores.Read.
    """

    features: dict[str, list[Any]]
    views: tuple[str, ...]
    event_times: Moments
    fresh: NDArray[np.bool_]
    age_s: float

    def ages(self, at: Moments) -> list[Ages | None]:
        """Seconds from each view's event time to `at`, shape (rows,)."""
        rows = zip(at.tolist(), self.event_times.tolist(), strict=True)
        return [
            {view: None if time == NEVER else (moment - time) / 1e6 for view, time in zip(self.views, times, strict=True)}
            for moment, times in rows
        ]


@dataclass(frozen=True)
class OnlineMirror:
    """One feature service in one store."""

    service: str
    groups: tuple[Group, ...]
    blobs: KeyValueStore

    @cached_property
    def prefixes(self) -> tuple[str, ...]:
        """The start of the keys of each group, for service, layout and join keys: a short key is read faster."""
        names = (f"{self.service}/{group.layout.digest}/{'+'.join(group.keys)}" for group in self.groups)
        return tuple(sha256(name.encode()).hexdigest()[:PREFIX_LETTERS] for name in names)

    def read(self, entities: Mapping[str, Sequence[object]], moments: Moments) -> OnlineValues:
        """Features by name at each moment: what is older than its view's TTL is stale and has no value.

        `entities` has one sequence for each join key, of the length of `moments`; a null key is an unknown entity.
        All values come from one read, so that a row is never half from before a materialization and half from after.
        Raises OnlineStoreDown, and NotFilled rather than calling every entity unknown.
        """
        keys = [_entity_keys(prefix, entities, group.keys) for prefix, group in zip(self.prefixes, self.groups, strict=True)]
        distinct = dict.fromkeys([key for of_group in keys for key in of_group if key is not None])
        stored = self.blobs.read([self._ready, *distinct])
        if stored.values[0] is None:
            raise NotFilled(f"feature service {self.service!r} · nothing of it is online yet. Materialize its features.")
        values: dict[str | None, bytes | None] = {None: None, **dict(zip(distinct, stored.values[1:], strict=True))}
        pairs = zip(self.groups, keys, strict=True)
        parts = [group.layout.unpack([values[key] for key in of_group]) for group, of_group in pairs]
        return self._values(parts, moments, stored.age_s)

    def write(self, view: str, newest: pl.DataFrame) -> None:
        """The newest values of one view: its join keys, distinct, its features, and `timestamp`; a null key is nobody's.

        They replace what is held, newer or not: a table that is put right may take a value back. Raises OnlineStoreDown.
        """
        prefix, group = self.home_of(view)
        named = newest.drop_nulls(group.keys)
        keys = _entity_keys(prefix, {key: named[key].to_list() for key in group.keys}, group.keys)
        _write(self.blobs, group.layout, view, [key for key in keys if key is not None], named)

    def event_times(self, view: str, entities: Mapping[str, Sequence[object]]) -> Moments:
        """When the values held of one view happened; NEVER where there is none. Raises OnlineStoreDown."""
        prefix, group = self.home_of(view)
        keys = _entity_keys(prefix, entities, group.keys)
        values = self.blobs.read([key or "" for key in keys]).values
        number = group.layout.number_of(view)
        return np.array([row[number] for row in group.layout.unpack(values)], dtype=np.int64)

    def is_ready(self) -> bool:
        """Whether every entity has been written since these layouts came into being, or the store was emptied."""
        return self.blobs.read([self._ready]).values != [None]

    def mark_ready(self) -> None:
        self.blobs.change([self._ready], lambda _: [b"ready"])

    def _values(self, parts: Sequence[Sequence[Row]], moments: Moments, age_s: float) -> OnlineValues:
        times: list[Sequence[int]] = []
        columns: list[Sequence[Any]] = []
        for group, rows in zip(self.groups, parts, strict=True):
            transposed = list(zip(*rows, strict=True)) or [()] * len(group.layout.unknown)
            times += transposed[: len(group.layout.segments)]
            columns += transposed[len(group.layout.segments) :]
        segments = [segment for group in self.groups for segment in group.layout.segments]
        at = np.array(times, dtype=np.int64).T
        fresh = at >= moments[:, None] - np.concatenate([group.layout.lifetimes for group in self.groups])
        features: dict[str, list[Any]] = {}
        remaining = iter(columns)
        for segment, valid in zip(segments, fresh.T.tolist(), strict=True):
            is_complete = all(valid)
            for name in segment.features:
                column = next(remaining)
                known = column if is_complete else (value if ok else None for value, ok in zip(column, valid, strict=True))
                features[name] = list(known)
        return OnlineValues(features, tuple(segment.view for segment in segments), at, fresh, age_s)

    @cached_property
    def _ready(self) -> str:
        return f"ready/{self.service}/" + "".join(self.prefixes)

    def home_of(self, view: str) -> tuple[str, Group]:
        """The group of a view, and its prefix."""
        return next(
            (prefix, group)
            for prefix, group in zip(self.prefixes, self.groups, strict=True)
            if any(segment.view == view for segment in group.layout.segments)
        )


def _entity_keys(prefix: str, entities: Mapping[str, Sequence[object]], names: tuple[str, ...]) -> list[str | None]:
    """Each part with its length before it: ("a1", "b") and ("a", "1b") must not meet."""
    first, *others = names
    keys = [None if each is None else f"{prefix}/{len(part := str(each))}:{part}" for each in entities[first]]
    for name in others:
        rows = zip(keys, entities[name], strict=True)
        keys = [None if key is None or each is None else f"{key}{len(part := str(each))}:{part}" for key, each in rows]
    return keys


def entity_parts(key: str) -> tuple[str, list[str]] | None:
    """The prefix of an entity's key, and its join keys as text in their order; None for a key of another kind."""
    prefix, _, rest = key.partition("/")
    parts: list[str] = []
    while rest and len(prefix) == PREFIX_LETTERS:
        length, _, rest = rest.partition(":")
        parts.append(rest[: int(length)])
        rest = rest[int(length) :]
    return (prefix, parts) if parts else None


def _write(blobs: KeyValueStore, layout: Layout, view: str, keys: list[str], newest: pl.DataFrame) -> None:
    """A store may take the keys in several parts, in order."""
    done = 0

    def put(values: list[bytes | None]) -> list[bytes]:
        nonlocal done
        part = newest[done : done + len(values)]
        done += len(values)
        return layout.merge(values, view, part)

    blobs.change(keys, put)
