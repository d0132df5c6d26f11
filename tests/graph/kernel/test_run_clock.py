"""A run is of the time at which it was created, or of the time that its tag names."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.graph.kernel.run_clock import AS_OF, event_time, run_started, run_time
from mlops_assets.graph.trainings import end_of
from mlops_assets.resources import LedgerResource

THEN = datetime(2013, 9, 1, 6, tzinfo=UTC)


@dg.asset
def clock(context: dg.AssetExecutionContext) -> str:
    return run_started(context).isoformat()


def started(instance: dg.DagsterInstance, **tags: str) -> tuple[datetime, datetime]:
    """The time of one run: the one its asset reads, and the one of its record."""
    result = dg.materialize([clock], instance=instance, tags=tags)
    record = instance.get_run_record_by_id(result.run_id)
    assert record
    return datetime.fromisoformat(result.output_for_node("clock")), run_time(record)


def test_a_run_is_of_the_time_of_its_tag() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert started(instance, **{AS_OF: THEN.isoformat()}) == (THEN, THEN)


def test_without_the_tag_a_run_is_of_the_time_at_which_it_was_created() -> None:
    before = datetime.now(UTC)
    with dg.DagsterInstance.ephemeral() as instance:
        run_at, recorded = started(instance)
    assert run_at == recorded
    assert before <= run_at <= datetime.now(UTC)


@pytest.mark.parametrize(("tags", "is_then"), [({AS_OF: THEN.isoformat()}, True), ({}, False)], ids=["of then", "of now"])
def test_the_events_and_the_end_of_a_run_have_its_time(tags: dict[str, str], is_then: bool) -> None:
    before = datetime.now(UTC)
    with dg.DagsterInstance.ephemeral() as instance:
        run_id = dg.materialize([clock], instance=instance, tags=tags).run_id
        record, entry = instance.get_run_record_by_id(run_id), instance.get_latest_materialization_event(dg.AssetKey("clock"))
        assert record and entry
        for moment in (end_of(record), event_time(instance, entry)):
            assert (moment - THEN < timedelta(minutes=5)) is is_then and moment >= (THEN if is_then else before)


def test_decisions_are_dated_by_the_present_or_by_the_time_of_the_resource(tmp_path: Path) -> None:
    places = {"url": f"sqlite:///{tmp_path / 'ledger.db'}", "heads": str(tmp_path)}
    before = datetime.now(UTC)
    assert before <= LedgerResource(**places).now() <= datetime.now(UTC)
    assert LedgerResource(**places, as_of=THEN.isoformat()).now() == THEN
