"""No caller's clock decides which answers are judged."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from mlops_assets.monitoring.monitor_result import too_few
from mlops_assets.monitoring.window import elsewhere, recent
from mlops_assets.spec.monitor import Drift, JudgedByRows, Performance, Skew

NOW = datetime(2013, 7, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
UTC_US = pl.Datetime("us", "UTC")
MONITORS: list[JudgedByRows] = [kind(window=24 * HOUR, min_rows=100) for kind in (Drift, Performance, Skew)]


def answers(*moments: datetime, answered: datetime | None = None) -> pl.LazyFrame:
    """By default, each at its moment."""
    rows = {"event_timestamp": moments, "answered_at": [answered or moment for moment in moments]}
    return pl.LazyFrame(rows, schema=dict.fromkeys(rows, UTC_US))


LIVE = [NOW - index * HOUR / 10 for index in range(1000)]
YEARS_LATER = NOW + timedelta(days=4000)


@pytest.mark.parametrize("monitor", MONITORS, ids=lambda monitor: type(monitor).__name__)
@pytest.mark.parametrize("other", [datetime(2099, 1, 1, tzinfo=UTC), NOW + HOUR, datetime(1950, 1, 1, tzinfo=UTC)], ids=str)
@pytest.mark.parametrize("many", [1, 100])
def test_rows_of_another_time_are_not_in_the_window_and_do_not_move_it(monitor: JudgedByRows, other: datetime, many: int) -> None:
    fakes = answers(*[other] * many, answered=NOW)
    rows = recent(pl.concat([answers(*LIVE), fakes]), monitor, now=NOW)
    assert rows.equals(recent(answers(*LIVE), monitor, now=NOW)) and len(rows) == 240


@pytest.mark.parametrize("fakes", [0, 1, 3, 8])
@pytest.mark.parametrize("other", [NOW + timedelta(days=365), NOW - timedelta(days=365)], ids=str)
def test_a_replay_is_judged_by_its_own_clock_which_requests_about_another_time_do_not_move(fakes: int, other: datetime) -> None:
    """Of ten answers, `fakes` are followed by one about another time: up to 44% of all."""
    pairs = [(moment, other) if index % 10 < fakes else (moment,) for index, moment in enumerate(reversed(LIVE))]
    moments = [moment for pair in pairs for moment in pair]
    times = [YEARS_LATER + timedelta(seconds=index) for index in range(len(moments))]
    replayed = pl.LazyFrame({"event_timestamp": moments, "answered_at": times}, schema_overrides={"answered_at": UTC_US})
    rows = recent(replayed.cast({"event_timestamp": UTC_US}), Skew(window=24 * HOUR, min_rows=100), now=times[-1] + HOUR)
    assert rows["event_timestamp"].max() == NOW and 240 <= len(rows) <= 300


def test_a_live_window_is_not_moved_by_more_requests_about_the_past() -> None:
    past = answers(*[datetime(2012, 1, 1, tzinfo=UTC)] * 9000, answered=NOW)
    rows = recent(pl.concat([answers(*LIVE), past]), Skew(window=24 * HOUR, min_rows=100), now=NOW)
    assert rows.equals(recent(answers(*LIVE), Skew(window=24 * HOUR, min_rows=100), now=NOW)) and len(rows) == 240


@pytest.mark.parametrize("ended", [25 * HOUR, YEARS_LATER - NOW], ids=str)
@pytest.mark.parametrize("about", [timedelta(0), timedelta(days=1000)], ids=["live", "replayed"])
def test_once_nothing_has_arrived_for_a_window_it_is_empty(about: timedelta, ended: timedelta) -> None:
    rows = answers(*LIVE).with_columns(pl.col("event_timestamp") - about)
    assert recent(rows, Skew(window=24 * HOUR, min_rows=100), now=NOW + ended).is_empty()


def test_labels_that_take_longer_than_a_window_are_judged_by_the_newest_of_them() -> None:
    known = answers(*LIVE).with_columns(known_at=pl.col("answered_at") + timedelta(days=60))
    spec = Performance(window=24 * HOUR, min_rows=100)
    assert 240 <= len(recent(known, spec, now=NOW + timedelta(days=60))) <= 300
    assert recent(known, spec, now=NOW + timedelta(days=61, hours=1)).is_empty(), "no label has become known for a window"


def test_a_window_without_enough_rows_holds_those_there_are() -> None:
    assert len(recent(answers(NOW - HOUR), Skew(window=24 * HOUR, min_rows=100), now=NOW)) == 1
    assert len(recent(answers(), Skew(), now=NOW)) == 0


def test_recent_answers_about_another_time_are_counted_and_named_with_their_times() -> None:
    spec = Drift(window=24 * HOUR, min_rows=100)
    live, result = answers(*LIVE), too_few(3, 100, "served requests")
    assert elsewhere(live, spec, now=NOW) == (0, None, None) and elsewhere(live, spec, now=NOW).added_to(result) == result
    others = answers(datetime(2199, 1, 1, tzinfo=UTC), datetime(1950, 1, 1, tzinfo=UTC), NOW + HOUR, answered=NOW - HOUR)
    other_times = elsewhere(pl.concat([live, others]), spec, now=NOW)
    assert other_times == (2, datetime(1950, 1, 1, tzinfo=UTC), datetime(2199, 1, 1, tzinfo=UTC)), (
        "the next hour is not another time"
    )
    named = other_times.added_to(result)
    assert named.message.endswith("Not judged, as they are about another time (1950-01-01 to 2199-01-01): 2 answers.")
    assert named.figures["about_another_time"] == 2 and named.verdict is result.verdict
    assert elsewhere(pl.concat([live, others]), spec, now=NOW + 25 * HOUR).rows == 0, "they are no longer recent"


def test_in_a_replay_only_answers_about_the_future_are_about_another_time() -> None:
    replay = answers(*LIVE, answered=YEARS_LATER)
    future = answers(YEARS_LATER + 1000 * HOUR, answered=YEARS_LATER)
    spec = Drift(window=24 * HOUR, min_rows=100)
    assert elsewhere(replay, spec, now=YEARS_LATER + HOUR).rows == 0
    assert elsewhere(pl.concat([replay, future]), spec, now=YEARS_LATER + HOUR).rows == 1
