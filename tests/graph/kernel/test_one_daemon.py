"""Daemons that are started by hand, as real processes: one daemon an instance, one instance a home, one home an instance."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorType, SensorInstigatorData
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.controller import create_daemons_from_instance
from dagster._daemon.daemon import IntervalDaemon
from dagster._daemon.sensor import is_under_min_interval
from dagster._daemon.types import DaemonHeartbeat

from mlops_assets.foundation.home import PROJECT
from mlops_assets.foundation.home_lock import HomeInUse
from mlops_assets.graph.kernel import one_daemon
from mlops_assets.graph.kernel.one_daemon import CLAIMED_KEY, MACHINE_KEY, SILENCE_S, OneDaemon, await_set_back, claim_instance
from mlops_assets.home_claim import HomeLock, claim, event_log_id

DAEMON = ["dagster._daemon", "run", "-m", "tests.integration.canary_line"]  # which `dagster dev` starts, too


def variables(dagster_home: Path, home: Path) -> dict[str, str]:
    dagster_home.mkdir(exist_ok=True, parents=True)
    (dagster_home / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text())
    return {"DAGSTER_HOME": str(dagster_home), "MLOPS_HOME": str(home), "MLOPS_ENV": "test", "PYTHONPATH": str(PROJECT)}


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    for name, value in variables(tmp_path / "dagster", tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:
        yield instance


def start(dagster_home: Path, home: Path) -> subprocess.Popen[str]:
    environment = os.environ | variables(dagster_home, home)
    return subprocess.Popen([sys.executable, "-m", *DAEMON], env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow  # two daemons, 3 s of CPU each
def test_a_second_daemon_on_the_instance_or_on_the_home_ends_with_one_line(instance: dg.DagsterInstance, tmp_path: Path):
    folder, home = tmp_path / "dagster", tmp_path / "home"
    (queue,) = (one for one in create_daemons_from_instance(instance) if one.daemon_type() == "QUEUED_RUN_COORDINATOR")
    assert isinstance(queue, IntervalDaemon) and queue.interval_seconds == 1
    on_instance, on_home = start(folder, tmp_path / "other"), start(tmp_path / "another", home)
    expected = f"{folder} · another dagster-daemon runs on this DAGSTER_HOME. Use it, or stop it.\n"
    assert (on_instance.communicate(timeout=60)[1], on_instance.returncode) == (expected, 1)
    problem = f"another platform, with the event log {event_log_id(instance)}, writes to this home"
    expected = f"{home} · {problem}. Stop it, or set MLOPS_HOME to another folder.\n"
    assert (on_home.communicate(timeout=60)[1], on_home.returncode) == (expected, 1)


def test_a_daemon_of_another_machine_on_one_database_is_refused_while_it_is_alive(instance: dg.DagsterInstance) -> None:
    claim_instance(instance)
    here, storage = f"{socket.gethostname()} {instance.root_directory}", instance.daemon_cursor_storage
    assert storage.get_cursor_values({MACHINE_KEY}) == {MACHINE_KEY: here}
    beat = DaemonHeartbeat(time.time(), "SENSOR", "1", [])
    instance.add_daemon_heartbeat(beat)
    claim_instance(instance)  # a restart of its own
    storage.set_cursor_values({MACHINE_KEY: socket.gethostname()})  # of an earlier release, on this machine
    claim_instance(instance)
    storage.set_cursor_values({MACHINE_KEY: "another /dagster"})
    where = "a dagster-daemon on another, whose DAGSTER_HOME is /dagster, works on the same event log"
    with pytest.raises(HomeInUse, match=f"{here} · {where}; its last sign of life is 0 s old"):
        claim_instance(instance)
    instance.add_daemon_heartbeat(beat._replace(timestamp=time.time() - 2 * SILENCE_S))
    with pytest.raises(HomeInUse, match=where):  # it has claimed the event log, and has no heartbeat yet
        claim_instance(instance)
    storage.set_cursor_values({CLAIMED_KEY: str(time.time() - 2 * SILENCE_S)})
    claim_instance(instance)
    assert storage.get_cursor_values({MACHINE_KEY}) == {MACHINE_KEY: here}


def test_only_one_of_two_daemons_that_claim_a_database_at_the_same_time_goes_on(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = instance.daemon_cursor_storage

    def claim_by_the_other(_seconds: float) -> None:
        storage.set_cursor_values({MACHINE_KEY: "another /dagster", CLAIMED_KEY: str(time.time())})

    monkeypatch.setattr(one_daemon.time, "sleep", claim_by_the_other)
    with pytest.raises(HomeInUse, match="a dagster-daemon on another, whose DAGSTER_HOME is /dagster, works"):
        claim_instance(instance)
    monkeypatch.undo()
    assert storage.get_cursor_values({MACHINE_KEY}) == {MACHINE_KEY: "another /dagster"}


def test_a_web_server_and_a_liveness_check_that_read_the_queue_reserve_nothing(instance: dg.DagsterInstance, tmp_path: Path):
    assert isinstance(instance.run_coordinator, OneDaemon) and instance.get_required_daemon_types()
    assert (queue := instance.get_concurrency_config().run_queue_config) and queue.max_concurrent_runs == 4
    assert not (tmp_path / "dagster" / "daemon.lock").exists() and not (tmp_path / "home").exists()


def test_an_event_log_of_another_home_is_refused_also_after_its_platform_has_ended(tmp_path: Path):
    home, other = tmp_path / "home", tmp_path / "other"
    (tmp_path / "events").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "events")) as instance:
        claim(home, instance)
        claim(home, instance)
        context = dg.build_init_resource_context(instance=instance)
        with pytest.raises(HomeInUse) as refused, HomeLock(root=str(other)).yield_for_execution(context):
            raise AssertionError("the run must not begin")
        problem = f"the event log in {tmp_path / 'events'} is that of another home, {home}"
        remedy = "Set MLOPS_HOME to that home, or DAGSTER_HOME to another folder."
        assert str(refused.value) == f"{other} · {problem}. {remedy}"
        home.rename(moved := tmp_path / "moved")
        claim(moved, instance)
        with pytest.raises(HomeInUse, match=f"another home, {moved}"):
            claim(other, instance)


def test_an_event_log_in_the_home_is_that_of_the_home_also_in_a_copy_without_its_id(tmp_path: Path):
    home = tmp_path / "home"
    (home / "dagster").mkdir(parents=True)
    with dg.DagsterInstance.local_temp(str(home / "dagster")) as instance:
        claim(home, instance)
        (home / "home.id").unlink()
        claim(home, instance)
        with pytest.raises(HomeInUse, match=f"another home, {home}"):
            claim(tmp_path / "other", instance)


def test_a_daemon_notices_that_the_clock_is_set_back_and_nothing_less() -> None:
    moments = [(0, 0), (5, 5), (3605, 10), (3580, 15), (3585, 20), (-82_800, 25), (-82_795, 30)]  # wall clock, steady clock
    look = iter(moments)
    at = list(next(look))

    def pause(_seconds: float) -> None:
        at[:] = next(look)

    set_back_s = await_set_back(lambda: at[0], lambda: at[1], pause)
    assert (set_back_s, at) == (86_390, [-82_800, 25])


def test_sensors_tick_again_after_the_clock_was_set_back(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    def is_waiting() -> bool:
        state = instance.get_instigator_state(origin.get_id(), selector)
        assert state
        return is_under_min_interval(state, sensor)

    sensor: Any = SimpleNamespace(min_interval_seconds=5)
    origin, selector = remote_origin(tmp_path), ""
    for ahead_s, waits in ((86_400.0, True), (2.0, True), (-10.0, False)):
        data = SensorInstigatorData(min_interval=5, cursor="7", last_tick_start_timestamp=time.time() + ahead_s)
        state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.DECLARED_IN_CODE, data)
        (instance.update_instigator_state if ahead_s < 86_400 else instance.add_instigator_state)(state)
        selector = state.selector_id
        assert is_waiting() is waits
        claim_instance(instance)
        assert is_waiting() is (waits and ahead_s < 86_400)
        assert instance.get_instigator_state(origin.get_id(), selector).instigator_data.cursor == "7"  # type: ignore[union-attr]


def remote_origin(folder: Path) -> RemoteInstigatorOrigin:
    location = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(working_directory=str(folder)), "here")
    return RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "repository"), "look")
