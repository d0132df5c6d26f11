"""Evidently reports as HTML text, on a bounded sample. They decide nothing: Evidently's PSI uses equal-width bins that move with
each window and drops missing values, so drift is decided from profiles (statistics/drift.py).
"""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import warnings
from collections.abc import Collection, Sequence
from typing import Any, cast

import polars as pl
import polars.selectors as cs

from mlops_assets.statistics.metrics import Array
from mlops_assets.tasks.task import Task

with warnings.catch_warnings():  # eleven deprecation warnings of its dependencies, only while it is being imported
    warnings.simplefilter("ignore")
    # No usage logging: it is in `evidently.telemetry`, which only Evidently's web service imports.
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

ALWAYS, NEVER = 0.0, 1e9  # bounds of Evidently's PSI, which the page does not show
ANY = 1e-9  # the share of drifted columns from which on Evidently calls the whole drifted
MAX_ROWS = 5000  # of each sample


def drift_report(
    reference: pl.DataFrame,
    current: pl.DataFrame,
    *,
    numeric: Sequence[str],
    categorical: Sequence[str],
    drifted: Collection[str],
    seed: int,
) -> str:
    """A table of the inputs, current next to reference, in which those in `drifted` are shown as such. Inputs without a value in
    one of the samples are left out: Evidently cannot draw them. Raises ValueError when none is left.
    """
    as_numbers = cs.by_name(numeric).cast(pl.Float64)  # as in profiles: Evidently takes no decimals, and subtracts booleans
    texts = (cs.by_name(categorical) & cs.decimal()).cast(pl.String)
    before, now = (_sample(rows, seed).with_columns(as_numbers, texts) for rows in (reference, current))
    numbers, categories = (
        [name for name in names if before[name].count() and now[name].count()] for names in (numeric, categorical)
    )
    drawn = [*numbers, *categories]
    if not drawn:
        raise ValueError("drift report · no input has a value in both samples. Wait for more predictions, or widen the window.")
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
    # The preset computes every column's drift three times (2 s instead of 1), but its one sortable table is readable;
    # per-column metrics make thirty screens of it.
    thresholds = {name: ALWAYS if name in drifted else NEVER for name in drawn}
    preset = DataDriftPreset(columns=drawn, method="psi", per_column_threshold=thresholds, drift_share=ANY)
    return _html(preset, definition, current=now.select(drawn), reference=before.select(drawn))


def quality_report(task: Task[Any], rows: pl.DataFrame, truth: Array, output: Array, *, seed: int) -> str:
    """What Evidently shows of the output against the truth of the rows."""
    quality, definition, columns = task.report(rows, truth, output)
    return _html(quality, definition, current=_sample(columns, seed))


def _sample(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    return frame.sample(MAX_ROWS, seed=seed) if len(frame) > MAX_ROWS else frame


def _html(preset: Any, definition: Any, *, current: pl.DataFrame, reference: pl.DataFrame | None = None) -> str:
    now: Any = Dataset.from_pandas(current.to_pandas(), data_definition=definition)
    before = None if reference is None else Dataset.from_pandas(reference.to_pandas(), data_definition=definition)
    with warnings.catch_warnings():  # divisions of empty bins, which the page shows as such
        warnings.simplefilter("ignore")
        snapshot: Any = Report([preset], include_tests=False).run(now, before)
        return cast(str, snapshot.get_html_str(as_iframe=False))
