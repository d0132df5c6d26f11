"""Letting another version run beside the champion: canary, A/B test, shadow.

Belongs here: that only blessed versions do. Not here: the plans (ports/deployment.py) and who goes where (serving/routing.py).
"""

from datetime import datetime

from mlops_assets.ports.deployment import Deployment, Plan, Split
from mlops_assets.ports.home import Home
from mlops_assets.ports.signing_keys import SigningKeys
from mlops_assets.stages.bless import Blessing, verify


def roll_out(
    home: Home,
    use_case: str,
    *,
    challenger: int | None,
    share: float,
    split: Split,
    shadow: int | None,
    at: datetime,
    reason: str,
) -> Plan:
    """Sets what runs beside the champion; nothing named ends it. Raises UnblessedModel, UnknownVersion, IllegalRoute."""
    deployment = Deployment(home.deployments, use_case)
    for version in (challenger, shadow):
        if version is not None:
            demand_blessing(home, use_case, version)
    return deployment.route(
        challenger=challenger, share=share, split=split, shadow=shadow, at=at.isoformat(), reason=f"route: {reason}"
    )


def demand_blessing(home: Home, use_case: str, version: int) -> None:
    """Raises UnblessedModel unless the placed `version` carries a valid blessing, UnknownVersion when it is not placed."""
    onnx, blessing = Deployment(home.deployments, use_case).load(version)
    verify(Blessing.from_json(blessing), use_case=use_case, onnx=onnx, public_keys=SigningKeys(home.keys).public())
