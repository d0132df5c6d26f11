"""Skew between what was served and what the feature tables give now. Opens Feast's store.

Belongs here: recomputing the answers' features, and the verdict with its evidence. Not here: the comparison (stages/skew.py)
and what stands in the way of promotion (the gate NoSkew, stages/judge.py).

A mismatch means one of: a fact came late, so that the service answered before it was known here; the online store was
behind its tables; a day was filled again with other rows or by another transform; or the log was altered. None is
excused: in each of them the model was trained on features that its callers did not get.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_assets.graph.asset_metadata import rows_as_table
from mlops_assets.graph.seen import Seen
from mlops_assets.spec.monitor import Skew
from mlops_assets.spec.use_case import UseCase
from mlops_assets.stages.skew import KEY, MOMENT, FeatureSkew, Parity, compare_features, sample_answers

if TYPE_CHECKING:
    from mlops_assets.ports.feature_store import FeatureStore


def recompute(
    use_case: UseCase, spec: Skew, recent: pl.DataFrame, *, open_store: "Callable[[str], FeatureStore]", seed: int
) -> Parity:
    """Asks the feature tables again for a sample of `recent`, from the logged requests at their logged moments.

    What follows from the request alone is not compared: it was computed by the same lines from the same columns.
    """
    if len(recent) < spec.min_rows:
        return Parity(len(recent), 0, None, None, ())
    features, store = use_case.features, open_store(use_case.features.service)
    served = sample_answers(recent, max_rows=spec.max_rows, seed=seed)
    asked: pl.DataFrame = features.entity_rows(served.select(features.request).lazy()).collect()
    found = store.historical(asked.with_columns(served[KEY], served[MOMENT]))
    logged = [name for name in store.feature_names() if name in served.columns]
    return compare_features(served, found, features=logged, relative=spec.relative, absolute=spec.absolute)


def watch_skew(spec: Skew, parity: Parity) -> Seen:
    """Passes while there is too little to tell."""
    if parity.rows < spec.min_rows:
        said = f"{parity.rows} answered requests in the window; {spec.min_rows} are needed to tell."
        return Seen(True, said, _said(parity))
    passed = parity.mismatch_rate <= spec.max_mismatch_rate
    return Seen(passed, parity.sentence(spec.max_mismatch_rate), _said(parity))


def _said(parity: Parity) -> dict[str, Any]:
    features = sorted(parity.features, key=lambda each: -each.mismatches)
    examples = [{"feature": each.feature, **example} for each in parity.mismatched for example in each.examples]
    return {
        "mismatch_rate": parity.mismatch_rate,
        "rows": parity.rows,
        "differing_rows": parity.differing_rows,
        "since": str(parity.since),
        "until": str(parity.until),
        "features": rows_as_table(_row(parity, each) for each in features),
        "examples": rows_as_table(examples),
    }


def _row(parity: Parity, each: FeatureSkew) -> dict[str, Any]:
    said = {name: value for name, value in vars(each).items() if name != "examples"}
    return {"feature": each.feature, "mismatch_rate": parity.rate(each), "compared": parity.rows} | said
