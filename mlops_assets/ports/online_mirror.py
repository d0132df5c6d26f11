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
from mlops_assets.ports.packed_rows import NEVER, Layout

Moments = NDArray[np.int64]  # microseconds since 1970, UTC


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
    """Row by row as asked. By feature: `values` (floats with NaN where not known, whole numbers as int64, texts) and
    `known`. By view: `states` and `event_times` (NEVER where missing). `age_s`: see blob_stores.Read.
    """

    values: dict[str, Any]
    known: dict[str, NDArray[np.bool_]]
    states: dict[str, NDArray[np.int8]]
    event_times: dict[str, Moments]
    age_s: float


@dataclass(frozen=True)
class OnlineMirror:
    """One feature service in one store."""

    service: str
    groups: tuple[Group, ...]
    blobs: Blobs

    @cached_property
    def _prefixes(self) -> tuple[str, ...]:
        """Eight letters for service, layout and join keys: a short key is read faster."""
        said = (f"{self.service}/{each.layout.digest}/{'+'.join(each.keys)}" for each in self.groups)
        return tuple(sha256(each.encode()).hexdigest()[:8] for each in said)

    def read(self, entities: Mapping[str, Sequence[object]], moments: Moments) -> Answer:
        """Features by name at each moment: what is older than its view's TTL is stale and has no value.

        `entities` has one sequence for each join key, of the length of `moments`; a null key is an unknown entity.
        All values come from one read, so that a row is never half from before a materialization and half from after.
        Raises OnlineStoreDown, and NotFilled rather than calling every entity unknown.
        """
        asked = [_entity_keys(prefix, entities, each.keys) for prefix, each in zip(self._prefixes, self.groups, strict=True)]
        distinct = dict.fromkeys([key for keys in asked for key in keys if key is not None])
        found = self.blobs.read([self._ready, *distinct])
        if found.values[0] is None:
            raise NotFilled(f"feature service {self.service!r} · nothing of it is online yet. Materialize its features.")
        values: dict[str | None, bytes | None] = {None: None, **dict(zip(distinct, found.values[1:], strict=True))}
        answer = Answer({}, {}, {}, {}, found.age_s)
        for group, keys in zip(self.groups, asked, strict=True):
            _answer(answer, group.layout, [values[key] for key in keys], moments)
        return answer

    def write(self, view: str, newest: pl.DataFrame) -> None:
        """The newest values of one view: its join keys, distinct, its features, and `timestamp`; a null key is nobody's.

        They replace what is held, newer or not: a table that is put right may take a value back. Raises OnlineStoreDown.
        """
        prefix, group = self._home_of(view)
        named = newest.drop_nulls(group.keys)
        keys = _entity_keys(prefix, {key: named[key].to_list() for key in group.keys}, group.keys)
        _write(self.blobs, group.layout, view, [key for key in keys if key is not None], named)

    def event_times(self, view: str, entities: Mapping[str, Sequence[object]]) -> Moments:
        """When the values held of one view happened; NEVER where there is none. Raises OnlineStoreDown."""
        prefix, group = self._home_of(view)
        keys = _entity_keys(prefix, entities, group.keys)
        values = self.blobs.read([key or "" for key in keys]).values
        number = [segment.view for segment in group.layout.segments].index(view)
        return group.layout.unpack(values).fixed["at"][:, number]

    def is_ready(self) -> bool:
        """Whether every entity has been written since these layouts came into being, or the store was emptied."""
        return self.blobs.read([self._ready]).values != [None]

    def mark_ready(self) -> None:
        self.blobs.change([self._ready], lambda _: [b"ready"])

    @cached_property
    def _ready(self) -> str:
        return f"ready/{self.service}/" + "".join(self._prefixes)

    def _home_of(self, view: str) -> tuple[str, Group]:
        return next(
            (prefix, group)
            for prefix, group in zip(self._prefixes, self.groups, strict=True)
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


def _answer(answer: Answer, layout: Layout, values: list[bytes | None], moments: Moments) -> None:
    """Adds one group to `answer`; by whole matrices, for a column at a time costs three times as much."""
    rows = layout.unpack(values)
    at = rows.fixed["at"]
    held = at != NEVER
    fresh = held & ((at >= moments[:, None] - layout.ttls) | (layout.ttls == 0))
    states = held.astype(np.int8) + fresh  # MISSING, STALE and FRESH are 0, 1 and 2
    known = rows.fixed["known"] & fresh[:, layout.segment_of_feature]
    floats = np.where(known[:, layout.float_positions], rows.fixed["floats"], np.nan)
    for number, segment in enumerate(layout.segments):
        answer.states[segment.view], answer.event_times[segment.view] = states[:, number], at[:, number]
    for position, (name, (kind, place)) in enumerate(layout.places.items()):
        answer.known[name] = known[:, position]
        if kind == "texts":
            answer.values[name] = [
                text[place] if there else None for text, there in zip(rows.texts, known[:, position], strict=True)
            ]
        else:
            answer.values[name] = (floats if kind == "floats" else rows.fixed["wholes"])[:, place]
