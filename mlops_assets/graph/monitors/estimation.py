"""Estimated quality of the answers whose labels are not known yet, as an asset with a check."""
# Dagster takes a bare MaterializeResult only; its type argument cannot be written.
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false

from typing import TYPE_CHECKING

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.durations import in_words
from mlops_assets.graph.kernel.assets import asset
from mlops_assets.graph.kernel.run_clock import run_started
from mlops_assets.graph.kernel.tables import LazyFrame
from mlops_assets.graph.monitors.asset import check_result, monitor_arguments, monitor_metadata, over_time
from mlops_assets.resources import DeploymentResource, RegistryResource, ReportsResource
from mlops_assets.spec.monitor import Estimation
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.monitoring.estimation import Evaluated


def build_estimation(use_case: UseCase, stage: str, spec: Estimation) -> dg.AssetsDefinition:
    key = dg.AssetKey(names.stage(use_case.name, stage))
    arguments = monitor_arguments(use_case, stage, "polars", kind="estimation", reads="predictions")
    arguments["ins"] = arguments["ins"] | {"outcomes": names.stage(use_case.name, "outcomes")}

    @asset(
        description=f"The estimated quality of the answers of {in_words(spec.window)}, and how good earlier estimates were.",
        check_specs=[dg.AssetCheckSpec(spec.CHECK, asset=key, description=repr(spec))],
        **arguments,
    )
    def estimation(
        context: dg.AssetExecutionContext,
        predictions: LazyFrame,
        outcomes: LazyFrame,
        *,
        registry: RegistryResource,
        deployment: DeploymentResource,
        reports: ReportsResource,
    ) -> dg.MaterializeResult:
        import polars as pl

        from mlops_assets.monitoring.estimation import monitor_estimation
        from mlops_assets.monitoring.window import elsewhere, recent
        from mlops_assets.tasks import task_of

        plan, now = deployment.open(use_case.name).plan(), run_started(context)
        evaluated = read_evaluated(use_case, registry, plan.champion) if plan else None
        own = pl.col("model_version") == (plan.champion if plan else None)
        result = monitor_estimation(
            spec,
            evaluated,
            task=task_of(use_case.task),
            label=use_case.label.name,
            recent=recent(predictions.filter(own), spec, now=now),
            outcomes=recent(outcomes.filter(own), spec.but(window=3 * spec.window), now=now),
            seed=names.SEED,
        )
        result = elsewhere(predictions.filter(own), spec, now=now).added_to(result)
        metadata = monitor_metadata(result, over_time(use_case, stage, result, reports, at=now))
        return dg.MaterializeResult(metadata=metadata, check_results=[check_result(context, spec, result, use_case, now=now)])

    return estimation


def read_evaluated(use_case: UseCase, registry: RegistryResource, version: int) -> "Evaluated | None":
    """None for a version of an earlier release, which stored no scored rows."""
    from mlops_assets.evaluation.evaluate import EVALUATION
    from mlops_assets.evaluation.evaluate_candidate import SCORED
    from mlops_assets.monitoring.estimation import Evaluated

    model, opened = names.registered_model(use_case.name), registry.open()
    scored, evaluation = (opened.find_artifact(model, version, name) for name in (SCORED, EVALUATION))
    return Evaluated.from_artifacts(version, scored, evaluation) if scored and evaluation else None
