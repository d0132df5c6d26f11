"""The rows that monitors judge: those of the last window."""

from datetime import datetime, timedelta
from typing import NamedTuple, cast

import polars as pl

from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.monitoring.monitor_result import MonitorResult
from mlops_assets.spec.monitor import Monitor


def recent(rows: pl.LazyFrame, spec: Monitor, *, now: datetime) -> pl.DataFrame:
    """The rows of the last window before `now`. Moments are the callers' own: rows of another time do not move the window."""
    moment = pl.col(EVENT_TIMESTAMP)
    served = rows.filter(moment <= now)
    clock = _clock(served, spec, now=now)
    return served.filter(moment.is_between(clock - spec.window, clock + spec.window, closed="right")).collect()


class Elsewhere(NamedTuple):
    """How many answers are not judged although they are recent, as they are about another time, from `first` to `last`."""

    rows: int
    first: datetime | None
    last: datetime | None

    def added_to(self, result: MonitorResult) -> MonitorResult:
        """The result, with these named where there are any."""
        if not self.rows:
            return result
        times = f"{self.first:%Y-%m-%d} to {self.last:%Y-%m-%d}"
        message = f"{result.message} Not judged, as they are about another time ({times}): {self.rows:,} answers."
        return result._replace(message=message, figures={**result.figures, "about_another_time": self.rows})


def elsewhere(rows: pl.LazyFrame, spec: Monitor, *, now: datetime) -> Elsewhere:
    """Of the answers of the last window before `now`: those about a moment that is further from theirs than a window. Where most
    are, it is a replay, of which only moments after `now` are of another time.
    """
    moment, answered = pl.col(EVENT_TIMESTAMP), pl.col("answered_at")
    lately = rows.filter(answered.is_between(now - spec.window, now, closed="right"))
    is_far = (moment - answered).dt.total_microseconds().abs() > spec.window / timedelta(microseconds=1)
    answers = lately.select(moment, is_far=is_far).collect()
    is_replay = _clock(rows.filter(moment <= now), spec, now=now) != now
    others = answers.filter(moment > now if is_replay else pl.col("is_far"))[EVENT_TIMESTAMP]
    return Elsewhere(len(others), cast(datetime | None, others.min()), cast(datetime | None, others.max()))


def _clock(served: pl.LazyFrame, spec: Monitor, *, now: datetime) -> datetime:
    """`now`, or in a replay, whose answers are about another time, the moment that half of the newest have reached."""
    moment, answered = pl.col(EVENT_TIMESTAMP), pl.col("answered_at")
    answers = served.select(moment, answered, is_live=answered - moment < spec.window).collect()
    lately = answers.filter(answered > now - spec.window)
    if answers.is_empty() or (live := lately["is_live"].sum()) * 2 > len(lately) or live >= spec.min_rows:
        return now
    newest = answers.filter(answered >= answers["answered_at"].top_k(spec.min_rows).min())
    return cast(datetime, newest[EVENT_TIMESTAMP].median())
