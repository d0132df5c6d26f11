"""Drift, performance and skew of what is served, as assets with checks.

Belongs here: the monitors. Not here: the statistics (stages/) and what the checks set off (graph/triggers.py).
"""
# Dagster takes a bare MaterializeResult only; its type argument cannot be said.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

from typing import TYPE_CHECKING, cast

import dagster as dg

from mlops_assets import names
from mlops_assets.graph.asset_metadata import asset_metadata
from mlops_assets.graph.conditions import LOOK_BACK_CASCADE
from mlops_assets.graph.tables import DataFrame, LazyFrame
from mlops_assets.names import GOOD_ENOUGH, NO_DRIFT, SAME_FEATURES
from mlops_assets.spec.monitor import Drift, Monitor, OnPerformance, Performance, Skew
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.graph.seen import Seen
    from mlops_assets.ports.deployment import Deployment

SEED = 0


def build_monitoring(use_case: UseCase) -> list[dg.AssetsDefinition]:
    return [_built(use_case, monitor) for monitor in use_case.monitors]


def _built(use_case: UseCase, monitor: Monitor) -> dg.AssetsDefinition:
    match monitor:
        case Drift():
            return _drift(use_case, monitor)
        case Performance():
            return _performance(use_case, monitor)
        case Skew():
            return _skew(use_case, monitor)


def _drift(use_case: UseCase, spec: Drift) -> dg.AssetsDefinition:
    key = dg.AssetKey(names.stage(use_case.name, "drift"))

    @dg.asset(
        key=key,
        ins={"predictions": dg.AssetIn(names.stage(use_case.name, "predictions"))},
        description="How far the inputs of the last answered requests lie from those that the champion was trained on.",
        check_specs=[dg.AssetCheckSpec(NO_DRIFT, asset=key, description=f"At most {spec.max_share:.0%} of the inputs drifted.")],
        automation_condition=LOOK_BACK_CASCADE,
        required_resource_keys={"registry", "deployment", "reports"},
        **asset_metadata(use_case, "drift", "evidently", made_from="monitor"),
    )
    def drift(context: dg.AssetExecutionContext, predictions: LazyFrame) -> dg.MaterializeResult:
        from mlops_assets.graph.watch_drift import watch_drift

        deployment: Deployment = context.resources.deployment(use_case.name)
        recent, plan = _recent(predictions, spec), deployment.plan()
        seen = watch_drift(use_case, spec, recent, plan, resources=context.resources, seed=SEED)
        return dg.MaterializeResult(metadata=seen.metadata, check_results=[_check(key, NO_DRIFT, seen)])

    return drift


def _check(key: dg.AssetKey, name: str, seen: "Seen") -> dg.AssetCheckResult:
    """A warning: an alarm is news for people and sensors, not a broken run."""
    severity = dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(passed=seen.passed, asset_key=key, check_name=name, severity=severity, description=seen.message)


def _recent(rows: LazyFrame, spec: Monitor) -> DataFrame:
    """The rows of the last window, counted back from the newest prediction moment: replays have a clock of their own."""
    import polars as pl

    moment = pl.col("event_timestamp")
    return rows.filter(moment > moment.max() - spec.window).collect()


def _performance(use_case: UseCase, spec: Performance) -> dg.AssetsDefinition:
    key = dg.AssetKey(names.stage(use_case.name, "performance"))
    bounds = [trigger for trigger in use_case.triggers if isinstance(trigger, OnPerformance)]

    @dg.asset(
        key=key,
        ins={"outcomes": dg.AssetIn(names.stage(use_case.name, "outcomes"))},
        description="How good the answers turned out to be, by month and day, per model version.",
        check_specs=[dg.AssetCheckSpec(GOOD_ENOUGH, asset=key, description="; ".join(map(repr, bounds)) or "No bound.")],
        automation_condition=LOOK_BACK_CASCADE,
        required_resource_keys={"deployment"},
        **asset_metadata(use_case, "performance", "polars", made_from="monitor"),
    )
    def performance(context: dg.AssetExecutionContext, outcomes: LazyFrame) -> dg.MaterializeResult:
        import polars as pl

        from mlops_assets.graph.watch_performance import watch_performance

        plan = context.resources.deployment(use_case.name).plan()
        # The version that answers now is judged by its own answers: those of its predecessor have had their consequence.
        recent = _recent(outcomes.filter(pl.col("model_version") == (plan.champion if plan else None)), spec)
        seen = watch_performance(use_case, spec, bounds, known=outcomes.collect(), recent=recent, seed=SEED)
        return dg.MaterializeResult(metadata=seen.metadata, check_results=[_check(key, GOOD_ENOUGH, seen)])

    return performance


def _skew(use_case: UseCase, spec: Skew) -> dg.AssetsDefinition:
    key = dg.AssetKey(names.stage(use_case.name, "skew"))
    said = f"At most {spec.max_mismatch_rate:.2%} of the answers used features that are recomputed otherwise."

    @dg.asset(
        key=key,
        ins={"predictions": dg.AssetIn(names.stage(use_case.name, "predictions"))},
        description="Features that the last answers used, beside those that the feature tables give now for the same moments.",
        check_specs=[dg.AssetCheckSpec(SAME_FEATURES, asset=key, description=said)],
        automation_condition=LOOK_BACK_CASCADE,
        dagster_type=cast(dg.DagsterType, DataFrame),  # which it is when Dagster reads it
        io_manager_key="tables",
        required_resource_keys={"feature_store"},
        **asset_metadata(use_case, "skew", "feast", "polars", "deltalake", made_from="monitor"),
    )
    def skew(context: dg.AssetExecutionContext, predictions: LazyFrame) -> dg.MaterializeResult:
        import polars as pl

        from mlops_assets.graph.watch_skew import recompute, watch_skew

        # What callers bring along is theirs to answer for.
        looked_up = predictions.filter(pl.col("features_from") != "request")
        parity = recompute(use_case, spec, _recent(looked_up, spec), open_store=context.resources.feature_store, seed=SEED)
        seen = watch_skew(spec, parity)
        check = _check(key, SAME_FEATURES, seen)
        return dg.MaterializeResult(value=parity.to_table(), metadata=seen.metadata, check_results=[check])

    return skew
