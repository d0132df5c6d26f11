"""What the champion's training is remembered by: profiles, and samples of its rows and answers."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from io import BytesIO
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import polars as pl

from mlops_assets.foundation.durations import ONE_DAY
from mlops_assets.foundation.wording import some
from mlops_assets.monitoring.window import Window
from mlops_assets.spec.monitor import Drift
from mlops_assets.statistics.drift import Bounds
from mlops_assets.statistics.profile import ColumnProfile, profiles_from_json
from mlops_assets.statistics.variation import bounds_from, season


class Reference(NamedTuple):
    """What a window is compared with; `note` ends the message of the monitor."""

    profiles: dict[str, ColumnProfile]
    bounds: Mapping[str, Bounds]
    note: str = ""


class TrainingWindow(NamedTuple):
    """The log of the champion's training: profiles of its inputs, and a sample of its rows. `losses` are what its main metric
    loses when an input is shuffled; empty for a version whose evaluation is not stored. `periods` are the counts by which its
    windows are compared with one another, and `answers` some that it gives for rows that it was not trained on; None for a
    version without them.
    """

    version: int
    profiles: dict[str, ColumnProfile]
    sample: pl.DataFrame
    losses: Mapping[str, float | None] = MappingProxyType({})
    periods: pl.DataFrame | None = None
    answers: pl.DataFrame | None = None

    @classmethod
    def from_artifacts(
        cls,
        version: int,
        profiles: bytes,
        sample: bytes,
        *,
        evaluation: bytes | None = None,
        periods: bytes | None = None,
        answers: bytes | None = None,
    ) -> Self:
        importance: list[list[Any]] = json.loads(evaluation)["importance"] if evaluation else []
        losses = {name: loss for name, loss, *_bounds in importance}  # each is an Importance, of which JSON keeps the values
        counted, answered = (pl.read_parquet(BytesIO(one)) if one else None for one in (periods, answers))
        rows = pl.read_parquet(BytesIO(sample))
        return cls(version, profiles_from_json(profiles.decode()), rows, losses, counted, answered)

    def importance(self) -> dict[str, float]:
        """The share of each input in all losses; the same for all where none is known, or none is a loss."""
        losses = {name: max(self.losses.get(name) or 0.0, 0.0) for name in self.profiles}
        total = sum(losses.values())
        return {name: loss / total if total else 1 / len(losses) for name, loss in losses.items()}

    def reference(self, spec: Drift, profiles: dict[str, ColumnProfile], window: Window) -> Reference:
        """The training's rows of the declared season; all rows of a column that has too few of them."""
        if self.periods is None:
            return Reference(profiles, {}, _without_season(spec, [*profiles]))
        bounds = bounds_from(self.periods, profiles, spec)
        if spec.reference == "training":
            return Reference(profiles, bounds)
        last = window.last - timedelta.resolution  # of a window that ends at midnight, the day before
        days = [window.first + index * ONE_DAY for index in range((last - window.first) // ONE_DAY + 1)]
        periods, alike = season(self.periods, profiles, spec.reference.removeprefix("same_"), [*days, last])
        enough = {name: one for name, one in alike.items() if one.rows >= spec.min_rows}
        note = _without_season(spec, [name for name in profiles if name not in enough])
        return Reference(profiles | enough, bounds | bounds_from(periods, enough, spec), note)


def _without_season(spec: Drift, inputs: Sequence[str]) -> str:
    if spec.reference == "training" or not inputs:
        return ""
    return f" Compared with the whole training, which has too few rows of the {spec.reference.replace('_', ' ')}: {some(inputs)}."
