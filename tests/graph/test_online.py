"""Which days of a feature table an online asset reads: those that changed since it read last."""

from datetime import date

import dagster as dg

from mlops_assets.graph.features import LAST_EVENT, days_to_write

ONLINE = dg.AssetKey("online")
EVENTS: dict[str | None, int] = {"2013-01-01": 11, "2013-01-02": 12, "2013-01-03": 13}
EVERY_DAY = [date(2013, 1, day) for day in (1, 2, 3)]


def days(events: dict[str | None, int], **metadata: int) -> list[date]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(ONLINE, metadata=metadata))
        return days_to_write(instance, ONLINE, events)


def test_the_first_materialization_writes_every_day() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert days_to_write(instance, ONLINE, EVENTS) == EVERY_DAY
        assert days_to_write(instance, ONLINE, {}) == []


def test_a_day_that_was_filled_again_is_written_from_there_on() -> None:
    assert days(EVENTS | {"2013-01-02": 20}, **{LAST_EVENT: 13}) == [date(2013, 1, 2)]


def test_every_day_is_written_where_nothing_is_new_or_the_last_event_is_unknown() -> None:
    """A materialization by hand repairs an online store that was emptied."""
    assert days(EVENTS, **{LAST_EVENT: 13}) == days(EVENTS) == EVERY_DAY
