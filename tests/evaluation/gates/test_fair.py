"""Fair: decisions that do not depend on a group, on people's employment by race and on rows with known rates."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.evaluation.gates.case import Case, Verdict
from mlops_assets.evaluation.gates.fair import count_decisions, gap_interval, group_rates
from mlops_assets.evaluation.judge import judge
from mlops_assets.spec.gate import Fair
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.tasks import task_of
from mlops_assets.training.fitted import TRAIN, VALIDATION
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.training.train import fit
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.evaluation.census import CATEGORICAL, NUMERIC, census

FAIRLEARN: dict[Any, Any] = {"demographic_parity": demographic_parity_difference, "equalized_odds": equalized_odds_difference}
TRAINER = HistGradientBoosting(max_iter=60, learning_rate=0.1)
NO_STAND_INS = ("SCHL", "MAR", "DIS", "SEX")


def people(groups: dict[str | None, tuple[int, int, int, int]]) -> pl.DataFrame:
    """Rows by group: how many are (negative, decided no), (negative, yes), (positive, no), (positive, yes)."""
    rows = [
        (group, truth, decision)
        for group, numbers in groups.items()
        for (truth, decision), count in zip(((0, 0), (0, 1), (1, 0), (1, 1)), numbers, strict=True)
        for _ in range(count)
    ]
    return pl.DataFrame(rows, schema={"group": pl.String, "truth": pl.Int64, "decision": pl.Int64}, orient="row")


def judged(trial: Any, gate: Fair, rows: pl.DataFrame) -> Verdict:
    case: Case = replace(
        trial().case(),
        rows=rows.rename({"group": "town"}),
        truth=rows["truth"].to_numpy(),
        candidate=np.where(rows["decision"].to_numpy() == 1, 0.9, 0.1),
        use_case=USE_CASE.but(task=USE_CASE.task.but(threshold=0.5)),
    )
    return judge((gate,), case)[0]


def counted(rows: pl.DataFrame) -> Any:
    return count_decisions(rows["group"], rows["truth"].to_numpy(), rows["decision"].to_numpy())[1]


UNEQUAL = {"north": (300, 100, 100, 500), "south": (400, 100, 300, 200)}  # decided yes: 0.6 and 0.3


def test_a_gap_between_groups_fails_and_names_both_ends(trial: Any) -> None:
    verdict = judged(trial, Fair(column="town", max_gap=0.1), people(UNEQUAL))
    assert not verdict.passed
    assert verdict.measured == pytest.approx(0.3)
    assert verdict.low < 0.3 < verdict.high
    assert verdict.message.startswith(
        "fair_town_demographic_parity · share decided yes is 0.600 for north and 0.300 for south: gap 0.300 ["
    )
    assert verdict.message.endswith(
        "is above 0.100. 0 skipped as too small. Look at the rows of north and south, and for inputs that stand in for town."
    )


def test_equalized_odds_take_the_larger_of_both_gaps(trial: Any) -> None:
    verdict = judged(trial, Fair(column="town", max_gap=0.1, metric="equalized_odds"), people(UNEQUAL))
    assert verdict.measured == pytest.approx(500 / 600 - 200 / 500)  # the false positives differ by 0.25 - 0.2 only
    assert verdict.evidence["rate"] == "true_positive_rate"
    assert verdict.evidence["groups"]["south"] == pytest.approx(
        {"rows": 1000, "selection_rate": 0.3, "true_positive_rate": 0.4, "false_positive_rate": 0.2}
    )


def test_the_same_shares_pass_whatever_the_sizes(trial: Any) -> None:
    rows = people({"north": (300, 100, 100, 500), "south": (30, 10, 10, 50)})
    verdict = judged(trial, Fair(column="town", max_gap=0.001, min_rows=50, metric="equalized_odds"), rows)
    assert verdict.passed
    assert verdict.measured == pytest.approx(0)
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_small_groups_and_rows_of_no_group_are_not_compared(trial: Any) -> None:
    rows = people({**UNEQUAL, "hamlet": (0, 0, 0, 199), None: (900, 0, 0, 0)})
    verdict = judged(trial, Fair(column="town", max_gap=0.4), rows)
    assert verdict.passed
    assert "1 skipped as too small" in verdict.message
    assert set(verdict.evidence["groups"]) == {"north", "south"}


def test_a_group_of_one_class_has_no_odds_to_compare(trial: Any) -> None:
    rows = people({**UNEQUAL, "hamlet": (100, 900, 0, 0)})
    assert judged(trial, Fair(column="town", max_gap=0.5, metric="equalized_odds"), rows).evidence["skipped"] == 1
    everyone = judged(trial, Fair(column="town", max_gap=0.5), rows)
    assert everyone.measured == pytest.approx(0.9 - 0.3)
    json.dumps(everyone.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("metric", "message"), [("demographic_parity", "200 rows."), ("equalized_odds", "200 rows of both classes.")]
)
def test_one_group_alone_is_no_pass(trial: Any, metric: Any, message: str) -> None:
    rows = people({"north": (300, 100, 100, 500), "hamlet": (1, 1, 1, 1)})
    verdict = judged(trial, Fair(column="town", max_gap=0.5, metric=metric), rows)
    assert not verdict.passed
    assert math.isnan(verdict.measured)
    assert f"fewer than two of 2 values of town have {message} Widen split.test." in verdict.message


def test_a_column_that_the_rows_lack_is_refused_with_what_there_is(trial: Any) -> None:
    with pytest.raises(ValueError, match="have no column 'sex'; they have: town, truth, decision. Add it to a feature view."):
        judged(trial, Fair(column="sex", max_gap=0.1), people(UNEQUAL))


SIZES = st.tuples(*[st.integers(1, 60)] * 4)


@settings(max_examples=25, deadline=None)
@given(groups=st.dictionaries(st.sampled_from("abcd"), SIZES, min_size=2), metric=st.sampled_from(sorted(FAIRLEARN)))
def test_the_gap_is_the_one_of_fairlearn_over_single_rows(groups: dict[str, Any], metric: str) -> None:
    rows = people(groups)
    expected = FAIRLEARN[metric](
        rows["truth"].to_numpy(), rows["decision"].to_numpy(), sensitive_features=rows["group"].to_numpy()
    )
    assert gap_interval(counted(rows), metric, seed=0, resamples=2).value == pytest.approx(expected)


def test_each_rate_is_its_own_share_of_rows() -> None:
    rates_by_metric = group_rates(counted(people(UNEQUAL)))
    for place, (refused, wrong, missed, right) in enumerate(UNEQUAL.values()):
        rates = {name: values[place] for name, values in rates_by_metric.items()}
        assert rates["selection_rate"] == pytest.approx((wrong + right) / (refused + wrong + missed + right))
        assert rates["true_positive_rate"] == pytest.approx(right / (missed + right))
        assert rates["false_positive_rate"] == pytest.approx(wrong / (refused + wrong))


@pytest.mark.parametrize("metric", sorted(FAIRLEARN))
def test_the_interval_is_that_of_resampled_rows(metric: str) -> None:
    rows, rng = people(UNEQUAL), np.random.default_rng(1)
    slow = [_gap_by_hand(rows[rng.integers(0, len(rows), len(rows))], metric) for _ in range(400)]
    low, high = np.quantile(np.array(slow) - np.mean(slow) + _gap_by_hand(rows, metric), (0.025, 0.975))
    interval = gap_interval(counted(rows), metric, seed=2)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.012)  # 400 draws place a bound of ±0.05 within 0.01


def _gap_by_hand(rows: pl.DataFrame, metric: str) -> float:
    among = [rows] if metric == "demographic_parity" else rows.partition_by("truth")
    shares = [part.group_by("group").agg(pl.col("decision").mean())["decision"] for part in among]
    return max(float(share.max()) - float(share.min()) for share in shares)  # type: ignore[arg-type]


def test_the_interval_holds_the_true_gap_about_as_often_as_it_says() -> None:
    rng, held, rounds = np.random.default_rng(5), 0, 200
    for seed in range(rounds):
        drawn = {"a": rng.multinomial(1500, (0.3, 0.2, 0.2, 0.3)), "b": rng.multinomial(700, (0.36, 0.14, 0.2, 0.3))}
        interval = gap_interval(np.array([*drawn.values()]).reshape(2, 2, 2), "demographic_parity", seed=seed)
        held += interval.low <= 0.06 <= interval.high
    assert held / rounds == pytest.approx(0.95, abs=0.045)  # three standard errors


YEARS = (2015, 2016, 2017, 2018)
TAUGHT = 20_000
"""People of 2015, drawn at random, from whom the models learn; the others of that year are judged."""


def _employment_model(people_of_2015: pl.DataFrame, categorical: tuple[str, ...]) -> OnnxModel:
    part = pl.when(pl.int_range(pl.len()) < 0.8 * TAUGHT).then(pl.lit(TRAIN)).otherwise(pl.lit(VALIDATION))
    rows = people_of_2015.head(TAUGHT).with_columns(split=part)
    inputs: dict[str, Any] = {"numeric": NUMERIC, "categorical": categorical, "label": "employed", "task": task_of(USE_CASE.task)}
    return OnnxModel.from_bytes(fit(TRAINER, rows, **inputs).onnx)


@pytest.fixture(scope="module")
def census_rows() -> dict[int, pl.DataFrame]:
    return {year: census(year) for year in YEARS} | {2015: census(2015).sample(fraction=1, shuffle=True, seed=0)}


@pytest.fixture(scope="module")
def by_year(trial: Any, census_rows: dict[int, pl.DataFrame]) -> Callable[[tuple[str, ...]], dict[int, Verdict]]:
    """The verdicts on a model that reads these columns, with 0.6 as the threshold for employed."""

    def verdict(model: OnnxModel, rows: pl.DataFrame) -> Verdict:
        case = replace(
            trial().case(),
            rows=rows,
            truth=rows["employed"].to_numpy(),
            candidate=model.predict(rows),
            model=model,
            use_case=USE_CASE.but(task=USE_CASE.task.but(threshold=0.6)),
        )
        return judge((Fair(column="race", max_gap=0.05),), case)[0]

    def verdicts(categorical: tuple[str, ...]) -> dict[int, Verdict]:
        model = _employment_model(census_rows[2015], categorical)
        return {year: verdict(model, census_rows[year].slice(TAUGHT) if year == 2015 else census_rows[year]) for year in YEARS}

    return verdicts


def test_a_model_that_reads_race_is_stopped_on_the_census_of_2015_to_2017(by_year: Any) -> None:
    verdicts = by_year(CATEGORICAL)
    assert {year: verdict.passed for year, verdict in verdicts.items()} == {2015: False, 2016: False, 2017: False, 2018: True}
    assert [verdicts[year].measured for year in YEARS] == pytest.approx([0.062, 0.055, 0.057, 0.036], abs=0.003)
    assert "for white and" in verdicts[2015].message and "for other: gap" in verdicts[2015].message


def test_a_model_without_race_and_its_proxies_passes_in_every_year(by_year: Any) -> None:
    verdicts = by_year(NO_STAND_INS)
    assert [year for year in YEARS if not verdicts[year].passed] == []
    assert max(verdicts[year].high for year in YEARS) < 0.05
