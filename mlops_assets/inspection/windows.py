"""The windows of a proposed use case's monitors, in which there have to be enough rows for a verdict."""

from datetime import timedelta

from mlops_assets.inspection.roles import Period
from mlops_assets.spec.monitor import Drift, Monitor, Performance

USUAL, LONG = Drift().window, timedelta(days=90)
FEW, FEWEST = 100, 30  # rows for a verdict: with less than FEW the window is LONG, and FEWEST are always needed


def propose_monitors(period: Period | None) -> tuple[tuple[Monitor, ...], str]:
    """They judge from half of the rows that their window usually has, where that is less than the default; the note says so."""
    if period is None:
        return (Drift(), Performance()), ""
    a_day = period.rows / period.span.days
    if a_day * USUAL.days / 2 >= Drift().min_rows:
        return (Drift(), Performance()), ""
    window = USUAL if a_day * USUAL.days / 2 >= FEW else LONG
    min_rows = max(FEWEST, min(int(a_day * window.days / 2), Drift().min_rows))
    note = f"The file has about {a_day * window.days:,.0f} rows in {window.days} days: a verdict needs {min_rows:,}."
    return (Drift(window=window, min_rows=min_rows), Performance(window=window, min_rows=min_rows)), note
