"""Profiles by day are those of the rows, whatever was added, erased or profiled before, and are computed once."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mlops_assets.erasure.stores import erase_rows
from mlops_assets.monitoring.stored_profiles import StoredProfiles
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.serving.log.predictions_table import report_predictions
from mlops_assets.statistics.mergeable_profile import Bins
from mlops_assets.statistics.profile import profile_reference
from tests.cli.loans import LOANS
from tests.erasure.subjects import build_subject
from tests.serving.log.logged import row

FIRST = date(2024, 3, 1)
TRAINED = pl.DataFrame({"amount": np.linspace(0, 100, 500), "purpose": ["car", "home"] * 250})
BINS = Bins(profile_reference(TRAINED, ["amount"], ["purpose"]))


class Served:
    def __init__(self, root: Path) -> None:
        self.log, self.table = PredictionLog(root / "logs", LOANS), root / "predictions.delta"
        self.profiles = StoredProfiles(root / "profiles.delta", 1, BINS)
        self.count = 0

    def serve(self, day: int, *amounts: float, purpose: str = "car", customer: str = "c1") -> None:
        at = datetime(2024, 3, 1, 12, tzinfo=UTC) + timedelta(days=day)
        for amount in amounts:
            self.count += 1
            values = {"event_timestamp": at, "amount": amount, "purpose": purpose, "customer": customer}
            self.log.append([row(self.log, f"p-{self.count}", **values)])
        report_predictions(self.table, self.log)

    def refresh(self, profiles: StoredProfiles | None = None) -> list[int]:
        return [(day - FIRST).days for day in (profiles or self.profiles).refresh(self.table)]

    def check(self, first: int, last: int, profiles: StoredProfiles | None = None) -> None:
        """Against a profile of the rows."""
        profiles = profiles or self.profiles
        begin, end = FIRST + timedelta(days=first), FIRST + timedelta(days=last)
        merged = profiles.window(begin, end)
        rows = pl.scan_delta(str(self.table)).filter(pl.col("event_timestamp").dt.date().is_between(begin, end))
        slow = profiles.bins.profile(rows)
        assert merged.columns() == slow.columns() and merged.new == slow.new
        np.testing.assert_allclose(merged.vector, slow.vector)
        assert merged.rows == len(rows.collect())


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


def test_only_days_with_new_rows_are_profiled_and_windows_are_merged(served: Served) -> None:
    served.serve(0, 1.0, 50.0)
    served.serve(1, 70.0, float("nan"), purpose="boat")
    assert served.refresh() == [0, 1] and served.refresh() == []
    served.serve(3, 99.0, purpose="boat")
    served.serve(1, 5.0, purpose="bike")
    assert served.refresh() == [1, 3]
    for first, last in ((0, 0), (0, 1), (1, 3), (2, 2), (0, 9)):
        served.check(first, last)


def test_an_erasure_is_in_the_profiles_after_the_next_refresh(served: Served) -> None:
    served.serve(0, 1.0, 50.0, customer="c1")
    served.serve(1, 2.0, customer="c2")
    served.refresh()
    erase_rows(served.table, build_subject("c1", "customer"), dry_run=False)
    served.refresh()
    served.check(0, 1)
    assert served.profiles.window(FIRST, FIRST).rows == 0


def test_another_version_profiles_all_days_in_its_own_bins(served: Served) -> None:
    served.serve(0, 1.0, 50.0)
    served.serve(1, 2.0)
    served.refresh()
    other = StoredProfiles(served.profiles.path, 2, Bins(profile_reference(TRAINED.head(9), ["amount"], [])))
    assert served.refresh(other) == [0, 1]
    served.check(0, 1, other)
    assert served.refresh() == [0, 1]
    served.check(0, 1)


def test_a_profile_before_any_refresh_is_empty(served: Served) -> None:
    assert served.profiles.window(FIRST, FIRST).rows == 0
