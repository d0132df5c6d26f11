"""Names the seed of the random order, gives each worker one core, and marks the folders of `make test-slow`."""

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.servers.redis_server import RedisServer

FOLDER = Path(__file__).parent
SLOW_FOLDERS = {"integration", "decision_quality", "browser"}

# Each worker has one core. On it the threads of OpenMP spin while they wait for one another: a small boosting took 3.8 s of CPU
# with two threads and 0.4 s with one. Workers and processes that tests start inherit these.
for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(name, "1")

# A background job of a script ignores SIGINT. Where a thread runs a job, Dagster then ignores SIGTERM as well
# (dagster/_utils/interrupts.py), and waits 60 s for each step's log processes, which inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine that runs something else as well may take any time for an example.
hypothesis.settings.register_profile("shared_machine", deadline=None)
hypothesis.settings.load_profile("shared_machine")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if (seed := config.getoption("randomly_seed", None)) is not None:
        terminalreporter.write_line(f"The same order again: python -m pytest --randomly-seed={seed}")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """To import every test module takes 40 s of CPU in each worker, so those without a selected test are not imported."""
    if collection_path.suffix != ".py" or config.option.markexpr not in {"slow", "not slow"}:
        return None
    is_slow = collection_path.relative_to(FOLDER).parts[0] in SLOW_FOLDERS
    has_selected = not is_slow if config.option.markexpr == "not slow" else is_slow or "mark.slow" in collection_path.read_text()
    return None if has_selected else True


def pytest_collection_finish() -> None:
    """A server collects all garbage when it takes a plan: in a worker with all libraries that takes a second each time."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if folder_of(item) in SLOW_FOLDERS:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: folder_of(item) != "integration")  # its files take minutes: begun last, they would run alone


def folder_of(item: pytest.Item) -> str:
    return item.path.relative_to(FOLDER).parts[0]


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """An empty one for each test."""
    server = RedisServer(tmp_path / "redis", durable=False)
    server.start()
    yield server
    server.kill()
