"""What a regression owns: its labels, its intervals, its answers, what rollouts compare, its pictures and words."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.spec.feature import Label
from mlops_assets.spec.task import Regression
from mlops_assets.tasks import task_of
from mlops_assets.tasks.regression import RegressionTask
from mlops_assets.tasks.task import IllegalLabels

LABEL = Label(name="rides", table="hours", key=("hour",), transform=lambda rows: rows)
EDGES = (10.0, 20.0, 30.0, 40.0, 60.0)  # a spread of 50


def task(**fields: Any) -> RegressionTask:
    owner = task_of(Regression(label=LABEL, unit="rides an hour", **fields))
    assert isinstance(owner, RegressionTask)
    return owner


TASK = task()


def output(*predictions: float, half: float = 5.0) -> Any:
    return np.array([(number, number - half, number + half) for number in predictions]).reshape(-1, 3)


@pytest.mark.parametrize(
    "labels",
    [
        pl.Series([1, None, 2**53]),
        pl.Series([-0.5, 3e300]),
        pl.Series([7], dtype=pl.UInt8),
        pl.Series(["1.25"]).cast(pl.Decimal(9, 2)),
    ],
)
def test_any_finite_number_is_a_label(labels: pl.Series) -> None:
    truth = TASK.truth(labels)
    assert truth.dtype == np.float64
    np.testing.assert_array_equal(truth, [np.nan if value is None else float(value) for value in labels])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (pl.Series(["yes", "no"]), "label rides · String; legal: numbers"),
        (pl.Series([True]), "label rides · Boolean; legal: numbers"),
        (pl.Series([0]).cast(pl.Datetime("us")), "label rides · Datetime.*; legal: numbers"),
        (pl.Series([1.0, float("inf")]), "label rides · inf; legal: finite numbers. Return null where"),
    ],
)
def test_a_label_that_is_no_finite_number_is_refused(labels: pl.Series, message: str) -> None:
    with pytest.raises(IllegalLabels, match=message):
        TASK.truth(labels)


@given(st.lists(st.floats(-1e6, 1e6), min_size=150, max_size=150), st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]))
def test_the_half_width_of_few_rows_is_the_conformal_quantile(errors: list[float], coverage: float) -> None:
    """Of n = 150 rows: the smallest error that at least (n + 1) * coverage of n + 1 rows do not exceed."""
    offsets = task(coverage=coverage).offsets(np.array(errors), np.zeros(150))
    zero, low, high = offsets.added(np.array([7.0]))[0] - 7
    inside = sum(abs(error) <= high + 1e-9 for error in errors)
    assert (zero, low) == (0.0, -high) and inside >= 151 * coverage - 1e-9
    assert sum(abs(error) < high - 1e-9 for error in errors) < 151 * coverage


@settings(max_examples=50)
@given(st.integers(200, 400), st.integers(0, 2**32 - 1), st.sampled_from([0.5, 0.8, 0.9, 0.95]))
def test_the_half_width_of_many_rows_is_that_quantile_of_errors_relative_to_a_line(rows: int, seed: int, coverage: float) -> None:
    """By a slow implementation: numpy's polyfit on every second row, a loop over the others."""
    rng = np.random.default_rng(seed)
    prediction = rng.gamma(2, 50, rows)
    truth = prediction + rng.normal(0, 1 + 0.3 * prediction)
    learned, error = prediction[::2], np.abs(truth - prediction)
    capped = np.minimum(error[::2], np.quantile(error[::2], 0.95))
    slope, level = np.polyfit(learned, capped, 1)
    scale = [max(level + slope * number, 0.2 * capped.mean()) for number in prediction]
    ratios = sorted(error[row] / scale[row] for row in range(1, rows, 2))
    half = next(ratio for place, ratio in enumerate(ratios, start=1) if place >= (len(ratios) + 1) * coverage - 1e-9)
    output = task(coverage=coverage).offsets(truth, prediction).added(prediction)
    np.testing.assert_allclose(output[:, 2] - prediction, half * np.array(scale), rtol=1e-6)
    np.testing.assert_allclose(output[:, 0] - output[:, 1], output[:, 2] - prediction, rtol=1e-6)


@pytest.mark.parametrize("prediction", [np.full(300, 7.0), np.full(300, 1e300), np.linspace(-1e300, 1e300, 300)])
def test_intervals_of_equal_and_of_huge_predictions_are_finite(prediction: Any) -> None:
    truth = prediction * (1 + np.random.default_rng(0).normal(0, 1e-3, 300))
    assert np.isfinite(TASK.offsets(truth, prediction).added(np.array([7.0, 1e6]))).all()


