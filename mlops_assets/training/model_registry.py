"""MLflow on SQLite or Postgres: tracked runs, artifacts and registered versions."""

import hashlib
import logging
import sqlite3
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from filelock import FileLock
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Metric, Param, Run, RunTag
from sqlalchemy import NullPool, create_engine, text

from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.foundation.wording import some

MODEL = "model.onnx"
DIGEST = "digest"
DAGSTER_RUN = "dagster_run_id"  # dagster-mlflow's tag
MEMORY = Path("/dev/shm")
BUSY_S = 30  # how long a writer waits for its turn
MAX_VERSIONS = 200_000  # MLflow's limit of one search

Tags = dict[str, str]
RegistryError = MlflowException  # what MLflow raises, for callers that do not import MLflow


class NotRegistered(LookupError):
    """The registry has no such version, or the version no such artifact."""


class ModelAltered(ValueError):
    """Model bytes whose digest differs from the recorded one."""


@dataclass(frozen=True)
class Version:
    """One registered version. `digest` is the SHA-256 of its ONNX bytes in hex."""

    version: int
    digest: str
    run_id: str
    tags: Tags


class TrackedRun:
    """One MLflow run in progress, with its artifacts in `folder`; see `ModelRegistry.tracked`."""

    def __init__(self, client: MlflowClient, run: Run, artifacts: Path) -> None:
        self._client = client
        self.run_id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        # The recorded address names the folder by an absolute path, of which only the end also holds in a moved or copied home.
        self.folder = artifacts.joinpath(*Path(unquote(urlparse(str(run.info.artifact_uri)).path)).parts[-3:])

    def log(self, *, tags: Tags, params: Mapping[str, Any]) -> None:
        """MLflow shortens values that are too long for it: of a tag to 8000 characters, of a parameter to 6000."""
        pairs = [Param(name, str(value)) for name, value in params.items()]
        self._client.log_batch(self.run_id, params=pairs, tags=[RunTag(name, value) for name, value in tags.items()])

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(self.run_id, [Metric(name, float(value), now, step) for name, value in metrics.items()])

    def log_file(self, name: str, content: bytes | str) -> None:
        """Stores an artifact, whole or not at all: MLflow's own copy is cut short when the process is killed."""
        replace_file(self.folder / name, content.encode() if isinstance(content, str) else content)


