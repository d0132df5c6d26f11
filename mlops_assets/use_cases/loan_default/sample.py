"""The example data: NannyML's car loans, which are synthetic. On 31 March 2019 at 3:00 the customers change: the mean price of
their cars rises from 29,000 to 48,000 euros, their loans are longer, fewer earn little, and more have repaid an earlier loan.
"""

from collections.abc import Iterator
from datetime import date
from importlib.metadata import distribution
from pathlib import Path

import polars as pl

from mlops_assets.foundation.delivery import Delivery
from mlops_assets.use_cases.loan_default import APPLICATIONS, KNOWN_AFTER, OUTCOMES


def example(first: date, last: date) -> Iterator[Delivery]:
    """Two files a week: the applications, and the outcomes that became known."""
    loans = _loans()
    for contract in (APPLICATIONS, OUTCOMES):
        day = pl.col(contract.day or "").dt.date()
        rows = loans.filter(day.is_between(first, last)).with_columns(week=day.dt.truncate("1w"))
        for (week,), delivered in rows.group_by("week", maintain_order=True):
            yield Delivery(contract.table, week, delivered.select(contract.names))


def _loans() -> pl.DataFrame:
    folder = Path(str(distribution("nannyml").locate_file("nannyml/datasets/data")))
    reference, analysis, target = (
        pl.read_csv(folder / f"synthetic_car_loan_{part}.csv") for part in ("reference", "analysis", "analysis_target")
    )
    columns = ["id", "timestamp", "repaid", *(set(APPLICATIONS.names) & {*reference.columns})]
    rows = pl.concat([reference.select(columns), analysis.join(target, on="id").select(columns)], how="vertical_relaxed")
    applied_at = pl.col("timestamp").str.to_datetime("%Y-%m-%d %H:%M:%S%.3f", time_unit="us", time_zone="UTC")
    return rows.sort("id").with_columns(
        loan="id", applied_at=applied_at, settled_at=applied_at + KNOWN_AFTER, repaid=pl.col("repaid") == 1
    )