@pytest.mark.parametrize("offset", [0.0, 300.735, -1e6])
def test_intervals_of_one_prediction_for_all_rows_hold_the_declared_share(offset: float) -> None:
    """Its rounding is not a spread: a served prediction is rounded to 32 bits."""
    rng = np.random.default_rng(4)
    truth = offset + rng.normal(0, 80, 4000)
    learned = np.full(1001, truth[:1001].mean()) + rng.normal(0, 1e-9, 1001)
    served = np.full(2999, learned[0], dtype=np.float32).astype(float)
    _, low, high = TASK.offsets(truth[:1001], learned).added(served).T
    assert ((low <= truth[1001:]) & (truth[1001:] <= high)).mean() == pytest.approx(0.9, abs=0.02)


def test_a_model_without_an_error_has_intervals_without_a_width() -> None:
    truth = np.arange(300.0)
    assert (TASK.offsets(truth, truth).added(truth) == truth[:, None]).all()


def test_coverage_is_the_declared_one_in_every_third_of_predictions_whose_error_grows() -> None:
    """Counts of any rate: the error grows with its root. One width for all holds nearly all small ones and few large ones."""
    rng, inside, by_one_width = np.random.default_rng(0), [], []
    for _ in range(200):
        rate = rng.gamma(1.5, 80, 800)
        truth, known = rng.poisson(rate) + 0.0, slice(0, 300)
        low, high = TASK.offsets(truth[known], rate[known]).added(rate)[300:, 1:].T
        third = np.digitize(rate[300:], np.quantile(rate[300:], [1 / 3, 2 / 3]))
        width = np.sort(np.abs(truth - rate)[known])[270]
        held = (low <= truth[300:]) & (truth[300:] <= high)
        inside.append([held.mean(), *(held[third == place].mean() for place in range(3))])
        by_one_width.append([(np.abs(truth - rate)[300:][third == place] <= width).mean() for place in range(3)])
    marginal, *thirds = np.mean(inside, axis=0)
    # 151 rows are ranked, or 150: the expected coverage is 136 / 151; the mean of 200 trainings varies by 0.002.
    assert marginal == pytest.approx(136 / 151, abs=0.006)
    assert thirds == pytest.approx([0.9] * 3, abs=0.055), thirds  # a line is a little too wide for small counts
    assert np.mean(by_one_width, axis=0)[0] > 0.98 and np.mean(by_one_width, axis=0)[2] < 0.8


