"""MLflow on SQLite: tracked runs, registered versions, aliases. The home of mlflow.

Belongs here: what is written to MLflow, and what is read back.
Not here: whether a version may answer; an alias only mirrors that for people.
"""

import fcntl
import hashlib
import json
import logging
import sqlite3
import time
import uuid
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlparse

from mlflow import MlflowClient, MlflowException
from mlflow.entities import Metric, Param, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from mlops_assets.ports.durable_file import replace_file, sync_folder

MODEL = "model.onnx"
PARAMS = "params.json"
DIGEST = "digest"
LOCK = "mlops.lock"
MAX_PARAM = 6000  # characters of a value; also MLflow's limit
MAX_TAG = 8000
MAX_PARAMS_PER_CALL = 100
ABSENT, PRESENT = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"


class NotRegistered(LookupError):
    """A version, or an artifact of a version, that the registry does not hold."""


class ModelAltered(ValueError):
    """Model bytes that are not the ones which bear the digest."""


@dataclass(frozen=True)
class Version:
    """One registered version. `digest` is the SHA-256 of its ONNX bytes in hex, `created_at` is UTC."""

    version: int
    digest: str
    run_id: str
    created_at: datetime
    tags: dict[str, str]


class TrackedRun:
    """One MLflow run while it lasts; made by `ModelRegistry.track`."""

    def __init__(self, client: MlflowClient, run: Run) -> None:
        self._client = client
        self._folder = _folder(run)
        self.run_id: str = run.info.run_id

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(self.run_id, metrics=[Metric(name, float(value), now, step) for name, value in metrics.items()])

    def log_text(self, name: str, text: str) -> None:
        self.log_bytes(name, text.encode())

    def log_bytes(self, name: str, content: bytes) -> None:
        """Stores an artifact, whole or not at all: MLflow's own copy can be cut short by a kill."""
        replace_file(self._folder / name, content)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Values longer than MLflow takes are shortened there, and then all are kept in full as an artifact."""
        texts = {name: str(value) for name, value in params.items()}
        if any(len(text) > MAX_PARAM for text in texts.values()):
            self.log_text(PARAMS, json.dumps(texts, indent=1))
        rows = [Param(name, text[:MAX_PARAM]) for name, text in texts.items()]
        for first in range(0, len(rows), MAX_PARAMS_PER_CALL):
            self._client.log_batch(self.run_id, params=rows[first : first + MAX_PARAMS_PER_CALL])


# Not dagster-mlflow's `mlflow_tracking` resource: it leaves its run RUNNING in every job without its hook (the jobs of
# automation conditions have none), works through MLflow's global current run, and knows no registry.
class ModelRegistry:
    """MLflow below `root`: `mlflow.db` and `artifacts/`, made on first use. Any number of processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def prepare(self) -> None:
        """Makes the database now, for others that open the file themselves."""
        self.client.search_experiments(max_results=1)

    @contextmanager
    def track(
        self, run_name: str, *, experiment: str, tags: Mapping[str, str], params: Mapping[str, Any]
    ) -> Generator[TrackedRun]:
        """A run that ends FINISHED, or FAILED when the block raises. After a kill -9 `close_stale_runs` ends it."""
        lock = self._root / "running" / uuid.uuid4().hex
        with _locked(lock):
            run = self._start(run_name, experiment, {**_shortened(tags), LOCK: lock.name})
            try:
                tracked = TrackedRun(self.client, run)
                tracked.log_params(params)
                yield tracked
            except BaseException:
                self.client.set_terminated(run.info.run_id, "FAILED")
                raise
            else:
                self.client.set_terminated(run.info.run_id, "FINISHED")
            finally:
                lock.unlink(missing_ok=True)

    def close_stale_runs(self, experiment: str) -> list[str]:
        """Marks runs that a dead process left RUNNING as KILLED, and returns their ids. Runs in progress are left alone."""
        found = self.client.get_experiment_by_name(experiment)
        if found is None:
            return []
        running = self.client.search_runs([found.experiment_id], "attributes.status = 'RUNNING'")
        return [run.info.run_id for run in running if self._close_if_stale(run)]

    def register(
        self, model_name: str, onnx: bytes, *, digest: str, run_id: str, tags: Mapping[str, str], description: str
    ) -> int:
        """The version of these bytes, made if there is none: the same digest is the same version, also after a kill.

        `digest` is the SHA-256 of `onnx` in hex. Raises ModelAltered when it is not.
        """
        _demand_digest(onnx, digest, f"{model_name} · registering")
        with _locked(self._root / "register.lock"):
            known = [found.version for found in self.versions(model_name) if found.digest == digest]
            if known:
                return known[0]
            run = self.client.get_run(run_id)
            TrackedRun(self.client, run).log_bytes(MODEL, onnx)
            return self._new_version(model_name, run_id, {**_shortened(tags), DIGEST: digest}, description)

    def load(self, model_name: str, version: int) -> bytes:
        """The ONNX bytes of a version. Raises NotRegistered; ModelAltered when they do not bear the version's digest."""
        onnx = self.artifact(model_name, version, MODEL)
        _demand_digest(onnx, str(self._version(model_name, version).tags.get(DIGEST)), f"{model_name} · version {version}")
        return onnx

    def artifact(self, model_name: str, version: int, name: str) -> bytes:
        """An artifact of the run that made the version. Raises NotRegistered."""
        run = self.client.get_run(str(self._version(model_name, version).run_id))
        folder = _folder(run)
        if (folder / name).is_file():
            return (folder / name).read_bytes()
        found = ", ".join(sorted(path.name for path in folder.glob("*"))) or "none"
        raise NotRegistered(f"{model_name} · version {version} · no artifact {name!r}; its run has: {found}. Train it again.")

    def versions(self, model_name: str) -> list[Version]:
        """All versions, oldest first; none for a model that nobody registered."""
        found, token = list[Version](), None
        while True:
            page = self.client.search_model_versions(f"name='{model_name}'", page_token=token)
            found += map(_said, page)
            token = cast("str | None", page.token)
            if not token:
                return sorted(found, key=lambda version: version.version)

    def artifacts(self, experiment: str) -> Path:
        """The folder below which the artifacts of all its runs lie."""
        return self._root / "artifacts" / experiment

    @cached_property
    def client(self) -> MlflowClient:
        """For what has no word here."""
        with _locked(self._root / "create.lock"):
            _lay_database(self._root)
        uri = f"sqlite:///{self._root / 'mlflow.db'}"
        return MlflowClient(tracking_uri=uri, registry_uri=uri)

    def _start(self, run_name: str, experiment: str, tags: Mapping[str, str]) -> Run:
        return self.client.create_run(self._experiment(experiment), run_name=run_name, tags=dict(tags))

    def _experiment(self, name: str) -> str:
        try:
            return self.client.create_experiment(name, self.artifacts(name).as_uri())
        except MlflowException as error:
            _demand_code(error, PRESENT)
        found = self.client.get_experiment_by_name(name)
        assert found is not None
        return found.experiment_id

    def _new_version(self, model_name: str, run_id: str, tags: dict[str, Any], description: str) -> int:
        try:
            self.client.create_registered_model(model_name)
        except MlflowException as error:
            _demand_code(error, PRESENT)
        source = f"runs:/{run_id}/{MODEL}"
        made = self.client.create_model_version(model_name, source, run_id, tags, description=description, await_creation_for=0)
        return int(made.version)

    def _version(self, model_name: str, version: int) -> ModelVersion:
        try:
            return self.client.get_model_version(model_name, str(version))
        except MlflowException as error:
            _demand_code(error, ABSENT)
        known = ", ".join(str(found.version) for found in self.versions(model_name)) or "none"
        raise NotRegistered(f"{model_name} · no version {version}; registered are: {known}. Use one of these, or train.")

    def _close_if_stale(self, run: Run) -> bool:
        name = run.data.tags.get(LOCK)
        if name is None or not _is_free(self._root / "running" / name):
            return False
        # Its process is gone or done by now, so what is read here is the last word.
        stale = self.client.get_run(run.info.run_id).info.status == "RUNNING"
        if stale:
            self.client.set_terminated(run.info.run_id, "KILLED")
        (self._root / "running" / name).unlink(missing_ok=True)
        return stale