class ModelRegistry:
    """MLflow under `root`: `artifacts/`, and `mlflow.db` unless the runs are in a database of Postgres; both are created on first
    use. Safe for concurrent processes. A folder that was moved or copied reads and writes its own artifacts.
    """

    def __init__(self, root: Path, database_url: str | None = None) -> None:
        self._root, self._database_url = root.resolve(), database_url
        # SQLAlchemy's default, psycopg 3, prepares statements: behind pgbouncer, the next may come to another connection.
        of_postgres = (database_url or "").replace("postgresql://", "postgresql+psycopg2://", 1)
        self.uri = of_postgres or f"sqlite:///{self._root / 'mlflow.db'}"

    def prepare(self) -> None:
        """Creates the database, whole or not at all, for processes that open the file themselves; in a moved or copied folder,
        points it at this folder.
        """
        database = self._root / "mlflow.db"
        with FileLock(self._root / "create.lock"):
            if self._database_url:
                _migrate(self.uri)
            elif not database.exists():
                replace_file(database, _empty_database())
            _relocate(self.uri, self.artifacts())

    def experiment(self, name: str) -> str:
        """The id of the experiment, created with its artifact folder if it does not exist."""
        client = self.client
        with FileLock(self._root / "register.lock"):
            known = client.get_experiment_by_name(name)
            return known.experiment_id if known else client.create_experiment(name, self.artifacts(name).as_uri())

    def tracked(self, run_id: str) -> TrackedRun:
        return TrackedRun(self.client, self.client.get_run(run_id), self.artifacts())

    def close_stale_runs(self, experiment: str, *, is_over: Callable[[str], bool]) -> list[str]:
        """Marks the runs that a killed process left RUNNING as KILLED, and returns their ids.

        `is_over`: whether the Dagster run of this id has ended. Runs that Dagster did not start are left alone.
        """
        started = f"attributes.status = 'RUNNING' AND tags.{DAGSTER_RUN} != ''"
        running = self.client.search_runs([self.experiment(experiment)], started)
        over = [run.info.run_id for run in running if is_over(run.data.tags[DAGSTER_RUN])]
        # Read again: it may have ended between the search and the end of its Dagster run.
        stale = [run_id for run_id in over if self.client.get_run(run_id).info.status == "RUNNING"]
        for run_id in stale:
            self.client.set_terminated(run_id, "KILLED")
        return stale

    def register(self, model_name: str, onnx: bytes, *, run_id: str, tags: Tags, description: str) -> int:
        """The version of these bytes, created if there is none: the same digest is the same version, also after a kill."""
        digest = hashlib.sha256(onnx).hexdigest()
        with FileLock(self._root / "register.lock"):
            for known in self.versions(model_name):
                if known.digest == digest:
                    return known.version
            self.tracked(run_id).log_file(MODEL, onnx)
            if not self.client.search_registered_models(f"name='{model_name}'"):
                self.client.create_registered_model(model_name)
            source, recorded = f"runs:/{run_id}/{MODEL}", {**tags, DIGEST: digest}
            created = self.client.create_model_version(
                model_name, source, run_id, recorded, description=description, await_creation_for=0
            )
            return int(created.version)

    def take_over(self, model_name: str, onnx: bytes, files: Mapping[str, bytes], *, tags: Tags, description: str) -> int:
        """As `register`, of a model that was trained elsewhere, with a run of its own that has the artifacts of the other one."""
        if known := [one.version for one in self.versions(model_name) if one.digest == hashlib.sha256(onnx).hexdigest()]:
            return known[0]
        run = self.tracked(self.client.create_run(self.experiment(model_name), tags=tags).info.run_id)
        for name, content in files.items():
            run.log_file(name, content)
        version = self.register(model_name, onnx, run_id=run.run_id, tags=tags, description=description)
        self.client.set_terminated(run.run_id)
        return version

    def files(self, model_name: str, version: int) -> dict[str, bytes]:
        """The artifacts of the run that created the version. Raises NotRegistered."""
        folder = self.tracked(self.version(model_name, version).run_id).folder
        return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}

    def load(self, model_name: str, version: int) -> bytes:
        """The ONNX bytes of a version. Raises NotRegistered; ModelAltered when their digest is not the version's."""
        onnx, recorded = self.artifact(model_name, version, MODEL), self.version(model_name, version).digest
        digest = hashlib.sha256(onnx).hexdigest()
        if digest != recorded:
            found = f"the bytes have SHA-256 {digest}; recorded: {recorded}"
            raise ModelAltered(f"{model_name} · version {version} · {found}. Do not serve them; train again.")
        return onnx

    def artifact(self, model_name: str, version: int, name: str) -> bytes:
        """An artifact of the run that created the version. Raises NotRegistered."""
        folder = self.tracked(self.version(model_name, version).run_id).folder
        if (content := self.find_artifact(model_name, version, name)) is not None:
            return content
        found = ", ".join(sorted(path.name for path in folder.glob("*"))) or "none"
        raise NotRegistered(f"{model_name} · version {version} · no artifact {name!r}; its run has: {found}. Train it again.")

    def find_artifact(self, model_name: str, version: int, name: str) -> bytes | None:
        """None for a run without it. Raises NotRegistered for an unknown version."""
        file = self.tracked(self.version(model_name, version).run_id).folder / name
        return file.read_bytes() if file.is_file() else None

    def version(self, model_name: str, version: int) -> Version:
        """Raises NotRegistered."""
        versions = {known.version: known for known in self.versions(model_name)}
        if version in versions:
            return versions[version]
        known = some(versions)
        raise NotRegistered(f"{model_name} · no version {version}; registered are: {known}. Use one of these, or train.")

    def versions(self, model_name: str) -> list[Version]:
        """All versions, oldest first; none for an unknown model. Reading creates no database."""
        if not (self._database_url or (self._root / "mlflow.db").exists()):
            return []
        page = self.client.search_model_versions(f"name='{model_name}'", max_results=MAX_VERSIONS)
        versions = [
            Version(int(model.version), model.tags.get(DIGEST, ""), str(model.run_id), dict(model.tags)) for model in page
        ]
        return sorted(versions, key=lambda version: version.version)

    def artifacts(self, experiment: str = "") -> Path:
        """The folder of the artifacts of all its runs; without a name, of all experiments."""
        return self._root / "artifacts" / experiment

    @cached_property
    def client(self) -> MlflowClient:
        self.prepare()
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)


def _empty_database() -> bytes:
    """The file of a migrated database: MLflow cannot resume migrations that a kill has cut short."""
    # In memory: on a disk each of the 69 migrations waits for its own syncs (5.5 s; 1.5 to 2 s in /dev/shm).
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        database = f"{folder}/mlflow.db"
        _migrate(f"sqlite:///{database}")
        with closing(sqlite3.connect(database)) as connection:
            return connection.serialize()


def _migrate(url: str) -> None:
    """Creates the tables of an empty database; Postgres does that whole or not at all."""
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it prints every migration to the terminal
    MlflowClient(tracking_uri=url).search_experiments(max_results=1)


def _relocate(url: str, artifacts: Path) -> None:
    """Replaces the addresses of another folder: by these MLflow's pages show files, and its `gc` deletes them."""
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_S} if url.startswith("sqlite") else {})
    with engine.begin() as connection:
        located = connection.execute(text("SELECT experiment_id, name, artifact_location FROM experiments")).fetchall()
        for experiment, name, before in located:
            now = (artifacts / name).as_uri()
            if before == now or not before.endswith(f"/{artifacts.name}/{name}"):
                continue
            values = {"before": f"{before}/", "now": f"{now}/", "location": now, "id": experiment}
            connection.execute(text("UPDATE experiments SET artifact_location = :location WHERE experiment_id = :id"), values)
            of_runs = "UPDATE runs SET artifact_uri = replace(artifact_uri, :before, :now) WHERE experiment_id = :id"
            connection.execute(text(of_runs), values)
