"""MLflow on SQLite: tracked runs, artifacts and registered versions."""

import hashlib
import json
import logging
import sqlite3
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlparse

from filelock import FileLock
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.entities.model_registry import ModelVersion

from mlops_assets.foundation.atomic_file import replace_file

MODEL = "model.onnx"
PARAMS = "params.json"
DIGEST = "digest"
DAGSTER_RUN = "dagster_run_id"  # dagster-mlflow's tag
MEMORY = Path("/dev/shm")
MAX_PARAM = 6000  # characters of a value; also MLflow's limit
MAX_TAG = 8000
MAX_PARAMS_PER_CALL = 100
ABSENT, PRESENT = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"

RegistryError = MlflowException  # what MLflow raises, for callers that do not import MLflow


class NotRegistered(LookupError):
    """The registry has no such version, or the version no such artifact."""


class ModelAltered(ValueError):
    """Model bytes whose digest differs from the recorded one."""


@dataclass(frozen=True)
class Version:
    """One registered version. `digest` is the SHA-256 of its ONNX bytes in hex, `created_at` is UTC."""

    version: int
    digest: str
    run_id: str
    created_at: datetime
    tags: dict[str, str]


class TrackedRun:
    """One MLflow run in progress; see `ModelRegistry.tracked`."""

    def __init__(self, client: MlflowClient, run: Run) -> None:
        self._client = client
        self._folder = _folder(run)
        self.run_id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self._client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in _shortened(tags).items()])

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(self.run_id, metrics=[Metric(name, float(value), now, step) for name, value in metrics.items()])

    def log_text(self, name: str, text: str) -> None:
        self.log_bytes(name, text.encode())

    def log_bytes(self, name: str, content: bytes) -> None:
        """Stores an artifact, whole or not at all: MLflow's own copy is cut short when the process is killed."""
        replace_file(self._folder / name, content)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Shortens values that are too long for MLflow, and then stores all of them in full as an artifact."""
        texts = {name: str(value) for name, value in params.items()}
        if any(len(text) > MAX_PARAM for text in texts.values()):
            self.log_text(PARAMS, json.dumps(texts, indent=1))
        rows = [Param(name, text[:MAX_PARAM]) for name, text in texts.items()]
        for first in range(0, len(rows), MAX_PARAMS_PER_CALL):
            self._client.log_batch(self.run_id, params=rows[first : first + MAX_PARAMS_PER_CALL])


class ModelRegistry:
    """MLflow under `root`: `mlflow.db` and `artifacts/`, created on first use. Safe for concurrent processes."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self.uri = f"sqlite:///{self._root / 'mlflow.db'}"

    def prepare(self) -> None:
        """Creates the database, whole or not at all, for processes that open the file themselves."""
        with FileLock(self._root / "create.lock"):
            _create_database(self._root / "mlflow.db")

    def experiment(self, name: str) -> str:
        """The id of the experiment, created with its artifact folder if it does not exist."""
        try:
            return self.client.create_experiment(name, self.artifacts(name).as_uri())
        except MlflowException as error:
            _require_code(error, PRESENT)
        known = self.client.get_experiment_by_name(name)
        assert known is not None
        return known.experiment_id

    def tracked(self, run_id: str) -> TrackedRun:
        return TrackedRun(self.client, self.client.get_run(run_id))

    def close_stale_runs(self, experiment: str, *, is_over: Callable[[str], bool]) -> list[str]:
        """Marks the runs that a killed process left RUNNING as KILLED, and returns their ids.

        `is_over`: whether the Dagster run of this id has ended. Runs that Dagster did not start are left alone.
        """
        running = self.client.search_runs([self.experiment(experiment)], "attributes.status = 'RUNNING'")
        return [run.info.run_id for run in running if self._close_if_stale(run, is_over)]

    def register(
        self, model_name: str, onnx: bytes, *, digest: str, run_id: str, tags: Mapping[str, str], description: str
    ) -> int:
        """The version of these bytes, created if there is none: the same digest is the same version, also after a kill.

        `digest` is the SHA-256 of `onnx` in hex. Raises ModelAltered when it is not.
        """
        _require_digest(onnx, digest, f"{model_name} · registering")
        with FileLock(self._root / "register.lock"):
            known = [version.version for version in self.versions(model_name) if version.digest == digest]
            if known:
                return known[0]
            self.tracked(run_id).log_bytes(MODEL, onnx)
            return self._create_version(model_name, run_id, {**_shortened(tags), DIGEST: digest}, description)

    def load(self, model_name: str, version: int) -> bytes:
        """The ONNX bytes of a version. Raises NotRegistered; ModelAltered when their digest is not the version's."""
        onnx = self.artifact(model_name, version, MODEL)
        _require_digest(onnx, str(self._version(model_name, version).tags.get(DIGEST)), f"{model_name} · version {version}")
        return onnx

    def artifact(self, model_name: str, version: int, name: str) -> bytes:
        """An artifact of the run that created the version. Raises NotRegistered."""
        folder = _folder(self.client.get_run(str(self._version(model_name, version).run_id)))
        if (folder / name).is_file():
            return (folder / name).read_bytes()
        found = ", ".join(sorted(path.name for path in folder.glob("*"))) or "none"
        raise NotRegistered(f"{model_name} · version {version} · no artifact {name!r}; its run has: {found}. Train it again.")

    def versions(self, model_name: str) -> list[Version]:
        """All versions, oldest first; none for an unknown model."""
        found, token = list[Version](), None
        while True:
            page = self.client.search_model_versions(f"name='{model_name}'", page_token=token)
            found += map(_read_version, page)
            token = cast("str | None", page.token)
            if not token:
                return sorted(found, key=lambda version: version.version)

    def artifacts(self, experiment: str) -> Path:
        """The folder of the artifacts of all its runs."""
        return self._root / "artifacts" / experiment

    @cached_property
    def client(self) -> MlflowClient:
        self.prepare()
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def _create_version(self, model_name: str, run_id: str, tags: dict[str, Any], description: str) -> int:
        try:
            self.client.create_registered_model(model_name)
        except MlflowException as error:
            _require_code(error, PRESENT)
        source = f"runs:/{run_id}/{MODEL}"
        created = self.client.create_model_version(
            model_name, source, run_id, tags, description=description, await_creation_for=0
        )
        return int(created.version)

    def _version(self, model_name: str, version: int) -> ModelVersion:
        try:
            return self.client.get_model_version(model_name, str(version))
        except MlflowException as error:
            _require_code(error, ABSENT)
        known = ", ".join(str(found.version) for found in self.versions(model_name)) or "none"
        raise NotRegistered(f"{model_name} · no version {version}; registered are: {known}. Use one of these, or train.")

    def _close_if_stale(self, run: Run, is_over: Callable[[str], bool]) -> bool:
        owner = run.data.tags.get(DAGSTER_RUN)
        if owner is None or not is_over(owner):
            return False
        # Read again: it may have ended between the search and the end of its Dagster run.
        stale = self.client.get_run(run.info.run_id).info.status == "RUNNING"
        if stale:
            self.client.set_terminated(run.info.run_id, "KILLED")
        return stale


