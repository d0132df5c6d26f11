"""The model registry on a real SQLite file and a real Postgres, with real processes where a kill or a race is the point."""

import hashlib
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from signal import SIGKILL

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from mlops_assets.training.model_registry import MODEL, ModelAltered, ModelRegistry, NotRegistered
from tests.servers.postgres_server import PostgresServer, running_postgres
from tests.training.mlflow_runs import new_run

REGISTER = """
import os, signal, sys
from pathlib import Path
from mlflow import MlflowClient
from mlops_assets.training.model_registry import ModelRegistry
root, onnx, ending = Path(sys.argv[1]), sys.argv[2].encode(), sys.argv[3]
if ending == "killed in set-up":
    os.replace = Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if ending == "killed":
    MlflowClient.create_model_version = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
registry = ModelRegistry(root)
run_id = registry.client.create_run(registry.experiment("race")).info.run_id
print(run_id, flush=True)
print(registry.register("race", onnx, run_id=run_id, tags={}, description="raced"))
"""


def register(registry: ModelRegistry, model: str, onnx: bytes, **tags: str) -> int:
    return registry.register(model, onnx, run_id=new_run(registry, model).run_id, tags=tags, description="a model")


def client(registry: ModelRegistry) -> MlflowClient:
    """MLflow's own client, next to the registry's."""
    return MlflowClient(tracking_uri=registry.uri, registry_uri=registry.uri)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def registry(request: pytest.FixtureRequest, root: Path) -> ModelRegistry:
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    return ModelRegistry(root / request.param, server.new_database() if server else None)


def stored(registry: ModelRegistry, run_id: str) -> Run:
    return client(registry).get_run(run_id)


