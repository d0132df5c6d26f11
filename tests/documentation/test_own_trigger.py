"""The trigger of docs/triggers.md, copied to a file verbatim, trains once for each cause."""

from collections.abc import Iterator
from datetime import date, timedelta
from importlib import import_module
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.foundation.home import Home
from mlops_assets.foundation.implementation import find_missing_functions
from tests.documentation.pages import package_of
from tests.graph.test_first_model import PLAIN
from tests.graph.training_line import TrainingLine


@pytest.fixture
def line(tmp_path: Path) -> Iterator[TrainingLine]:
    with package_of("docs/triggers.md", tmp_path), dg.DagsterInstance.ephemeral() as instance:
        trigger = import_module("acme.after_release").AfterRelease(days=(date(2020, 5, 1), date(2100, 1, 1)))
        yield TrainingLine(Home(tmp_path / "home"), instance, PLAIN.but(triggers=(trigger,)))


def test_the_documented_trigger_trains_once_for_each_cause(line: TrainingLine) -> None:
    assert not [*find_missing_functions("triggers", line.use_case.triggers)]
    assert line.train(refused=True).reason == "release of 2020-05-01"
    assert "after_release: release of 2020-05-01. A training since" in line.why_not()
    line.waited = timedelta(days=365 * 80)
    assert line.train().reason == "release of 2100-01-01"
