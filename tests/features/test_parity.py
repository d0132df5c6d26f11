"""The comparison of served with recomputed features, against one written row by row."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.features.parity import NotTheSameRows, Parity, compare_features, sample_answers

START = datetime(2013, 6, 1, tzinfo=UTC)
RELATIVE, ABSOLUTE = 1e-6, 1e-3
# Equal, nearly equal and far values often meet when they come from few numbers.
NUMBER = st.one_of(
    st.none(),
    st.sampled_from([0.0, -0.0, 1.0, 1.0005, 1.002, -1.0, 1e9, 1e9 + 1, 1e9 + 5000, math.nan, math.inf, -math.inf]),
    st.floats(-10, 10),
)
TEXT = st.one_of(st.none(), st.sampled_from(["EWR", "JFK", ""]))
ROWS = st.lists(st.tuples(NUMBER, NUMBER, TEXT, TEXT), max_size=12)


def frame(values: list[Any], text: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "prediction_id": [f"p{number}" for number in range(len(values))],
            "event_timestamp": [START + timedelta(hours=number) for number in range(len(values))],
            "temp": pl.Series(values, dtype=pl.Float64),
            "gate": pl.Series(text, dtype=pl.String),
        },
        schema_overrides={"prediction_id": pl.String, "event_timestamp": pl.Datetime("us", "UTC")},
    )


def compare(served: pl.DataFrame, recomputed: pl.DataFrame) -> Parity:
    return compare_features(served, recomputed, features=("temp", "gate"), relative=RELATIVE, absolute=ABSOLUTE)


def missing(value: Any) -> bool:
    return value is None or value != value  # noqa: PLR0124 - only nan differs from itself


def agree(one: Any, two: Any) -> bool:
    if missing(one) or missing(two):
        return missing(one) and missing(two)
    return one == two if isinstance(one, str) else math.isclose(one, two, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def slow_largest(pairs: list[tuple[Any, Any]]) -> float | None:
    both = [(one, two) for one, two in pairs if not missing(one) and not missing(two)]
    return max((0.0 if one == two else abs(one - two) for one, two in both), default=None)


@settings(deadline=None)
@given(ROWS)
def test_the_result_is_that_of_a_comparison_row_by_row(rows: list[tuple[Any, ...]]) -> None:
    pairs = {"temp": [(a, b) for a, b, _, _ in rows], "gate": [(a, b) for _, _, a, b in rows]}
    comparison = compare(
        frame([row[0] for row in rows], [row[2] for row in rows]), frame([row[1] for row in rows], [row[3] for row in rows])
    )
    wrong = {
        name: [number for number, pair in enumerate(pairs_of_feature) if not agree(*pair)]
        for name, pairs_of_feature in pairs.items()
    }
    for feature in comparison.features:
        assert feature.mismatches == len(wrong[feature.feature])
        assert feature.missing_served == sum(missing(one) and not missing(two) for one, two in pairs[feature.feature])
        assert feature.missing_recomputed == sum(missing(two) and not missing(one) for one, two in pairs[feature.feature])
        assert [example["prediction_id"] for example in feature.examples] == [
            f"p{number}" for number in wrong[feature.feature][:5]
        ]
    assert comparison.features[0].largest_difference == slow_largest(pairs["temp"])
    assert comparison.features[1].largest_difference is None
    assert (comparison.rows, comparison.differing_rows) == (len(rows), len({*wrong["temp"], *wrong["gate"]}))


@settings(deadline=None)
@given(ROWS)
def test_the_table_keeps_everything_but_the_examples(rows: list[tuple[Any, ...]]) -> None:
    comparison = compare(
        frame([row[0] for row in rows], [row[2] for row in rows]), frame([row[1] for row in rows], [row[3] for row in rows])
    )
    again = Parity.from_table(comparison.to_table())
    assert (again.rows, again.differing_rows, again.since, again.until) == (
        comparison.rows,
        comparison.differing_rows,
        comparison.since,
        comparison.until,
    )
    assert again.mismatch_rate == comparison.mismatch_rate
    assert again.to_table().equals(comparison.to_table())


def test_the_rate_of_answers_is_not_diluted_by_features_that_agree() -> None:
    served, recomputed = frame([1.0, 2.0, 3.0, 4.0], ["EWR"] * 4), frame([1.0, 2.5, 3.0, 4.0], ["EWR"] * 4)
    comparison = compare(served, recomputed)
    assert comparison.mismatch_rate == 0.25
    assert [feature.feature for feature in comparison.mismatched] == ["temp"]
    assert comparison.features[0].examples == ({"prediction_id": "p1", "served": 2.0, "recomputed": 2.5},)
    assert comparison.sentence(0.001) == (
        "25.00% of 4 predictions from 2013-06-01 to 2013-06-01 used features that differ from the recomputed ones, above the bound of 0.10%: temp (25.00%)."
    )


def test_whole_numbers_and_floats_compare_as_numbers() -> None:
    recomputed = frame([1.0, 2.0], ["EWR"] * 2).with_columns(temp=pl.Series([1, 3]))
    assert compare(frame([1.0, 2.0], ["EWR"] * 2), recomputed).features[0].mismatches == 1


def test_other_rows_are_rejected_by_name() -> None:
    served = frame([1.0, 2.0], ["EWR"] * 2)
    with pytest.raises(NotTheSameRows, match="2 served and 2 recomputed rows; legal: the same prediction_ids in the same order"):
        compare(served, served.reverse())
    with pytest.raises(NotTheSameRows, match="the recomputed frame lacks temp; it has prediction_id, event_timestamp, gate"):
        compare(served, served.drop("temp"))


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(0, 30), st.integers(0, 3))
def test_a_sample_is_bounded_and_does_not_follow_the_order_of_the_log(rows: int, max_rows: int, seed: int) -> None:
    answers = frame([float(number) for number in range(rows)], ["EWR"] * rows)
    sample = sample_answers(answers, max_rows=max_rows, seed=seed)
    assert len(sample) == min(rows, max_rows)
    assert sample["event_timestamp"].is_sorted()
    assert sample.equals(sample_answers(answers.reverse(), max_rows=max_rows, seed=seed))
    assert set(sample["prediction_id"]) <= set(answers["prediction_id"])


def test_another_seed_gives_another_sample() -> None:
    answers = frame([0.0] * 100, ["EWR"] * 100)
    one, two = (sample_answers(answers, max_rows=20, seed=seed)["prediction_id"].to_list() for seed in (0, 1))
    assert one != two
