"""Going back: the previous champion answers again.

Not here: promotion (graph/training.py) and the plans (ports/deployment.py).
"""

from datetime import datetime

from mlops_assets import names
from mlops_assets.ports.deployment import Deployment, Plan
from mlops_assets.ports.home import Home
from mlops_assets.rollout import demand_blessing


class NothingBefore(LookupError):
    """There is no earlier champion to go back to."""


def roll_back(home: Home, use_case: str, *, at: datetime, reason: str) -> Plan:
    """Points the live service to the previous champion alone; a rollout ends. Raises NothingBefore, UnblessedModel."""
    from mlops_assets.ports.model_registry import ModelRegistry

    deployment = Deployment(home.deployments, use_case)
    version = deployment.previous_champion()
    if version is None:
        raise NothingBefore(f"{use_case} · no earlier champion is on record. `mlops status {use_case}` shows the history.")
    demand_blessing(home, use_case, version)
    plan = deployment.point(version, at.isoformat(), f"rollback: {reason}")
    ModelRegistry(home.mlflow).set_alias(names.registered_model(use_case), names.CHAMPION, version)
    return plan
