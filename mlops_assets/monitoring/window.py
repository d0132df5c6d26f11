"""The rows that monitors judge: those of the last window."""

from datetime import datetime
from typing import NamedTuple, cast

import polars as pl
import polars.selectors as cs

from mlops_assets.foundation.names import EVENT_TIMESTAMP, KNOWN_AT
from mlops_assets.monitoring.monitor_result import MonitorResult
from mlops_assets.spec.monitor import JudgedByRows


class Window(NamedTuple):
    """Of moments after `first` up to `last`."""

    first: datetime
    last: datetime

    def of(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows.filter(pl.col(EVENT_TIMESTAMP).is_between(*self, closed="right"))


def window_of(rows: pl.LazyFrame, spec: JudgedByRows, *, now: datetime) -> Window:
    """The last window before `now`. Moments are the callers' own: rows of another time do not move it."""
    clock = _clock(rows, spec, now=now)
    return Window(clock - spec.window, min(now, clock + spec.window))


def recent(rows: pl.LazyFrame, spec: JudgedByRows, *, now: datetime) -> pl.DataFrame:
    return window_of(rows, spec, now=now).of(rows).collect()


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


def elsewhere(rows: pl.LazyFrame, spec: JudgedByRows, *, now: datetime) -> Elsewhere:
    """Of the answers of the last window before `now`: those about a moment that is further from theirs than a window. Where most
    are, it is a replay, of which only moments after `now` are of another time.
    """
    moment, answered = pl.col(EVENT_TIMESTAMP), pl.col("answered_at")
    lately = rows.filter(answered.is_between(now - spec.window, now, closed="right"))
    is_far = (moment - answered).abs() > spec.window
    others = lately.filter(moment > now if _clock(rows, spec, now=now) != now else is_far)
    return Elsewhere(*others.select(pl.len(), first=moment.min(), last=moment.max()).collect().row(0))


def _clock(rows: pl.LazyFrame, spec: JudgedByRows, *, now: datetime) -> datetime:
    """`now`, or in a replay, whose answers are about another time, the moment that half of the newest have reached. A replay is
    over once nothing, neither an answer nor a label, has arrived for a window. Of a long log it reads the newest answers alone,
    unless these are fewer than a verdict needs.
    """
    moment, answered = pl.col(EVENT_TIMESTAMP), pl.col("answered_at")
    arrived = pl.max_horizontal(cs.by_name("answered_at", KNOWN_AT, require_all=False))
    served, since = rows.filter(moment <= now), now - spec.window
    lately = served.filter(answered > since)
    count, live = lately.select(pl.len(), live=(answered - moment < spec.window).sum()).collect().row(0)
    is_over = count == 0 and not served.select((arrived > since).any()).collect().item()
    if is_over or live * 2 > count or live >= spec.min_rows:
        return now
    newest = lately if count >= spec.min_rows else served
    least = answered.top_k(spec.min_rows).min()
    # None where there is no answer.
    return cast(datetime | None, newest.filter(answered >= least).select(moment.median()).collect().item()) or now
