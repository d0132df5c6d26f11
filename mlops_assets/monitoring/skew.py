"""Skew between the served features and what the feature tables return now for the same requests and moments. A mismatch means one
of: a fact arrived late; the online store was behind its tables; a day was filled again with other rows or by another transform;
the log was altered. In each the model was trained on features that its callers did not get.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl

from mlops_assets.features.parity import KEY, MOMENT, Parity, compare_features, sample_answers
from mlops_assets.features.request_features import entity_rows
from mlops_assets.foundation.verdict import Verdict
from mlops_assets.monitoring.monitor_result import MonitorResult, too_few
from mlops_assets.spec.monitor import Skew
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.features.feast.feature_store import FeatureStore


def recompute(
    use_case: UseCase, spec: Skew, recent: pl.DataFrame, *, open_store: "Callable[[str], FeatureStore]", seed: int
) -> Parity:
    """Reads the features of a sample of `recent` again, from the logged requests at their logged moments."""
    if len(recent) < spec.min_rows:
        return Parity(len(recent), 0, None, None, ())
    features, store = use_case.features, open_store(use_case.features.service)
    served = sample_answers(recent, max_rows=spec.max_rows, seed=seed)
    requests = entity_rows(features, served.select(features.request).lazy()).collect()
    recomputed = store.historical(requests.with_columns(served[KEY], served[MOMENT]))
    # Features of the request alone are not compared: the same code computes them from the same columns.
    logged = [name for name in store.feature_names() if name in served.columns]
    return compare_features(served, recomputed, features=logged, relative=spec.relative, absolute=spec.absolute)


def monitor_skew(spec: Skew, parity: Parity) -> MonitorResult:
    if parity.rows < spec.min_rows:
        return too_few(parity.rows, spec.min_rows, "served requests")
    examples = [{"feature": feature.feature, **row} for feature in parity.mismatched for row in feature.examples]
    rows = [
        {"feature": feature.feature, "mismatch_rate": parity.rate(feature), "compared": parity.rows}
        | {name: value for name, value in vars(feature).items() if name != "examples"}
        for feature in sorted(parity.features, key=lambda feature: -feature.mismatches)
    ]
    figures = {"mismatch_rate": parity.mismatch_rate, "rows": parity.rows, "differing_rows": parity.differing_rows}
    return MonitorResult(
        Verdict.healthy_if(parity.mismatch_rate <= spec.max_mismatch_rate),
        parity.sentence(spec.max_mismatch_rate),
        figures | {"since": str(parity.since), "until": str(parity.until)},
        {"features": rows, "examples": examples},
        lines=("Mismatch rate of each feature", {feature.feature: parity.rate(feature) for feature in parity.features}),
    )
