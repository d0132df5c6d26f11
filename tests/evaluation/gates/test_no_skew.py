"""NoSkew: refuses while the answers use other features than the tables give, and says which; silent while nothing is served."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest

from mlops_assets.features.parity import FeatureSkew, Parity
from mlops_assets.spec.gate import NoSkew

SINCE, UNTIL = datetime(2013, 6, 1, tzinfo=UTC), datetime(2013, 6, 30, tzinfo=UTC)


def parity(rows: int, differing: int) -> Parity:
    features = (FeatureSkew("temp", differing, 4.5, 0, 0), FeatureSkew("seats", 0, 0.0, 0, 0))
    return Parity(rows, differing, SINCE, UNTIL, features)


UNCOMPARED = Parity(60, 0, None, None, ())


@pytest.mark.parametrize(
    ("served", "comparison", "message"),
    [
        (0, None, "nothing has been served yet"),
        (0, Parity(0, 0, None, None, ()), "nothing has been served yet"),
        (56_000, None, "56,000 answers have been served and none compared yet"),
        (56_000, Parity(0, 0, None, None, ()), "none (their callers sent the features) in the window of Skew can be compared"),
        (56_000, parity(99, 99), "56,000 answers have been served, and only 99 in the window of Skew can be compared"),
        (60, UNCOMPARED, "only 60 in the window"),
    ],
)
@pytest.mark.parametrize("min_rows", [100, 1000])
def test_without_enough_answers_it_passes_and_reports_what_is_missing(
    trial: Any, served: int, comparison: Parity | None, message: str, min_rows: int
) -> None:
    stored = comparison and Parity.from_table(comparison.to_table())
    verdict = trial().verdict(NoSkew(min_rows=min_rows), parity=stored, served=served)
    assert verdict.passed
    assert math.isnan(verdict.measured)
    assert verdict.message.startswith("no_skew · not enough data: ") and verdict.result == "passed, not enough data"
    assert message in verdict.message and "so this gate passes" in verdict.message
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_too_few_answers_for_the_monitor_are_no_verdict_of_a_gate_that_needs_fewer(trial: Any) -> None:
    assert math.isnan(trial().verdict(NoSkew(min_rows=50), parity=UNCOMPARED, served=60).measured)


@pytest.mark.parametrize(("differing", "passed"), [(0, True), (10, True), (11, False), (1000, False)])
def test_the_bound_itself_still_passes(trial: Any, differing: int, passed: bool) -> None:
    assert trial().verdict(NoSkew(max_mismatch_rate=0.01), parity=parity(1000, differing)).passed is passed


def test_a_refusal_carries_what_was_measured_and_where(trial: Any) -> None:
    verdict = trial().verdict(NoSkew(max_mismatch_rate=0.001), parity=parity(1000, 25))
    assert (verdict.measured, verdict.bound) == (0.025, 0.001)
    assert verdict.message == (
        "no_skew · 2.50% of 1,000 predictions from 2013-06-01 to 2013-06-30 used features that differ from the recomputed ones, above the bound of 0.10%: "
        "temp (2.50%). Look at the examples on the skew asset and correct the features that differ; the next answers then pass."
    )
    assert verdict.evidence == {
        "rows": 1000,
        "differing_rows": 25,
        "since": "2013-06-01 00:00:00+00:00",
        "until": "2013-06-30 00:00:00+00:00",
        "mismatch_rates": {"temp": 0.025},
    }


@pytest.mark.parametrize(("served", "passed"), [(0, True), (1, False), (56_000, False)])
def test_declared_so_it_refuses_for_want_of_answers_but_never_before_the_first_one(trial: Any, served: int, passed: bool) -> None:
    verdict = trial().verdict(NoSkew(without_data="refuse"), parity=None, served=served)
    assert verdict.passed is passed and verdict.lacks_data
    assert verdict.result == ("passed, not enough data" if passed else "FAILED, not enough data")
    assert ("this gate refuses, as declared. Wait for the next comparison" in verdict.message) is not passed
    assert trial().verdict(NoSkew(without_data="refuse"), parity=parity(1000, 0), served=1000).result == "passed"
