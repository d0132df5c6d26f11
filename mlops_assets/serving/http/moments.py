"""Which prediction moments a request may have."""

from collections.abc import Sequence
from datetime import datetime

from mlops_assets.serving.http.request import MAX_COUNTED, BadRequest, Problem
from mlops_assets.spec.moment import in_utc
from mlops_assets.spec.serving import Limits

MOMENT = "Correct the row's times: the moment follows from them. The legal range is declared (Limits.max_ahead, max_past)."


def refuse_moments(moments: Sequence[datetime | None], now: datetime, limits: Limits) -> None:
    """Raises BadRequest where the prediction moment of a row is missing, or further from `now` than `limits` allow."""
    if far := [row for row, moment in enumerate(moments) if moment is None or not _is_near(moment, now, limits)]:
        first, last = (now - limits.max_past).isoformat() if limits.max_past else "any time", (now + limits.max_ahead).isoformat()
        legal = f"a prediction moment from {first} to {last}"
        values = [(row, moment.isoformat() if (moment := moments[row]) else "none") for row in far[:MAX_COUNTED]]
        raise BadRequest([Problem(row, "event_timestamp", value, legal, MOMENT) for row, value in values])


def _is_near(moment: datetime, now: datetime, limits: Limits) -> bool:
    ahead = in_utc(moment) - now
    return ahead <= limits.max_ahead and (limits.max_past is None or -ahead <= limits.max_past)
