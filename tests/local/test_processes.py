"""`running` with real processes: servers, grandchildren in sessions of their own, ended and stubborn children."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from mlops_assets.local.processes import Child, ProcessFailed, free_port, running

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


# Starts one child that writes its id into the supervisor's own log, and waits.
SUPERVISOR = """
import os, sys, time
from pathlib import Path
from mlops_assets.local.processes import Child, running
child = Child("child", [sys.executable, "-c", sys.argv[1]], os.environ, log=Path("logs/supervisor.log"), working_folder=Path.cwd())
with running([child], grace_s=float(sys.argv[2])):
    print("ready", file=sys.stderr, flush=True)
    time.sleep(600)
"""


def child(folder: Path, name: str, script: str, *, ready_url: str | None = None) -> Child:
    command = [sys.executable, "-c", script]
    return Child(name, command, os.environ, log=folder / "logs" / f"{name}.log", working_folder=folder, ready_url=ready_url)


def server(folder: Path, port: int) -> Child:
    script = f"from http.server import *; HTTPServer(('127.0.0.1', {port}), SimpleHTTPRequestHandler).serve_forever()"
    return child(folder, "server", script, ready_url=f"http://127.0.0.1:{port}/")


def ids_of(one: Child) -> list[int]:
    """The process ids in the first line of its log."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if one.log.exists() and "\n" in one.log.read_text():
            return [int(word) for word in one.log.read_text().splitlines()[0].split()]
        time.sleep(0.02)
    raise AssertionError(f"{one.name} wrote nothing in 60 s")


@contextmanager
def supervised(
    folder: Path, script: str, *, grace_s: float = 5, before: str = ""
) -> Iterator[tuple["subprocess.Popen[bytes]", list[int]]]:
    """A process of its own that runs one child with `script`, ready; and the ids that the child wrote."""
    one = child(folder, "supervisor", SUPERVISOR)
    command = ["sh", "-c", f'{before} exec "$@"', "sh", *one.command, script, str(grace_s)]
    # A test run under nohup or in a background job passes ignored signals on.
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, preexec_fn=default_signals) as process:  # noqa: PLW1509 - no thread is started here
        assert process.stderr is not None and process.stderr.readline() == b"ready\n"
        try:
            yield process, ids_of(one)
        finally:
            process.kill()


def default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def alive(ids: list[int]) -> list[int]:
    running = [psutil.Process(one) for one in ids if psutil.pid_exists(one)]
    return [one.pid for one in running if one.status() != psutil.STATUS_ZOMBIE]


def test_the_block_begins_when_the_server_answers_and_ends_with_the_server(tmp_path: Path) -> None:
    port = free_port()
    with running([server(tmp_path, port)]):
        assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).is_success
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)


def test_children_can_end_cleanly_before_they_are_killed(tmp_path: Path) -> None:
    clean = child(tmp_path, "clean", CLEAN)
    with running([clean]):
        ids_of(clean)
    assert clean.log.read_text().endswith("ended cleanly\n")


def test_no_grandchild_outlives_the_block_not_even_one_in_a_session_of_its_own(tmp_path: Path) -> None:
    parent = child(tmp_path, "parent", PARENT)
    with running([parent], grace_s=0.5):
        ids = ids_of(parent)
        assert alive(ids) == ids
    assert alive(ids) == []


def test_a_child_that_ends_by_itself_ends_the_block_and_its_own_orphans(tmp_path: Path) -> None:
    parent = child(tmp_path, "parent", PARENT)
    clean = child(tmp_path, "clean", CLEAN)
    with (
        pytest.raises(ProcessFailed, match=r"^parent exited with code -9\. The end of .*parent\.log:\n"),
        running([parent, clean], grace_s=0.5),
    ):
        killed, *orphans = ids_of(parent)
        others = ids_of(clean)
        os.kill(killed, signal.SIGKILL)
        time.sleep(30)
        raise AssertionError("the death of a child must interrupt the block")
    assert alive([*orphans, *others]) == []


def test_a_child_that_ends_is_started_again_after_a_growing_pause_without_its_orphans(tmp_path: Path) -> None:
    parent, clean, messages = child(tmp_path, "parent", PARENT), child(tmp_path, "clean", CLEAN), list[str]()
    with running([parent, clean], grace_s=0.5, on_restart=messages.append):
        ids, others = ids_of(parent), ids_of(clean)
        for _ in range(2):
            before = ids
            parent.log.write_text("")
            os.kill(before[0], signal.SIGKILL)
            ids = ids_of(parent)
            assert alive(ids) == ids and alive(before) == []
        assert alive(others) == others
    assert [message.split(" Its log")[0] for message in messages] == [
        f"parent exited with code -9; it starts again in {pause} s." for pause in (1, 2)
    ]
    assert alive([*ids, *others]) == []


