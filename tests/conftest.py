"""Names the seed of the random order, and marks the tests of `make test-slow`: platforms, servers under load, simulations."""

from pathlib import Path

import hypothesis
import pytest

FOLDER = Path(__file__).parent
SLOW_FOLDERS = {"integration", "decision_quality", "browser"}

# A machine that runs something else as well may take any time for an example.
hypothesis.settings.register_profile("shared_machine", deadline=None)
hypothesis.settings.load_profile("shared_machine")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if (seed := config.getoption("randomly_seed", None)) is not None:
        terminalreporter.write_line(f"The same order again: python -m pytest --randomly-seed={seed}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(FOLDER).parts[0] in SLOW_FOLDERS:
            item.add_marker(pytest.mark.slow)
