"""Training/serving skew, as an asset with a check."""
# Dagster takes a bare MaterializeResult only; its type argument cannot be written.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

from typing import cast

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.durations import in_words
from mlops_assets.graph.kernel.assets import asset
from mlops_assets.graph.kernel.run_clock import run_started
from mlops_assets.graph.kernel.tables import DataFrame, LazyFrame
from mlops_assets.graph.monitors.asset import check_result, monitor_arguments, monitor_metadata, over_time
from mlops_assets.resources import FeatureStoreResource, ReportsResource
from mlops_assets.spec.monitor import Skew
from mlops_assets.spec.use_case import UseCase


def build_skew(use_case: UseCase, stage: str, spec: Skew) -> dg.AssetsDefinition:
    key = dg.AssetKey(names.stage(use_case.name, stage))
    bound = f"At most {spec.max_mismatch_rate:.2%} of the predictions used features that are recomputed differently."

    @asset(
        description=f"Features served in {in_words(spec.window)}, next to what the feature tables return now for those moments.",
        check_specs=[dg.AssetCheckSpec(spec.CHECK, asset=key, description=bound)],
        dagster_type=cast(dg.DagsterType, DataFrame),  # which it is when Dagster reads it
        io_manager_key="tables",
        **monitor_arguments(use_case, stage, "feast", "polars", "deltalake", kind="skew", reads="predictions"),
    )
    def skew(
        context: dg.AssetExecutionContext, predictions: LazyFrame, feature_store: FeatureStoreResource, reports: ReportsResource
    ) -> dg.MaterializeResult:
        import polars as pl

        from mlops_assets.monitoring.skew import monitor_skew, recompute
        from mlops_assets.monitoring.window import elsewhere, recent

        # Features that the caller sent are the caller's own.
        now = run_started(context)
        looked_up = predictions.filter(pl.col("features_from") != "request")
        parity = recompute(use_case, spec, recent(looked_up, spec, now=now), open_store=feature_store.open, seed=names.SEED)
        result = elsewhere(looked_up, spec, now=now).added_to(monitor_skew(spec, parity))
        metadata = monitor_metadata(result, over_time(use_case, stage, result, reports, at=now))
        check = check_result(context, spec, result, use_case, now=now)
        return dg.MaterializeResult(value=parity.to_table(), metadata=metadata, check_results=[check])

    return skew
