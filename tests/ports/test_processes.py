"""The supervisor with real processes: servers, grandchildren in sessions of their own, deaths, stubbornness."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from mlops_assets.ports.processes import Child, NotStarted, Processes, free_port

# Prints the ids of itself and of its grandchildren: one in its group, one in a session of its own, as Bento's workers are.
PARENT = """
import os, subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
family = [subprocess.Popen(sleep).pid, subprocess.Popen(sleep, start_new_session=True).pid]
print(os.getpid(), *family, flush=True)
time.sleep(600)
"""
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(600)
"""
CLEAN = """
import os, time
print(os.getpid(), flush=True)
try:
    time.sleep(600)
except KeyboardInterrupt:
    print("ended cleanly", flush=True)
"""


# Starts one child that says its id into the supervisor's own log, and waits.
SUPERVISOR = """
import os, sys, time
from pathlib import Path
from mlops_assets.ports.processes import Child, Processes
sleep = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
child = Child("child", [sys.executable, "-c", sleep], os.environ, log=Path("logs/supervisor.log"), working_folder=Path.cwd())
with Processes([child], grace_s=5):
    time.sleep(600)
"""


def child(folder: Path, name: str, script: str, *, ready_url: str | None = None) -> Child:
    command = [sys.executable, "-c", script]
    return Child(name, command, os.environ, log=folder / "logs" / f"{name}.log", working_folder=folder, ready_url=ready_url)


def server(folder: Path, port: int) -> Child:
    script = f"from http.server import *; HTTPServer(('127.0.0.1', {port}), SimpleHTTPRequestHandler).serve_forever()"
    return child(folder, "server", script, ready_url=f"http://127.0.0.1:{port}/")


def family(one: Child) -> list[int]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if one.log.exists() and one.log.read_text().endswith("\n"):
            return [int(word) for word in one.log.read_text().splitlines()[0].split()]
        time.sleep(0.02)
    raise AssertionError(f"{one.name} said nothing in 30 s")


def supervisor_process(one: Child) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(one.command, cwd=one.working_folder, stderr=subprocess.DEVNULL)


def alive(ids: list[int]) -> list[int]:
    running = [psutil.Process(one) for one in ids if psutil.pid_exists(one)]
    return [one.pid for one in running if one.status() != psutil.STATUS_ZOMBIE]


def test_the_block_begins_when_the_server_answers_and_ends_with_the_server(tmp_path: Path) -> None:
    port = free_port()
    with Processes([server(tmp_path, port)]) as running:
        assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).is_success
        assert running.dead() == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)


def test_children_are_asked_to_end_before_they_are_killed(tmp_path: Path) -> None:
    clean = child(tmp_path, "clean", CLEAN)
    with Processes([clean]):
        family(clean)
    assert clean.log.read_text().endswith("ended cleanly\n")


def test_no_grandchild_outlives_the_block_not_even_one_in_a_session_of_its_own(tmp_path: Path) -> None:
    parent = child(tmp_path, "parent", PARENT)
    with Processes([parent], grace_s=0.5):
        ids = family(parent)
        assert alive(ids) == ids
    assert alive(ids) == []


def test_a_parent_that_was_killed_leaves_no_orphan(tmp_path: Path) -> None:
    parent = child(tmp_path, "parent", PARENT)
    with Processes([parent, child(tmp_path, "clean", CLEAN)], grace_s=0.5) as running:
        killed, *orphans = family(parent)
        os.kill(killed, signal.SIGKILL)
        while not running.dead():
            time.sleep(0.02)
        assert [one.name for one in running.dead()] == ["parent"]
        assert alive(orphans) == orphans
    assert alive(orphans) == []


def test_whoever_ignores_every_request_is_killed_after_the_grace_period(tmp_path: Path) -> None:
    stubborn = child(tmp_path, "stubborn", STUBBORN)
    with Processes([stubborn], grace_s=0.5):
        ids = family(stubborn)
    assert alive(ids) == []


def test_an_error_in_the_block_ends_the_children_too(tmp_path: Path) -> None:
    clean = child(tmp_path, "clean", CLEAN)
    with pytest.raises(KeyboardInterrupt), Processes([clean]):
        ids = family(clean)
        raise KeyboardInterrupt
    assert alive(ids) == []


def test_a_child_that_ends_before_it_is_ready_shows_its_code_and_log_and_ends_the_others(tmp_path: Path) -> None:
    clean = child(tmp_path, "clean", CLEAN)
    broken = child(tmp_path, "broken", "print('port taken'); raise SystemExit(3)", ready_url="http://127.0.0.1:9/")
    with pytest.raises(NotStarted, match=r"broken ended with code 3(.|\n)*broken\.log:\nport taken"), Processes([clean, broken]):
        raise AssertionError("the block must not begin")
    assert not clean.log.read_text() or alive(family(clean)) == []


def test_a_child_that_never_becomes_ready_is_given_up(tmp_path: Path) -> None:
    silent = child(tmp_path, "silent", CLEAN, ready_url=f"http://127.0.0.1:{free_port()}/")
    with pytest.raises(NotStarted, match="silent was not ready in 1 s"), Processes([silent], ready_s=1):
        raise AssertionError("the block must not begin")
    assert alive(family(silent)) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_supervisor_that_is_told_to_end_ends_its_children_first(tmp_path: Path, number: signal.Signals) -> None:
    supervisor = child(tmp_path, "supervisor", SUPERVISOR)
    with supervisor_process(supervisor) as process:
        ids = family(supervisor)
        process.send_signal(number)
        process.wait(timeout=30)
    assert alive(ids) == []


def test_a_free_port_can_be_listened_on() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()
        assert listener.getsockname()[1] > 0
