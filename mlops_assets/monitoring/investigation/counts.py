"""Too few rows: a monitor has less to judge than it needs."""

from collections.abc import Iterator
from datetime import datetime
from typing import cast

import polars as pl

from mlops_assets.foundation.names import EVENT_TIMESTAMP
from mlops_assets.monitoring.investigation.cause import Cause, Kind
from mlops_assets.monitoring.investigation.evidence import Alarm, Evidence

CONFIDENCE, NEXT_TO_AN_ALARM = 0.8, 0.2
FEWER = 0.5  # of the usual answers a day
REQUESTS = "Look whether clients still send requests; widen the window or lower min_rows where there will never be more."
LABELS = "Look whether labels arrive; widen the window or lower min_rows where there will never be more."


def find_causes(evidence: Evidence) -> Iterator[Cause]:
    silent = [alarm for alarm in evidence.alarms if alarm.is_silent]
    confidence = CONFIDENCE if evidence.is_silent else NEXT_TO_AN_ALARM
    for alarm in silent:
        yield _cause(evidence, alarm, confidence)


def _cause(evidence: Evidence, alarm: Alarm, confidence: float) -> Cause:
    since = _fewer_since(evidence)
    is_labels = alarm.labelled and since is None
    found = f"{alarm.monitor}: {alarm.message}"
    where, remedy = ("outcomes", LABELS) if is_labels else ("predictions", REQUESTS)
    return Cause(Kind.TOO_FEW, where, since, confidence, found, remedy)


def _fewer_since(evidence: Evidence) -> datetime | None:
    """The first of the last days with fewer answers than half of the usual ones; None where the last days are as usual."""
    days = evidence.served.group_by(day=pl.col(EVENT_TIMESTAMP).dt.truncate("1d")).len().sort("day")
    if days.is_empty():
        return evidence.start
    every = pl.DataFrame({"day": pl.datetime_range(days["day"][0], evidence.now, "1d", time_zone="UTC", eager=True)})
    counts = every.join(days, on="day", how="left").fill_null(0)
    usual = cast(float, counts["len"].head(max(3, len(counts) // 3)).median())
    fewer = (counts["len"] < FEWER * usual).to_list()
    last = next((place for place in reversed(range(len(fewer))) if not fewer[place]), -1)
    return cast(datetime, counts["day"][last + 1]) if last + 1 < len(fewer) - 1 else None
