"""The compiler: one declaration in, one set of Dagster definitions out."""

import dagster as dg

from mlops_assets.graph.features import build_features
from mlops_assets.graph.ingestion import build_ingestion
from mlops_assets.graph.kernel.automation import build_automation
from mlops_assets.graph.monitoring import build_monitoring
from mlops_assets.graph.rollout import build_rollout
from mlops_assets.graph.serving import build_serving
from mlops_assets.graph.training import build_training
from mlops_assets.graph.triggers import build_triggers
from mlops_assets.spec.use_case import UseCase


def build_use_case(use_case: UseCase) -> dg.Definitions:
    """Every asset, check, job, sensor and schedule of one use case; resources are bound by the caller."""
    parts = (build_ingestion, build_features, build_training, build_serving, build_monitoring)
    triggers, rollout = build_triggers(use_case), build_rollout(use_case)
    automation = build_automation(use_case.name, dg.AssetSelection.key_prefixes(use_case.name))
    return dg.Definitions(
        assets=[*(asset for build in parts for asset in build(use_case)), *rollout["assets"]],
        asset_checks=rollout["checks"],
        jobs=[*triggers["jobs"], *rollout["jobs"]],
        schedules=triggers["schedules"],
        sensors=[*triggers["sensors"], *rollout["sensors"], automation],
    )
