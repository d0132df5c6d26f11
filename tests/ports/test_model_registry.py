"""The model registry on a real SQLite file, with real processes where a kill or a race is the point."""

import hashlib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGKILL

import pytest
from mlflow.entities import Run
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from mlops_assets.ports.model_registry import DAGSTER_RUN, DATABASE_FILE, MODEL_FILE, ModelRegistry, UnknownVersion

REGISTER = """
import os, signal, sys
from hashlib import sha256
from pathlib import Path
from mlops_assets.ports.model_registry import ModelRegistry
root, onnx, die_before_version = Path(sys.argv[1]), sys.argv[2].encode(), sys.argv[3] == "die"
registry = ModelRegistry(root)
if die_before_version:
    registry.client.create_model_version = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
with registry.track("training", experiment="race", tags={"dagster_run_id": "killed"}, params={}) as run:
    digest = sha256(onnx).hexdigest()
    print(registry.register("race", onnx, digest=digest, run_id=run.run_id, tags={}, description="raced"))
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> ModelRegistry:
    return ModelRegistry(tmp_path_factory.mktemp("mlflow"))


def register(registry: ModelRegistry, model: str, onnx: bytes, **tags: str) -> int:
    with registry.track("training", experiment=model, tags={}, params={}) as run:
        digest = hashlib.sha256(onnx).hexdigest()
        return registry.register(model, onnx, digest=digest, run_id=run.run_id, tags=tags, description="a model")


def stored(registry: ModelRegistry, run_id: str) -> Run:
    return registry.client.get_run(run_id)


def in_another_process(root: Path, onnx: str, ending: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", REGISTER, str(root), onnx, ending]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_run_keeps_its_parameters_metrics_and_files_and_ends_finished(registry: ModelRegistry, tmp_path: Path) -> None:
    parameters = {f"p{number}": number for number in range(130)}
    picture = tmp_path / "curve.txt"
    picture.write_text("a curve")
    with registry.track("training", experiment="kept", tags={DAGSTER_RUN: "d1"}, params=parameters) as run:
        run.log_metrics({"loss": 0.5}, step=0)
        run.log_metrics({"loss": 0.25}, step=1)
        run.log_text("window: January to March", "window.txt")
        run.log_file(picture, "plots")
    found = stored(registry, run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params == {key: str(value) for key, value in parameters.items()}
    assert [point.value for point in registry.client.get_metric_history(run.run_id, "loss")] == [0.5, 0.25]
    assert found.data.tags[DAGSTER_RUN] == "d1"
    assert Path(registry.client.download_artifacts(run.run_id, "window.txt")).read_text() == "window: January to March"
    assert Path(registry.client.download_artifacts(run.run_id, "plots/curve.txt")).read_text() == "a curve"


@pytest.mark.parametrize("problem", [ValueError("no rows"), KeyboardInterrupt(), SystemExit(1)])
def test_a_run_whose_training_breaks_off_ends_failed(registry: ModelRegistry, problem: BaseException) -> None:
    with pytest.raises(type(problem)), registry.track("training", experiment="broken", tags={}, params={}) as run:
        raise problem
    assert stored(registry, run.run_id).info.status == "FAILED"


def test_a_registered_model_comes_back_byte_for_byte(registry: ModelRegistry) -> None:
    onnx = bytes(range(256)) * 4
    version = register(registry, "bytes", onnx, window="2013-01")
    assert registry.load("bytes", version) == onnx
    (only,) = registry.versions("bytes")
    assert (only.version, only.digest) == (version, hashlib.sha256(onnx).hexdigest())
    assert only.tags["window"] == "2013-01"
    assert abs(only.created - datetime.now(UTC)) < timedelta(minutes=5)
    assert MODEL_FILE in [file.path for file in registry.client.list_artifacts(only.run_id)]


def test_versions_are_numbered_by_digest_and_the_same_digest_is_the_same_version(registry: ModelRegistry) -> None:
    first, second = register(registry, "line", b"first"), register(registry, "line", b"second")
    assert (first, second) == (1, 2)
    assert register(registry, "line", b"first") == first
    assert [version.version for version in registry.versions("line")] == [1, 2]


def test_an_unknown_version_is_refused_and_the_known_ones_are_named(registry: ModelRegistry) -> None:
    register(registry, "known", b"only")
    with pytest.raises(UnknownVersion, match=r"known · version 7 is not registered; registered: 1\. Use one"):
        registry.load("known", 7)
    with pytest.raises(UnknownVersion, match="registered: none"):
        registry.load("never_registered", 1)


def test_an_alias_moves_and_is_none_before_it_exists(registry: ModelRegistry) -> None:
    assert registry.alias("aliased", "champion") is None
    first, second = register(registry, "aliased", b"1"), register(registry, "aliased", b"2")
    assert registry.alias("aliased", "champion") is None
    registry.set_alias("aliased", "champion", second)
    registry.set_alias("aliased", "champion", first)
    assert registry.alias("aliased", "champion") == first


def test_only_open_runs_of_dead_dagster_runs_are_closed(registry: ModelRegistry) -> None:
    experiment = registry.client.create_experiment("stale")
    tags: list[dict[str, str]] = [{DAGSTER_RUN: "dead"}, {DAGSTER_RUN: "alive"}, {}]
    dead, alive, foreign = (registry.client.create_run(experiment, tags=each).info.run_id for each in tags)
    assert registry.close_stale_runs("stale", alive={"alive"}) == [dead]
    statuses = [stored(registry, run).info.status for run in (dead, alive, foreign)]
    assert statuses == ["KILLED", "RUNNING", "RUNNING"]
    assert registry.close_stale_runs("stale", alive={"alive"}) == []
    assert registry.close_stale_runs("no such experiment", alive=()) == []


def test_a_process_killed_between_file_and_version_leaves_no_version_and_the_next_one_makes_it(tmp_path: Path) -> None:
    killed = in_another_process(tmp_path, "onnx", "die")
    killed.communicate(timeout=120)
    assert killed.returncode == -SIGKILL
    registry = ModelRegistry(tmp_path)
    assert registry.versions("race") == []
    assert len(registry.close_stale_runs("race", alive={"mine"})) == 1
    assert register(registry, "race", b"onnx") == register(registry, "race", b"onnx") == 1
    assert registry.load("race", 1) == b"onnx"


def test_two_processes_may_create_the_database_and_register_at_the_same_time(tmp_path: Path) -> None:
    racers = [in_another_process(tmp_path, onnx, "live") for onnx in ("one", "two")]
    answers = [racer.communicate(timeout=120) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0], [error[-2000:] for _, error in answers]
    assert {int(out) for out, _ in answers} == {1, 2}
    registry = ModelRegistry(tmp_path)
    assert {registry.load("race", version.version) for version in registry.versions("race")} == {b"one", b"two"}
    assert sorted(os.listdir(tmp_path)) == ["artifacts", "mlflow.db", "mlflow.db-shm", "mlflow.db-wal"]


def schema(database: Path) -> set[tuple[object, ...]]:
    columns = "select m.type, m.name, c.* from sqlite_master m left join pragma_table_info(m.name) c"
    with closing(sqlite3.connect(database)) as connection:
        return {*connection.execute(columns), *connection.execute("select 'migration', version_num from alembic_version")}


def test_the_database_is_the_one_that_mlflow_itself_makes(tmp_path: Path) -> None:
    SqlAlchemyStore(f"sqlite:///{tmp_path / 'plain.db'}", tmp_path.as_uri()).engine.dispose()
    ModelRegistry(tmp_path)
    assert schema(tmp_path / DATABASE_FILE) == schema(tmp_path / "plain.db")
