"""The census rows of nannyml's wheel: who of the people of Massachusetts was employed, by year, sex and race.

Read from the wheel's files without importing it (requirements-data.txt). US Census Bureau, ACS public use microdata 2015-18.
"""

from importlib.util import find_spec
from pathlib import Path

import polars as pl

NUMERIC = ("age",)
CATEGORICAL = (
    "SCHL",
    "MAR",
    "RELP",
    "DIS",
    "ESP",
    "CIT",
    "MIG",
    "MIL",
    "ANC",
    "NATIVITY",
    "DEAR",
    "DEYE",
    "DREM",
    "SEX",
    "RAC1P",
)
WHITE = "1"  # of RAC1P, race


def census(year: int) -> pl.DataFrame:
    """The people surveyed in `year`: inputs, `employed` (0 or 1), `race` (white, other) and a moment in that year."""
    rows = _first_year() if year == 2015 else _later_years()
    race = pl.when(pl.col("RAC1P").cast(pl.String) == WHITE).then(pl.lit("white")).otherwise(pl.lit("other"))
    rows = rows.filter(pl.col("year") == year).select(
        pl.col(CATEGORICAL).cast(pl.String),
        "employed",
        age="AGEP",
        race=race,
        event_timestamp=pl.datetime(pl.col("year"), 7, 1, time_zone="UTC"),
    )
    return rows.collect()


def _first_year() -> pl.LazyFrame:
    return pl.scan_parquet(_file("reference"))


def _later_years() -> pl.LazyFrame:
    return pl.scan_parquet(_file("analysis")).join(pl.scan_parquet(_file("analysis_target")), on="id")


def _file(part: str) -> Path:
    spec = find_spec("nannyml")
    assert spec and spec.origin, "nannyml's wheel is missing: pip install --no-deps -r requirements-data.txt"
    return Path(spec.origin).parent / f"datasets/data/employment_MA_{part}.pq"
