"""Going back, with the real deployment folder, real keys and a real registry."""

import datetime as dt
from pathlib import Path

import pytest

from mlops_assets import names
from mlops_assets.ports.deployment import Deployment
from mlops_assets.ports.home import Home
from mlops_assets.ports.model_registry import ModelRegistry
from mlops_assets.ports.signing_keys import SigningKeys
from mlops_assets.rollback import NothingBefore, roll_back
from mlops_assets.stages.bless import GateVerdict, UnblessedModel, bless
from mlops_assets.stages.signature import digest

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
MODEL = names.registered_model("flight_delay")


def promote(home: Home, onnx: bytes) -> int:
    """A version that has gone the whole way: registered, blessed, placed, pointed to."""
    registry, keys = ModelRegistry(home.mlflow), SigningKeys(home.keys)
    with registry.track("a run", experiment="flight_delay", tags={}, params={}) as run:
        version = registry.register(MODEL, onnx, digest=digest(onnx), run_id=run.run_id, tags={}, description="A model.")
    blessing = bless(
        use_case="flight_delay",
        onnx=onnx,
        evaluation_digest="e" * 64,
        gates=(GateVerdict("floor_auc", True, 0.8, 0.7),),
        training={},
        blessed_at=NOW,
        private_key=keys.private(),
    )
    deployment = Deployment(home.deployments, "flight_delay")
    deployment.place(version, onnx, blessing.to_json())
    deployment.point(version, NOW.isoformat(), "test")
    registry.set_alias(MODEL, names.CHAMPION, version)
    return version


def test_the_previous_champion_answers_again_and_the_alias_follows(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first, second = promote(home, b"first"), promote(home, b"second")
    plan = roll_back(home, "flight_delay", at=NOW, reason="it is worse")
    assert (plan.champion, plan.previous) == (first, second)
    assert "it is worse" in plan.reason
    assert Deployment(home.deployments, "flight_delay").plan() == plan
    assert ModelRegistry(home.mlflow).alias(MODEL, names.CHAMPION) == first


def test_without_an_earlier_champion_nothing_changes(tmp_path: Path) -> None:
    home = Home(tmp_path)
    promote(home, b"only")
    before = Deployment(home.deployments, "flight_delay").plan()
    with pytest.raises(NothingBefore, match="no earlier champion"):
        roll_back(home, "flight_delay", at=NOW, reason="panic")
    assert Deployment(home.deployments, "flight_delay").plan() == before


def test_a_previous_champion_whose_file_was_changed_does_not_answer_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first, second = promote(home, b"first"), promote(home, b"second")
    stored = next(path for path in home.deployments.rglob("*.onnx") if path.parent.name == str(first))
    stored.chmod(0o600)
    stored.write_bytes(b"forged")
    with pytest.raises(UnblessedModel):
        roll_back(home, "flight_delay", at=NOW, reason="it is worse")
    plan = Deployment(home.deployments, "flight_delay").plan()
    assert plan is not None and plan.champion == second