def _lay_database(root: Path) -> None:
    """Whole or not at all: MLflow cannot go on from a set-up that a kill cut short.

    Its 69 migrations run in memory: on disk each of them waits for syncs of its own (measured: 5.5 s against 0.8 s).
    """
    database, aside = root / "mlflow.db", root / "mlflow.db.new"
    if database.exists():
        return
    aside.unlink(missing_ok=True)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it announces the set-up on the terminal
    engine = SqlAlchemyStore("sqlite:///:memory:", (root / "artifacts").as_uri()).engine
    with closing(engine.raw_connection()) as source, closing(sqlite3.connect(aside)) as target:
        cast(sqlite3.Connection, source.driver_connection).backup(target)
    engine.dispose()
    aside.rename(database)
    sync_folder(root)


@contextmanager
def _locked(path: Path) -> Generator[None]:
    """Waits for its turn; the lock ends with its process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_free(path: Path) -> bool:
    if not path.exists():
        return True
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _folder(run: Run) -> Path:
    return Path(unquote(urlparse(str(run.info.artifact_uri)).path))


def _shortened(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: str(value)[:MAX_TAG] for name, value in tags.items()}


def _said(version: ModelVersion) -> Version:
    created_at = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return Version(int(version.version), version.tags.get(DIGEST, ""), str(version.run_id), created_at, dict(version.tags))


def _demand_digest(onnx: bytes, digest: str, where: str) -> None:
    found = hashlib.sha256(onnx).hexdigest()
    if found != digest:
        raise ModelAltered(f"{where} · the bytes have SHA-256 {found}; recorded: {digest}. Do not serve them; train again.")


def _demand_code(error: MlflowException, expected: str) -> None:
    if error.error_code != expected:
        raise error
