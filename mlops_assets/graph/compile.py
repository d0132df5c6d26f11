"""The compiler: one declaration in, one set of Dagster definitions out.

Belongs here: putting the parts together. Not here: any part.
"""

import dagster as dg

from mlops_assets.graph.catalog import build_catalog
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
    assets = [
        *build_ingestion(use_case),
        *build_features(use_case),
        *build_training(use_case),
        *build_serving(use_case),
        *build_monitoring(use_case),
        build_catalog(use_case),
    ]
    triggers, rollout = build_triggers(use_case), build_rollout(use_case)
    automation = build_automation(use_case.name, dg.AssetSelection.groups(use_case.name))
    return dg.Definitions(
        assets=[*assets, *rollout["assets"]],
        asset_checks=rollout["checks"],
        jobs=[*triggers["jobs"], *rollout["jobs"]],
        schedules=triggers["schedules"],
        sensors=[*triggers["sensors"], *rollout["sensors"], automation],
    )