@pytest.mark.parametrize(("coverage", "least"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_so_many_rows_are_enough_for_an_interval_and_one_less_is_not(coverage: float, least: int) -> None:
    owner, numbers = task(coverage=coverage), np.arange(float(least))
    assert owner.offsets(numbers, np.zeros(least)).units[2] == least - 1, "the largest error"
    assert "too few" in owner.untrainable(numbers[:-1]) and "too few" not in owner.untrainable(numbers)


def test_an_answer_is_one_finite_number_with_its_interval() -> None:
    values = TASK.reader({})(output(7.0)[0].tolist())
    assert dict(zip(TASK.ANSWER, values, strict=True)) == {"prediction": 7.0, "low": 2.0, "high": 12.0}
    assert [*TASK.COLUMNS] == [*TASK.ANSWER]
    rows = np.array([[1.0, 0.0, 2.0], [np.nan, 0, 2], [1, -np.inf, 2]])
    assert TASK.are_legal(rows).tolist() == [True, False, False] == [TASK.is_legal(row) for row in rows.tolist()]


def test_the_log_has_the_output_of_both_models_of_a_shadow() -> None:
    ours, theirs = output(1.0, 2.0), output(3.0, 4.0)
    log = pl.DataFrame({name: ours[:, place] for place, name in enumerate(TASK.SCORES)})
    log = log.with_columns(pl.Series(f"champion_{name}", theirs[:, place]) for place, name in enumerate(TASK.SCORES))
    assert TASK.rival_columns().keys() == {*log.columns} - {*TASK.SCORES}
    np.testing.assert_array_equal(TASK.logged(log), ours)
    np.testing.assert_array_equal(TASK.logged(log, "champion_"), theirs)
    assert np.isnan(TASK.logged(log.with_columns(prediction=None))[:, 0]).all()


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_the_loss_is_the_error_relative_to_the_spread_and_never_above_1(predictions: list[float]) -> None:
    truth = np.full(len(predictions), 25.0)
    losses = TASK.losses(output(*predictions), truth, EDGES)
    np.testing.assert_allclose(losses, [min(abs(number - 25) / 50, 1) for number in predictions])


def test_the_loss_without_a_spread_is_relative_to_the_truth_and_nan_stays_unknown() -> None:
    edges = TASK.edges(output())
    assert edges == (0.0,) and TASK.edges(output(3.0, 3.0)) == (3.0,)
    truth = np.array([10.0, 10.0, 0.0, 0.0, np.nan])
    losses = TASK.losses(output(12.0, 99.0, 0.0, 0.1, 1.0), truth, edges)
    np.testing.assert_allclose(losses, [0.2, 1.0, 0.0, 1.0, np.nan])


def test_claims_are_shares_at_or_above_quantiles_of_the_champion_and_below() -> None:
    edges = TASK.edges(output(*range(101)))
    assert edges == (5, 25, 50, 75, 95)
    rows = pl.DataFrame({"prediction": [24.0, 25.0, 96.0], "champion_prediction": [0.0, 100.0, 50.0]})
    shares = rows.select(claim.mean().alias(str(place)) for place, claim in enumerate(TASK.claims(rows, edges))).row(0)
    assert shares == pytest.approx((1, 2 / 3, 1 / 3, 1 / 3, 1 / 3, 0, 1 / 3, 2 / 3, 2 / 3, 2 / 3))
    assert rows.select(TASK.claims(rows, edges, "champion_")[2]).to_series().to_list() == [False, True, True]
    assert (
        TASK.describe_claim(1, edges) == "at or above 25 rides an hour"
        and TASK.describe_claim(9, edges) == "below 95 rides an hour"
    )
    assert json.loads(json.dumps(edges)) == [*edges]


@pytest.mark.parametrize(
    ("truth", "above"), [([1, 2, 3, 4], [0, 0, 1, 1]), ([0, 0, 0, 9], [0, 0, 0, 1]), ([1, 9, 9, 9], [0, 1, 1, 1])]
)
def test_the_question_above_the_median_has_both_answers(truth: list[float], above: list[int]) -> None:
    ((name, answers),) = TASK.binarized(np.array(truth, dtype=float)).items()
    assert name == "rides above the median" and answers.tolist() == above


def test_a_regression_decides_nothing_and_says_what_it_predicts_in_its_unit() -> None:
    assert TASK.changes(np.zeros(2), output(1, 2), output(3, 4)) == []
    with pytest.raises(TypeError, match="Regression decides nothing"):
        TASK.decisions(output(1))
    assert TASK.describe({"prediction": 12.3456789, "low": 1.0, "high": 20.0}) == "12.3457 rides an hour, from 1 to 20"
    assert TASK.shown(output(12.3456)).to_list() == [12.35] and TASK.shown_truth(np.array([7.0])).to_list() == ["7 rides an hour"]
    assert TASK.describe_labels(np.array([1.0, 5.0])) == "with rides from 1 to 5, on average 3 rides an hour"
    assert TASK.baseline(2.0) == {"baseline_prediction": 2.0}


def test_details_are_plain_values_about_the_errors() -> None:
    details = TASK.details(np.zeros(101), output(*range(101)))
    assert json.loads(json.dumps(details)) == details
    assert details == {"declared_coverage": 0.9, "errors": {"5%": 5.0, "25%": 25.0, "50%": 50.0, "75%": 75.0, "95%": 95.0}}


@pytest.mark.parametrize("truth", [np.random.default_rng(0).normal(50, 20, 3000), np.full(30, 7.0), np.array([1.0])])
def test_pictures_are_drawn_of_many_rows_of_equal_ones_and_of_one(truth: Any) -> None:
    pictures = TASK.curves(truth, {"candidate": output(*truth * 0.9), "champion 7": output(*truth[::-1])})
    assert {*pictures} == {"predicted_and_true", "residuals", "scores"}
    assert all(picture.startswith(b"\x89PNG") and len(picture) < 60_000 for picture in pictures.values())


def test_the_report_of_evidently_has_the_errors() -> None:
    from mlops_assets.evaluation.report import quality_report

    truth = np.random.default_rng(0).normal(50, 20, 300)
    page = quality_report(TASK, pl.DataFrame({"rides": truth}), truth, output(*truth + 1), seed=0)
    assert "Mean Absolute Error" in page or "MAE" in page