def in_another_process(root: Path, onnx: str, ending: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", REGISTER, str(root), onnx, ending]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_run_keeps_its_tags_parameters_metrics_and_files(registry: ModelRegistry) -> None:
    parameters = {f"p{number}": number for number in range(130)}
    run = new_run(registry, "kept")
    run.log(tags={"dagster_run_id": "d1"}, params=parameters)
    run.log_metrics({"loss": 0.5}, step=0)
    run.log_metrics({"loss": 0.25}, step=1)
    run.log_file("window.txt", "January to March")
    run.log_file("plots/curve.png", b"a curve")
    stored_run = stored(registry, run.run_id)
    assert stored_run.data.params == {key: str(value) for key, value in parameters.items()}
    assert [point.value for point in client(registry).get_metric_history(run.run_id, "loss")] == [0.5, 0.25]
    assert stored_run.data.tags["dagster_run_id"] == "d1"
    assert Path(client(registry).download_artifacts(run.run_id, "window.txt")).read_text() == "January to March"
    assert Path(client(registry).download_artifacts(run.run_id, "plots/curve.png")).read_bytes() == b"a curve"


def test_values_longer_than_mlflow_takes_are_shortened(registry: ModelRegistry) -> None:
    vocabulary = ",".join(f"N{number}" for number in range(3000))
    run = new_run(registry, "long")
    run.log(tags={"vocabulary": vocabulary}, params={"v": vocabulary})
    data = stored(registry, run.run_id).data
    assert (data.params["v"], data.tags["vocabulary"]) == (vocabulary[:6000], vocabulary[:8000])


def test_a_registered_model_comes_back_byte_for_byte(registry: ModelRegistry) -> None:
    onnx = bytes(range(256)) * 4
    version = register(registry, "bytes", onnx, window="2013-01")
    assert registry.load("bytes", version) == registry.artifact("bytes", version, MODEL) == onnx
    (only,) = registry.versions("bytes")
    assert (only.version, only.digest) == (version, hashlib.sha256(onnx).hexdigest())
    assert only.tags["window"] == "2013-01"
    assert MODEL in [file.path for file in client(registry).list_artifacts(only.run_id)]
    assert client(registry).get_model_version_download_uri("bytes", str(version)).endswith(f"{only.run_id}/{MODEL}")


def test_versions_are_numbered_by_digest_and_the_same_digest_is_the_same_version(registry: ModelRegistry) -> None:
    first, second = register(registry, "line", b"first"), register(registry, "line", b"second")
    assert (first, second) == (1, 2)
    assert register(registry, "line", b"first") == first
    assert [version.version for version in registry.versions("line")] == [1, 2]


def test_an_unknown_version_or_artifact_is_refused_and_the_known_ones_are_named(registry: ModelRegistry) -> None:
    register(registry, "known", b"only")
    with pytest.raises(NotRegistered, match="known · no version 7; registered are: 1. Use one of these"):
        registry.load("known", 7)
    with pytest.raises(NotRegistered, match="registered are: none"):
        registry.load("never_registered", 1)
    with pytest.raises(NotRegistered, match="no artifact 'plan.json'; its run has: model.onnx"):
        registry.artifact("known", 1, "plan.json")


def test_bytes_that_are_not_the_digest_s_are_not_loaded(registry: ModelRegistry, root: Path) -> None:
    version = register(registry, "altered", b"honest")
    run_id = registry.versions("altered")[0].run_id
    (kept,) = root.rglob(f"{run_id}/artifacts/{MODEL}")
    kept.write_bytes(b"forged")
    with pytest.raises(ModelAltered, match="altered · version 1 · the bytes have SHA-256"):
        registry.load("altered", version)


@pytest.mark.slow  # processes that load MLflow, 2 s of CPU each
def test_a_process_killed_between_file_and_version_leaves_no_version_and_the_next_one_makes_it(tmp_path: Path) -> None:
    killed = in_another_process(tmp_path, "onnx", "killed")
    killed.communicate(timeout=120)
    assert killed.returncode == -SIGKILL
    registry = ModelRegistry(tmp_path)
    assert registry.versions("race") == []
    assert register(registry, "race", b"onnx") == register(registry, "race", b"onnx") == 1
    assert registry.load("race", 1) == b"onnx"


def test_only_running_runs_whose_dagster_run_is_over_are_stale(registry: ModelRegistry) -> None:
    over, lasting, ended, by_hand = (
        new_run(registry, "stale", **tags).run_id
        for tags in ({"dagster_run_id": "over"}, {"dagster_run_id": "lasts"}, {"dagster_run_id": "over"}, {})
    )
    registry.client.set_terminated(ended, "FAILED")
    assert registry.close_stale_runs("stale", is_over=lambda run_id: run_id == "over") == [over]
    statuses = [stored(registry, run_id).info.status for run_id in (over, lasting, ended, by_hand)]
    assert statuses == ["KILLED", "RUNNING", "FAILED", "RUNNING"]
    assert registry.close_stale_runs("no such experiment", is_over=lambda _: True) == []


def test_a_run_that_ends_while_it_is_looked_at_keeps_its_status(registry: ModelRegistry) -> None:
    run_id = new_run(registry, "ending", dagster_run_id="d1").run_id

    def ends_now(_run_id: str) -> bool:
        registry.client.set_terminated(run_id, "FINISHED")
        return True

    assert registry.close_stale_runs("ending", is_over=ends_now) == []
    assert stored(registry, run_id).info.status == "FINISHED"


@pytest.mark.slow  # as above
def test_two_processes_may_create_the_database_and_register_at_the_same_time(tmp_path: Path) -> None:
    racers = [in_another_process(tmp_path, onnx, "lives") for onnx in ("one", "two")]
    answers = [racer.communicate(timeout=120) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0], [error[-2000:] for _, error in answers]
    assert {out.split()[-1] for out, _ in answers} == {"1", "2"}
    registry = ModelRegistry(tmp_path)
    assert {registry.load("race", version.version) for version in registry.versions("race")} == {b"one", b"two"}


@pytest.mark.slow  # as above
def test_the_database_is_the_one_that_mlflow_makes_also_after_a_killed_set_up(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'plain' / 'mlflow.db'}").search_experiments(max_results=1)
    killed = in_another_process(tmp_path, "onnx", "killed in set-up")
    killed.communicate(timeout=120)
    assert killed.returncode == -SIGKILL
    assert not (tmp_path / "mlflow.db").exists()
    ModelRegistry(tmp_path).prepare()
    assert schema(tmp_path / "mlflow.db") == schema(tmp_path / "plain" / "mlflow.db")


def schema(database: Path) -> set[tuple[object, ...]]:
    columns = "select m.type, m.name, c.* from sqlite_master m left join pragma_table_info(m.name) c"
    with closing(sqlite3.connect(database)) as connection:
        return {*connection.execute(columns), *connection.execute("select 'migration', version_num from alembic_version")}


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("is_original_there", [True, False])
def test_a_copied_folder_reads_and_writes_its_own_files(tmp_path: Path, is_original_there: bool):
    original, copy = tmp_path / "a b" / "mlflow", tmp_path / "copy" / "mlflow"
    version = register(ModelRegistry(original), "line", b"first")
    shutil.copytree(original, copy)
    before = files(original)
    if not is_original_there:
        shutil.rmtree(original)
    registry = ModelRegistry(copy)
    first = registry.tracked(registry.version("line", version).run_id)
    first.log_file("report.html", "of the copy")
    assert register(registry, "line", b"second") == version + 1
    assert [registry.load("line", number) for number in (version, version + 1)] == [b"first", b"second"]
    addresses = [run.info.artifact_uri for run in registry.client.search_runs([first.experiment_id])]
    assert len(addresses) == 2 and all(uri.startswith(copy.as_uri()) for uri in addresses)
    assert registry.client.get_experiment(first.experiment_id).artifact_location == registry.artifacts("line").as_uri()
    assert files(original) == (before if is_original_there else {})


def test_a_moved_folder_is_used_as_before_and_again_after_it_moved_back(tmp_path: Path):
    home, elsewhere = tmp_path / "mlflow", tmp_path / "elsewhere" / "mlflow"
    version = register(ModelRegistry(home), "line", b"first")
    elsewhere.parent.mkdir()
    for before, now in ((home, elsewhere), (elsewhere, home)):
        before.rename(now)
        registry = ModelRegistry(now)
        assert registry.load("line", version) == b"first"
        assert registry.tracked(registry.version("line", version).run_id).folder.is_relative_to(now)
        assert not before.exists()
