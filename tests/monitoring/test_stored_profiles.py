"""The profile of a window is that of its rows, whatever was added, erased or profiled before, and each day is profiled once."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.erasure.stores import erase_rows
from mlops_assets.monitoring.stored_profiles import MAX_COMMITS, SCHEMA, StoredProfiles, whole_days
from mlops_assets.monitoring.window import Window
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.serving.log.predictions_table import report_predictions
from mlops_assets.statistics.mergeable_profile import Bins
from mlops_assets.statistics.profile import profile_reference
from tests.cli.loans import LOANS
from tests.erasure.subjects import build_subject
from tests.serving.log.logged import row

START, DAY = datetime(2024, 3, 1, tzinfo=UTC), timedelta(days=1)
TRAINED = pl.DataFrame({"amount": np.linspace(0, 100, 500), "purpose": ["car", "home"] * 250})
BINS = Bins(profile_reference(TRAINED, ["amount"], ["purpose"]))


class Served:
    def __init__(self, root: Path) -> None:
        self.log, self.table = PredictionLog(root / "logs", LOANS), root / "predictions.delta"
        self.profiles = StoredProfiles(root / "profiles.delta", self.table)
        self.count = 0

    def serve(self, day: float, *amounts: float, purpose: str = "car", customer: str = "c1") -> None:
        for amount in amounts:
            self.count += 1
            values = {"event_timestamp": START + day * DAY, "amount": amount, "purpose": purpose, "customer": customer}
            self.log.append([row(self.log, f"p-{self.count}", **values)])
        report_predictions(self.table, self.log)

    def refresh(self, *days: int, bins: Bins = BINS) -> list[int]:
        first = START.date()
        return [(day - first).days for day in self.profiles.refresh(bins, [first + one * DAY for one in days])]

    def check(self, first: float, last: float, bins: Bins = BINS) -> None:
        """Compares it with a profile of the rows."""
        window = Window(START + first * DAY, START + last * DAY)
        merged, rows = self.profiles.window(bins, window), window.of(pl.scan_delta(str(self.table)))
        slow = bins.profile(rows)
        assert merged.rows == len(rows.collect())
        np.testing.assert_allclose(merged.vector, slow.vector)


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


@given(st.datetimes(datetime(2024, 1, 1), datetime(2024, 3, 1)), st.integers(0, 10**12))
def test_the_whole_days_of_a_window_are_those_of_which_it_has_every_moment(first: datetime, microseconds: int) -> None:
    window = Window(first.replace(tzinfo=UTC), first.replace(tzinfo=UTC) + timedelta(microseconds=microseconds))
    moments = [START + index * DAY for index in range(-70, 30)]
    inside = [one for one in moments if window.first < one and one + DAY <= window.last]
    assert whole_days(window) == [one.date() for one in inside]


def test_a_window_has_the_rows_between_its_moments_and_only_days_that_changed_are_profiled_again(served: Served) -> None:
    served.serve(0.5, 1.0, 50.0)
    served.serve(1.0, 70.0, float("nan"), purpose="boat")
    served.serve(1.9, 7.0, purpose="boat")
    assert served.refresh(0, 1) == [0, 1] and served.refresh(0, 1) == []
    served.serve(3.2, 99.0, purpose="boat")
    served.serve(1.5, 5.0, purpose="bike")
    assert served.refresh(0, 1, 2, 3) == [1, 2, 3] and served.refresh(0, 2) == []
    for first, last in ((-1, 0), (-1, 1), (0.5, 3.2), (0.6, 1.9), (0.4, 4.1), (1, 2), (0, 9), (3.1, 3.3)):
        served.check(first, last)


@pytest.mark.parametrize("seed", range(3))
def test_any_window_after_any_rows_is_the_profile_of_its_rows(served: Served, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(5):
        served.serve(rng.uniform(0, 6), *rng.uniform(-10, 110, 2).tolist(), purpose=str(rng.choice(["car", "home", "boat"])))
        served.check(*sorted(rng.uniform(-1, 7, 2)))


def test_a_day_that_changed_outside_the_window_is_profiled_on_request(served: Served) -> None:
    served.serve(0.5, 1.0)
    served.serve(1.5, 2.0)
    served.refresh(0, 1)
    served.serve(0.7, 3.0)
    assert served.refresh(1) == [] and served.refresh(0, 1) == [0]
    served.check(-1, 3)


def test_an_erasure_is_in_the_profiles_after_the_next_refresh(served: Served) -> None:
    served.serve(0.5, 1.0, 50.0, customer="c1")
    served.serve(1.5, 2.0, customer="c2")
    served.refresh(0, 1)
    erase_rows(served.table, build_subject("c1", "customer"), dry_run=False)
    served.check(-1, 3)
    assert served.profiles.window(BINS, Window(START - DAY, START + DAY)).rows == 0


def test_a_profile_has_no_value_of_a_row(served: Served) -> None:
    served.serve(0.5, 1.0, purpose="a secret purpose")
    served.refresh(0)
    files = [file.read_bytes() for file in served.profiles.path.rglob("*") if file.is_file()]
    assert pl.read_delta(str(served.profiles.path)).schema == SCHEMA and not any(b"secret" in content for content in files)


def test_another_version_is_profiled_in_its_own_bins(served: Served) -> None:
    served.serve(0.5, 1.0, 50.0)
    served.serve(1.5, 2.0)
    served.refresh(0, 1)
    other = Bins(profile_reference(TRAINED.head(9), ["amount"], []))
    assert served.refresh(1, bins=other) == [1]
    served.check(-1, 3, other)
    assert served.refresh(0, 1) == [0, 1]
    served.check(-1, 3)


def test_stored_profiles_survive_the_removal_of_the_commits_of_their_rows(served: Served) -> None:
    served.serve(0.5, 1.0)
    served.refresh(0)
    before = DeltaTable(str(served.profiles.path)).version()
    for _ in range(MAX_COMMITS + 1):
        served.serve(3.5, 1.0)
    assert served.refresh(0) == [] and DeltaTable(str(served.profiles.path)).version() == before + 1
    assert served.refresh(0) == [] and DeltaTable(str(served.profiles.path)).version() == before + 1


def test_a_part_of_a_day_needs_no_stored_profile(served: Served) -> None:
    served.serve(0.5, 1.0)
    served.check(0.1, 0.9)
    assert not served.profiles.path.exists()
