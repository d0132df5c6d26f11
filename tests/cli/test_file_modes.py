"""A server under another user still reads everything it needs after promote, route, rollback and keys add: real users, real reads."""

import os
import shutil
import stat
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlops_assets.cli.app import app
from mlops_assets.foundation.home import Home, read_environment
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.http.api_keys import ApiKeys
from mlops_assets.serving.log.keyed_hash import log_secret
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.cli.test_promotion import bless, promotions_of
from tests.serving.flights import MOMENT

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
SERVER, GROUP, STRANGER = 61_034, 61_000, 61_999
NAME = USE_CASE.name


def as_user(work: Callable[[], object], *, uid: int = 0, gid: int = 0, umask: int = 0o077) -> None:
    """Runs `work` in a child process with these ids; raises where it raises."""
    child = os.fork()
    if child == 0:
        try:
            os.umask(umask)
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            work()
        except BaseException:  # noqa: BLE001 - the child ends here, whatever the error
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, "the child failed, see its output"


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """Shared with the group, as deploy/README.md says; not under pytest's folder, which is root's alone."""
    root = Path(tempfile.mkdtemp(prefix="mlops-modes-", dir="/tmp"))
    os.chown(root, 0, GROUP)
    root.chmod(0o2770)
    variables = {"MLOPS_ENV": "test", "MLOPS_HOME": str(root), "MLOPS_SERVICE_URL": "http://127.0.0.1:9"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    yield Home(root)
    shutil.rmtree(root)


def mlops(*arguments: str) -> None:
    result = CliRunner().invoke(app, [*arguments])
    assert result.exit_code == 0 or "the ledger has the change" in result.output, result.output  # there is no server


def promote(home: Home) -> None:
    read_environment(os.environ).home.share()
    for version in (1, 2):
        bless(home, version)
        promotions_of(home).promote(version, reason="blessed", by="ana", at=MOMENT)


def read_as_server(home: Home, champion: int) -> None:
    home.share()
    deployment = Deployment(home.deployments, NAME)
    plan = deployment.plan()
    assert plan is not None and plan.champion == champion
    assert all(deployment.load(version) for version in deployment.versions())
    assert SigningKeys(home.keys).public()
    assert [key.name for key in (ApiKeys(home.keys).active() or {}).values()] == ["shop"]
    assert log_secret(home.keys)
    assert promotions_of(home).state().plan == plan
    for path in home.root.rglob("*"):
        if path.name != "private.pem":
            assert os.access(path, os.R_OK | os.W_OK), path
    with pytest.raises(PermissionError):
        (home.keys / "private.pem").read_bytes()


def write_a_log(home: Home) -> None:
    home.share()
    log = PredictionLog(home.prediction_log, USE_CASE, secret=log_secret(home.keys))
    log.append([dict.fromkeys(log.schema) | {"prediction_id": "p-1"}])


def test_every_rewrite_stays_readable_for_the_group_and_the_private_key_for_its_owner(home: Home):
    as_user(lambda: promote(home))
    as_user(lambda: mlops("keys", "add", "shop"))
    as_user(lambda: read_as_server(home, 2), uid=SERVER, gid=GROUP)
    as_user(lambda: mlops("route", NAME, "--shadow", "1"))
    as_user(lambda: mlops("rollback", NAME))
    as_user(lambda: mlops("rollback", NAME))
    as_user(lambda: mlops("signing", "rotate"))
    as_user(lambda: read_as_server(home, 1), uid=SERVER, gid=GROUP)
    assert stat.S_IMODE((home.keys / "private.pem").stat().st_mode) == 0o600


def test_the_log_of_the_server_can_be_read_and_erased_by_the_platform(home: Home):
    as_user(lambda: promote(home))
    as_user(lambda: write_a_log(home), uid=SERVER, gid=GROUP)
    (segment,) = home.prediction_log.rglob("*.jsonl")
    before = segment.read_bytes()
    as_user(lambda: segment.write_bytes(b"erased"), uid=SERVER + 1, gid=GROUP)
    assert before and segment.read_bytes() == b"erased"


def test_a_stranger_reads_nothing(home: Home):
    as_user(lambda: promote(home))

    def read() -> None:
        with pytest.raises(PermissionError):
            Deployment(home.deployments, NAME).plan()

    as_user(read, uid=STRANGER, gid=STRANGER)


def test_a_home_that_is_not_shared_keeps_the_umask(tmp_path: Path):
    before = os.umask(0o027)
    try:
        Home(tmp_path).share()
        Home(tmp_path / "missing").share()
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