def _create_database(database: Path) -> None:
    if database.exists():
        return
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it prints every migration to the terminal
    # In memory: on a disk each of the 69 migrations waits for its own syncs (5.5 s; 1.5 to 2 s in /dev/shm).
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        aside = Path(folder) / database.name
        MlflowClient(tracking_uri=f"sqlite:///{aside}").search_experiments(max_results=1)
        # Moved into place when it is complete: MLflow cannot resume migrations that a kill has cut short.
        with closing(sqlite3.connect(aside)) as connection:
            replace_file(database, connection.serialize())


def _folder(run: Run) -> Path:
    return Path(unquote(urlparse(str(run.info.artifact_uri)).path))


def _shortened(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: str(value)[:MAX_TAG] for name, value in tags.items()}


def _read_version(version: ModelVersion) -> Version:
    created_at = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return Version(int(version.version), version.tags.get(DIGEST, ""), str(version.run_id), created_at, dict(version.tags))


def _require_digest(onnx: bytes, digest: str, where: str) -> None:
    found = hashlib.sha256(onnx).hexdigest()
    if found != digest:
        raise ModelAltered(f"{where} · the bytes have SHA-256 {found}; recorded: {digest}. Do not serve them; train again.")


def _require_code(error: MlflowException, expected: str) -> None:
    if error.error_code != expected:
        raise error
