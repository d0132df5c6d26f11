"""The features of one feature service beside Feast's online store, packed: one value per entity and version.

Belongs here: keys, and reading and writing by name. Not here: bytes (packed_rows), stores (blob_stores) and Feast
(feature_store). A key names service, layout and entity, so that versions of a service live side by side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.ports.blob_stores import Blobs
from mlops_assets.ports.packed_rows import NEVER, Layout, Rows

Moments = NDArray[np.int64]  # microseconds since 1970, UTC
PREFIX_LETTERS = 8


class NotFilled(LookupError):
    """The store answers and holds nothing of this service: it is new, or has been emptied."""


class State(IntEnum):
    """What the mirror holds of one view for one entity, at a moment."""

    MISSING = 0
    STALE = 1
    FRESH = 2


@dataclass(frozen=True)
class Group:
    """The part of a service whose views share `keys`, the join keys as an entity frame names them."""

    keys: tuple[str, ...]
    layout: Layout


@dataclass(frozen=True)
class Answer:
    """Row by row as asked. `features`: plain values by name, None or NaN where not known. `event_times` (NEVER where missing)
    and `fresh`: of shape (rows, views), in the order of `views`. `age_s`: see blob_stores.Read.
    """

    features: dict[str, list[Any]]
    views: tuple[str, ...]
    event_times: Moments
    fresh: NDArray[np.bool_]
    age_s: float

    def states(self, view: str) -> list[State]:
        """What was held of one view at each row's moment."""
        place = self.views.index(view)
        held = self.event_times[:, place] != NEVER
        return [State(each) for each in held.astype(int) + self.fresh[:, place]]


@dataclass(frozen=True)
class OnlineMirror:
    """One feature service in one store."""

    service: str
    groups: tuple[Group, ...]
    blobs: Blobs

    @cached_property
    def prefixes(self) -> tuple[str, ...]:
        """What the keys of each group begin with, for service, layout and join keys: a short key is read faster."""
        said = (f"{self.service}/{each.layout.digest}/{'+'.join(each.keys)}" for each in self.groups)
        return tuple(sha256(each.encode()).hexdigest()[:PREFIX_LETTERS] for each in said)

    def read(self, entities: Mapping[str, Sequence[object]], moments: Moments) -> Answer:
        """Features by name at each moment: what is older than its view's TTL is stale and has no value.

        `entities` has one sequence for each join key, of the length of `moments`; a null key is an unknown entity.
        All values come from one read, so that a row is never half from before a materialization and half from after.
        Raises OnlineStoreDown, and NotFilled rather than calling every entity unknown.
        """
        asked = [_entity_keys(prefix, entities, each.keys) for prefix, each in zip(self.prefixes, self.groups, strict=True)]
        distinct = dict.fromkeys([key for keys in asked for key in keys if key is not None])
        found = self.blobs.read([self._ready, *distinct])
        if found.values[0] is None:
            raise NotFilled(f"feature service {self.service!r} · nothing of it is online yet. Materialize its features.")
        values: dict[str | None, bytes | None] = {None: None, **dict(zip(distinct, found.values[1:], strict=True))}
        pairs = zip(self.groups, asked, strict=True)
        return self._answer([group.layout.unpack([values[key] for key in keys]) for group, keys in pairs], moments, found.age_s)

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
        number = [segment.view for segment in group.layout.segments].index(view)
        return group.layout.unpack(values).fixed["at"][:, number]

    def is_ready(self) -> bool:
        """Whether every entity has been written since these layouts came into being, or the store was emptied."""
        return self.blobs.read([self._ready]).values != [None]

    def mark_ready(self) -> None:
        self.blobs.change([self._ready], lambda _: [b"ready"])

    def _answer(self, parts: Sequence[Rows], moments: Moments, age_s: float) -> Answer:
        """All groups side by side, and by whole matrices: for few rows it is the calls that cost, some 3 µs each."""
        whole = self._whole
        at, known, floats, wholes = (
            np.concatenate([each.fixed[name] for each in parts], axis=1) for name in ("at", "known", "floats", "wholes")
        )
        fresh = at >= moments[:, None] - whole.lifetimes
        known &= fresh[:, whole.segment_of_feature]
        floats[~known[:, whole.float_positions]] = np.nan
        texts = [
            [row[place] for row in part.texts]
            for group, part in zip(self.groups, parts, strict=True)
            for place in range(group.layout.texts)
        ]
        columns = {"floats": floats.T.tolist(), "wholes": wholes.T.tolist(), "texts": texts}
        features = {name: columns[kind][place] for name, (kind, place) in whole.places.items()}
        for name in whole.gapped:
            held = zip(features[name], known[:, whole.positions[name]].tolist(), strict=True)
            features[name] = [value if there else None for value, there in held]
        return Answer(features, tuple(segment.view for segment in whole.segments), at, fresh, age_s)

    @cached_property
    def _whole(self) -> Layout:
        """The groups' layouts side by side, as one."""
        return Layout(tuple(segment for group in self.groups for segment in group.layout.segments))

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


def _write(blobs: Blobs, layout: Layout, view: str, keys: list[str], newest: pl.DataFrame) -> None:
    """A store may take the keys in several parts, in order."""
    done = 0

    def put(values: list[bytes | None]) -> list[bytes]:
        nonlocal done
        rows = layout.unpack(values)
        layout.put(rows, view, newest[done : done + len(values)])
        done += len(values)
        return layout.pack(rows)

    blobs.change(keys, put)
