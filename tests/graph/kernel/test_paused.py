"""A pause stops the sensors of its use case that are muted by it, until it ends, and what was missed follows then."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlops_assets.graph.kernel.automation import MUTED, build_automation
from mlops_assets.graph.kernel.conditions import EVERY_PARENT, build_cascade
from mlops_assets.graph.kernel.dagster_internals import DATA_VERSION
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.pauses import pause, resume
from mlops_assets.resources import LedgerResource
from tests.graph.kernel.test_shared_sensors import Daemon, counting, without_switches

NONE = timedelta(0)


class PausingDaemon:
    """Ticks the automation sensor of the use cases a and b."""

    def __init__(self, instance: dg.DagsterInstance, folder: Path) -> None:
        own = {name: self._automated(name) for name in "ab"}
        (self.sensor,) = without_switches(own)
        self.definitions = dg.Definitions.merge(
            *(dg.Definitions(one.assets) for one in own.values()), dg.Definitions(sensors=[self.sensor])
        )
        self.instance, self.cursor, self.ledger = instance, None, Ledger(f"sqlite:///{folder / 'ledger.db'}")
        self.resources = {"ledger": LedgerResource(url=f"sqlite:///{folder / 'ledger.db'}", heads=str(folder))}

    @staticmethod
    def _automated(name: str) -> dg.Definitions:
        cascade = build_cascade(EVERY_PARENT, settle=NONE)
        rows = dg.asset(key=[name, "rows"], deps=[dg.AssetKey([name, "files"])], automation_condition=cascade)(lambda: None)
        sensor = build_automation(f"{name}_automation", dg.AssetSelection.key_prefixes(name))
        return dg.Definitions([dg.AssetSpec([name, "files"]), rows], sensors=[sensor])

    def pause(self, name: str, seconds: float) -> None:
        at = datetime.now(UTC)
        pause(name, until=at + timedelta(seconds=seconds), why="a move", by="ana", at=at, ledger=self.ledger)

    def deliver(self) -> None:
        for name in "ab":
            self.instance.report_runless_asset_event(dg.AssetMaterialization([name, "files"], tags={DATA_VERSION: "1"}))

    def tick(self) -> Any:
        context = dg.build_sensor_context(
            self.instance, self.cursor, repository_def=self.definitions.get_repository_def(), sensor_name=self.sensor.name,
            resources=self.resources,
        )  # fmt: skip
        with context:
            result = self.sensor.evaluate_tick(context)
        self.cursor = result.cursor
        return result

    def requested(self) -> set[str]:
        return {key.path[0] for request in self.tick().run_requests for key in request.asset_selection}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[PausingDaemon]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield PausingDaemon(instance, tmp_path)


def test_nothing_is_made_for_a_paused_use_case_and_its_tick_says_why(daemon: PausingDaemon) -> None:
    daemon.pause("a", 3600)
    daemon.tick()
    assert "a_automation: Paused by ana until 20" in daemon.tick().skip_message
    daemon.deliver()
    assert daemon.requested() == {"b"}
    resume("a", why="moved", by="ana", at=datetime.now(UTC), ledger=daemon.ledger)
    assert daemon.requested() == {"a", "b"}


def test_missed_assets_are_requested_at_the_end_of_the_pause_without_another_event(daemon: PausingDaemon) -> None:
    daemon.tick()
    daemon.pause("a", 0.5)
    daemon.deliver()
    until = datetime.fromisoformat(daemon.ledger.records("a")[0].body["until"])
    while (began := datetime.now(UTC)) and (requested := daemon.requested()) == {"b"}:
        assert began < until
    assert requested == {"a", "b"}


def test_a_ledger_that_does_not_answer_stops_no_cascade_and_ends_no_pause(
    daemon: PausingDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.pause("a", 3600)
    daemon.deliver()
    assert daemon.requested() == {"b"}
    # Nothing listens at this address.
    daemon.resources["ledger"] = LedgerResource(url="postgresql://ana:secret@127.0.0.1:9/ledger", heads="heads")
    assert daemon.requested() == {"b"}


def test_a_sensor_without_the_tag_goes_on(daemon: PausingDaemon) -> None:
    daemon.pause("a", 3600)
    other = Daemon(daemon.instance, {"a": counting, "b": counting})
    other.tick()
    assert other.cursors == {"a_look": "1", "b_look": "1"} and MUTED not in other.sensor.tags
