"""Evidently reports as HTML text, for people to read, on a bounded sample. The home of evidently.

Belongs here: which pictures a report shows. Not here: any decision. Evidently's PSI uses equal-width bins that move
with each window and drops missing values, so drift is decided from profiles (drift.py).

Evidently's usage logging lives in `evidently.telemetry`, which only its web service imports; a report never does.
"""
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import warnings
from collections.abc import Collection, Sequence
from typing import Any, cast

import polars as pl

with warnings.catch_warnings():  # eleven deprecation warnings of its dependencies, only while it is being imported
    warnings.simplefilter("ignore")
    from evidently import BinaryClassification, DataDefinition, Dataset, Report
    from evidently.presets import ClassificationQuality, DataDriftPreset

ALWAYS, NEVER = 0.0, 1e9  # bounds of Evidently's PSI, which the page does not show


def drift_report(
    reference: pl.DataFrame,
    current: pl.DataFrame,
    *,
    numeric: Sequence[str],
    categorical: Sequence[str],
    drifted: Collection[str],
    max_share: float,
    seed: int,
    max_rows: int = 5000,
) -> str:
    """A table of the inputs, current beside reference: about 5 MB of self-contained HTML, whatever the rows.

    The page calls drifted what `drifted` names, so that it never contradicts the decision. Inputs without a single value
    in one of the samples are left out: Evidently cannot draw them. Raises ValueError when none is left.
    """
    both = (_sample(reference, seed, max_rows), _sample(current, seed, max_rows))
    drawn = [name for name in (*numeric, *categorical) if all(one[name].count() for one in both)]
    if not drawn:
        raise ValueError("drift report · no input has a value in both samples. Wait for more predictions, or widen the window.")
    definition = DataDefinition(
        numerical_columns=[name for name in numeric if name in drawn],
        categorical_columns=[name for name in categorical if name in drawn],
    )
    before, now = (_dataset(one.select(drawn), definition) for one in both)
    # The preset computes every column's drift three times (2 s instead of 1 here), but its one sortable table is what
    # people can read; per-column metrics make thirty screens of it.
    decided = {name: ALWAYS if name in drifted else NEVER for name in drawn}
    return _html([DataDriftPreset(columns=drawn, method="psi", per_column_threshold=decided, drift_share=max_share)], now, before)


def classification_report(
    current: pl.DataFrame,
    *,
    label: str,
    probability: str,
    threshold: float,
    seed: int,
    reference: pl.DataFrame | None = None,
    max_rows: int = 5000,
) -> str:
    """Quality, curves and confusion of `probability` against the 0/1 `label`, beside the reference's where given."""
    task: Any = BinaryClassification(target=label, prediction_probas=probability, pos_label=cast(Any, 1))
    definition = DataDefinition(classification=[task], numerical_columns=[probability])
    sets = [
        None if one is None else _dataset(_sample(one.select(label, probability), seed, max_rows), definition)
        for one in (current, reference)
    ]
    quality = ClassificationQuality(probas_threshold=threshold, conf_matrix=True, pr_curve=True, pr_table=True)
    return _html([quality], sets[0], sets[1])


def _sample(frame: pl.DataFrame, seed: int, max_rows: int) -> pl.DataFrame:
    return frame.sample(max_rows, seed=seed) if len(frame) > max_rows else frame


def _dataset(frame: pl.DataFrame, definition: Any) -> Any:
    return Dataset.from_pandas(frame.to_pandas(), data_definition=definition)


def _html(metrics: list[Any], current: Any, reference: Any) -> str:
    with warnings.catch_warnings():  # divisions of empty bins, which the page shows as such
        warnings.simplefilter("ignore")
        snapshot: Any = Report(metrics, include_tests=False).run(current, reference)
        return cast(str, snapshot.get_html_str(as_iframe=False))
