"""Labels that are late, missing, corrected again and retracted, in every split: each row has the newest label known for its part."""

import datetime as dt
import random
from typing import Any

import polars as pl
import pytest

from mlops_assets.features.featurize import training_rows
from mlops_assets.spec.split import TimeSplit
from tests.cli.loans import LOANS
from tests.foundation.days import midnight

DAY, FIRST = dt.timedelta(days=1), dt.date(2024, 3, 1)
TEST, VALIDATION = 4 * DAY, 2 * DAY
MOMENTS = ("applied_at", "ended_at")


def stories(seed: int) -> pl.DataFrame:
    """Sixty loans, each landed up to three times within four days, with any label or none."""
    chance, rows = random.Random(seed), dict[tuple[int, dt.date], dict[str, Any]]()
    for number in range(60):
        applied = FIRST + chance.randrange(8) * DAY
        at = midnight(applied) + chance.randrange(24) * dt.timedelta(hours=1)
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            day = applied + chance.randrange(4) * DAY
            ended, label = midnight(day) + chance.randrange(24) * dt.timedelta(hours=1), chance.choice([0, 1, None])
            rows[number, day] = {"number": number, "applied_at": at, "ended_at": ended, "defaulted": label, "day": day}
    types = {"defaulted": pl.Int64(), **dict.fromkeys(MOMENTS, pl.Datetime("us", "UTC"))}
    return pl.DataFrame([*rows.values()], schema_overrides=types).with_columns(
        customer=pl.lit("c1"), amount=1.0, purpose=pl.lit("car")
    )


@pytest.mark.parametrize("delay", [0 * DAY, DAY])
@pytest.mark.parametrize("seed", range(5))
def test_each_row_has_the_newest_label_that_was_known_before_the_next_part(seed: int, delay: dt.timedelta) -> None:
    rows, expected = stories(seed), dict[int, tuple[str, int]]()
    split = TimeSplit(test=TEST, validation=VALIDATION, label_delay=delay)
    use_case = LOANS.but(split=split, last_day=FIRST + 12 * DAY)
    end = midnight(max(rows["day"]) + DAY)
    test_start = end - delay - TEST
    validation_start = test_start - delay - VALIDATION
    for versions in rows.sort("day").partition_by("number"):
        applied = versions["applied_at"][0]
        parts = {
            "test": (test_start, end - delay, end),
            "validation": (validation_start, test_start - delay, test_start),
            "train": (midnight(FIRST), validation_start - delay, validation_start),
        }
        for part, (start, stop, known_before) in parts.items():
            known = [row for row in versions.to_dicts() if midnight(row["day"]) < known_before]
            if start <= applied < stop and known and known[-1]["defaulted"] is not None:
                expected[versions["number"][0]] = (part, known[-1]["defaulted"])
    trained = training_rows(use_case, rows.lazy(), rows.lazy(), now=end + DAY)
    assert {number: (part, label) for number, part, label in trained.select("number", "split", "defaulted").rows()} == expected
