"""Fetching what the feature catalogue of a use case says, through the ports: the same for the graph and for `mlops`.

Not here: how it is put together and measured (stages/catalog.py) and drawn (stages/catalog_page.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_assets import names
from mlops_assets.stages.catalog import RECENT, Catalog, Reader, describe_view
from mlops_assets.stages.score import OnnxModel

if TYPE_CHECKING:
    from mlops_assets.ports.delta_tables import DeltaTables
    from mlops_assets.ports.deployment import Deployment
    from mlops_assets.ports.feature_store import FeatureStore
    from mlops_assets.spec.use_case import UseCase


def read_catalog(use_case: UseCase, *, store: FeatureStore, tables: DeltaTables, deployment: Deployment) -> Catalog:
    """The views that the use case declares, as the registry describes them now."""
    declared, reader = {view.name for view in use_case.features.views}, read_reader(use_case, deployment)
    views = [
        describe_view(described, tables.scan(names.feature(use_case.name, str(described["view"]))), [reader], window=RECENT)
        for described in store.describe()
        if described["view"] in declared
    ]
    return Catalog(use_case.name, use_case.question, reader.champion, RECENT, tuple(views))


def read_reader(use_case: UseCase, deployment: Deployment) -> Reader:
    """What the model line declares to read, and what its champion was trained on: the file itself says it."""
    plan, inputs = deployment.plan(), use_case.features.inputs
    if plan is None:
        return Reader(use_case.name, inputs)
    onnx, _blessing = deployment.load(plan.champion)
    return Reader(use_case.name, inputs, plan.champion, OnnxModel.from_bytes(onnx).signature.inputs)