def test_a_child_that_waits_for_its_restart_is_not_started_once_the_block_has_ended(tmp_path: Path) -> None:
    parent = child(tmp_path, "parent", PARENT)
    messages = list[str]()
    with running([parent], grace_s=0.5, on_restart=messages.append):
        ids = ids_of(parent)
        parent.log.write_text("")
        os.kill(ids[0], signal.SIGKILL)
        while not messages:
            time.sleep(0.01)
    time.sleep(1.5)
    assert alive(ids) == [] and parent.log.read_text() == ""


def test_a_child_that_ignores_every_signal_is_killed_after_the_grace_period(tmp_path: Path) -> None:
    stubborn = child(tmp_path, "stubborn", STUBBORN)
    with running([stubborn], grace_s=0.5):
        ids = ids_of(stubborn)
    assert alive(ids) == []


def test_an_error_in_the_block_ends_the_children_too(tmp_path: Path) -> None:
    clean = child(tmp_path, "clean", CLEAN)
    with pytest.raises(KeyboardInterrupt), running([clean]):
        ids = ids_of(clean)
        raise KeyboardInterrupt
    assert alive(ids) == []


def test_a_child_that_ends_before_it_is_ready_shows_its_code_and_log_and_ends_the_others(tmp_path: Path) -> None:
    clean = child(tmp_path, "clean", CLEAN)
    broken = child(tmp_path, "broken", "print('port taken'); raise SystemExit(3)", ready_url="http://127.0.0.1:9/")
    with (
        pytest.raises(ProcessFailed, match=r"broken exited with code 3(.|\n)*broken\.log:\nport taken"),
        running([clean, broken]),
    ):
        raise AssertionError("the block must not begin")
    assert [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(tmp_path)] == []


def test_a_child_that_never_becomes_ready_is_an_error(tmp_path: Path) -> None:
    silent = child(tmp_path, "silent", CLEAN, ready_url=f"http://127.0.0.1:{free_port()}/")
    with pytest.raises(ProcessFailed, match="silent was not ready in 1 s"), running([silent], ready_s=1):
        raise AssertionError("the block must not begin")
    assert alive(ids_of(silent)) == []


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 128 + signal.SIGHUP)],
)
def test_a_signal_to_the_supervisor_ends_its_children_first(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with supervised(tmp_path, PARENT, grace_s=0.5) as (process, ids):
        process.send_signal(number)
        assert process.wait(timeout=60) == code
        assert alive(ids) == []


# Nothing can catch what the handler of a signal raises at these two moments.
LOST = """
import os, psutil, signal, sys, time, weakref
from pathlib import Path
from mlops_assets.local.processes import Child, running

def interrupt(_=None):
    os.kill(one if sys.argv[3] == "child" else os.getpid(), signal.SIGINT)
    time.sleep(0.5)

class Closing:
    def __del__(self):
        if sys.argv[2] == "destructor":
            interrupt()

with running([Child("one", [sys.executable, "-c", "import time; time.sleep(60)"], {}, Path(sys.argv[1]), Path("."), None)]):
    one = psutil.Process().children()[0].pid
    closing = Closing()
    reference = weakref.ref(closing, interrupt) if sys.argv[2] == "weak reference" else None
    del closing
    while True:
        signal.pause()
"""


@pytest.mark.parametrize("moment", ["destructor", "weak reference"])
@pytest.mark.parametrize(("ended", "code"), [("itself", -signal.SIGINT), ("child", 1)])
def test_an_interruption_that_nothing_can_catch_comes_again(tmp_path: Path, moment: str, ended: str, code: int) -> None:
    command = [sys.executable, "-c", LOST, str(tmp_path / "one.log"), moment, ended]
    process = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert process.returncode == code and b"Exception ignored in" not in process.stderr


def test_an_interrupt_that_was_ignored_at_start_ends_it_too(tmp_path: Path) -> None:
    """As in a background job of a script, whose shell ignores SIGINT for it."""
    with supervised(tmp_path, CLEAN, before="trap '' INT;") as (process, ids):
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        assert alive(ids) == []
        assert "ended cleanly" in (tmp_path / "logs" / "supervisor.log").read_text(), "the child must get SIGINT as well"


def test_a_hangup_that_nohup_ignores_ends_nothing(tmp_path: Path) -> None:
    with supervised(tmp_path, CLEAN, before="trap '' HUP;") as (process, ids):
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        assert alive(ids) == ids
        process.terminate()
        process.wait(timeout=60)


def test_a_second_interrupt_cuts_the_grace_period_short(tmp_path: Path) -> None:
    with supervised(tmp_path, STUBBORN, grace_s=120) as (process, ids):
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert alive(ids) == ids
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        assert alive(ids) == []


def test_two_processes_that_prefer_a_port_at_once_get_different_ones_until_the_first_has_ended() -> None:
    """Neither listens yet, as a server takes seconds to start."""
    port = free_port()
    code = f"from mlops_assets.local.processes import free_port; print(free_port({port}), free_port({port}), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline().split() == [f"{port}"] * 2, "it keeps the port that it has"
        assert free_port(port) != port
        other.communicate("\n")
    assert free_port(port) == port


def test_a_free_port_accepts_a_listener() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()
        assert listener.getsockname()[1] > 0
