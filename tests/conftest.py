"""Names the seed of the random order, and marks the tests that `make test-slow` runs: whole platforms, real servers under load, statistics over many simulations."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
SLOW_FOLDERS = {"integration", "decision_quality", "browser"}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.write_line(f"The same order again: pytest -p randomly --randomly-seed={config.getoption('randomly_seed')}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(FOLDER).parts[0] in SLOW_FOLDERS:
            item.add_marker(pytest.mark.slow)
