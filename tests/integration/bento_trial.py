"""The bento on its own: built, unpacked, served, and sent every kind of request.

Used by test_bento.py; as a script, `python -m tests.integration.bento_trial ARCHIVE`, it builds the archive and tries it in an
environment that holds the bento's requirements and nothing else. That takes minutes and a package index.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psutil
import pytest

from mlops_assets.foundation.home import Home
from mlops_assets.serving.client import LiveService, RequestRefused
from mlops_assets.serving.http.api_keys import ApiKeys
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import FLIGHT, place_blessed

PROJECT = Path(__file__).parents[2]
KNOWN_AT = datetime(2013, 7, 1, 10, tzinfo=UTC)
WARM = 80.0  # degrees; the tiny model answers sigmoid(0.8)
READY_S = 90


def build(folder: Path, archive: Path) -> None:
    """A new bento, made in the store in `folder` and exported to `archive`."""
    bentoml = [sys.executable, "-m", "bentoml"]
    tag = _run([*bentoml, "build", "--output", "tag"], folder).strip().removeprefix("__tag__:")
    archive.parent.mkdir(parents=True, exist_ok=True)
    _run([*bentoml, "export", tag, str(archive)], folder)


def prepare_home(home: Home) -> str:
    """One blessed champion, features of one moment, and an API key, which is returned."""
    from mlops_assets.features.feast.feature_store import FeatureStore
    from tests.features.feast.test_feature_store import KEYS, features_of, fill

    place_blessed(home, 1, bias=0).point(1, KNOWN_AT.isoformat(), "first")
    store = FeatureStore(home, service=USE_CASE.features.service)
    store.apply(PROJECT / "feature_repo")
    for view, names in features_of(store).items():
        fill(home.root, view, [{key: FLIGHT[key] for key in KEYS[view]} | {"at": KNOWN_AT, "value": WARM}], names)
        store.materialize(view, KNOWN_AT)
    (home.keys / "private.pem").unlink()  # stays with the trainer
    return ApiKeys(home.keys).add("trial", KNOWN_AT, lambda: "t" * 43)


@contextmanager
def served(bento: Path, python: Path, home: Home, variables: Mapping[str, str]) -> Iterator[str]:
    """The address of a server of the unpacked bento, which ends cleanly on SIGTERM. Its environment is `variables` alone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [str(python), "-m", "bentoml", "serve", str(bento), "--host", "127.0.0.1", "--port", port]
    own = {"MLOPS_ENV": "production", "MLOPS_HOME": str(home.root), "MLOPS_USE_CASE": USE_CASE.name}
    environment = {**own, "BENTOML_DO_NOT_TRACK": "True", **variables}
    log = home.root / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=home.root, env=environment, stdout=output, stderr=output)
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/readyz", process, log)
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=40) == 0, log.read_text()[-4000:]
    finally:
        if process.poll() is None:
            for child in (*psutil.Process(process.pid).children(recursive=True), process):
                child.kill()


def send_requests(url: str, token: str, home: Home) -> None:
    """Sends one request of each kind; the log has every answer."""
    with LiveService(url) as stranger, pytest.raises(RequestRefused, match="no API key"):
        stranger.predict([FLIGHT])
    with LiveService(url, token) as client:
        now, before = client.predict([FLIGHT, FLIGHT | {"sched_dep": "2013-06-30T14:05:00Z"}], explain=True)
    features = {"features": [dict.fromkeys(USE_CASE.features.inputs)]}
    response = httpx.post(f"{url}/predict", json=features, headers={"X-API-Key": token}, trust_env=False)
    (complete,) = response.json()["predictions"]
    assert (now["features_from"], before["features_from"], complete["features_from"]) == ("online", "point_in_time", "request")
    assert [now["probability"], before["probability"], complete["probability"]] == pytest.approx([0.6899745, 0.5, 0.5])
    assert now["explanation"]["contributions"]["temp"] == pytest.approx(WARM / 100, abs=1e-5)
    assert httpx.get(f"{url}/metrics", trust_env=False).text.count("mlops_requests_total{") == 2
    assert "/predict" in httpx.get(f"{url}/docs.json", trust_env=False).json()["paths"]
    logged = PredictionLog(home.prediction_log, USE_CASE).read()[0]["prediction_id"]
    assert sorted(logged) == sorted([now["prediction_id"], before["prediction_id"], complete["prediction_id"]])


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(url, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(log.read_text()[-4000:])


def _run(command: list[str], folder: Path) -> str:
    variables = {**os.environ, "BENTOML_HOME": str(folder), "BENTOML_DO_NOT_TRACK": "True"}
    return subprocess.run(command, cwd=PROJECT, env=variables, stdout=subprocess.PIPE, text=True, check=True).stdout


def try_in_clean_environment(archive: Path, folder: Path) -> None:
    """Builds, then follows deploy/README.md for a machine without this project."""
    build(folder / "build", archive)
    uv, python, bento = str(Path(sys.executable).with_name("uv")), folder / "venv/bin/python", folder / "bento"
    bento.mkdir()
    _run(["tar", "-xf", str(archive), "-C", str(bento)], folder)
    _run([uv, "venv", "-q", "--python", "3.11", str(folder / "venv")], folder)
    _run([uv, "pip", "install", "-q", "--python", str(python), "-r", str(bento / "env/python/requirements.txt")], folder)
    home = Home(folder / "home")
    token = prepare_home(home)
    with served(bento, python, home, {"PATH": f"{python.parent}:/usr/bin:/bin", "HOME": str(folder)}) as url:
        send_requests(url, token, home)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        try_in_clean_environment(Path(sys.argv[1]).absolute(), Path(folder))
