"""A real line whose labels show what its champion loses, also where they are few, and that its inputs have another meaning."""

import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from mlops_assets.foundation import names
from mlops_assets.graph.monitors.estimation import read_evaluated
from mlops_assets.resources import build_resources
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.spec.monitor import Performance
from mlops_assets.spec.trigger import OnPerformance
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import LOANS
from tests.graph.line import failure
from tests.graph.loan_line import LoanLine, applications, moment, payments, running_loans
from tests.promotion.model_line import ModelLine

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]
TRAINED, ANSWERED, A_DAY = 6, 8, 60
LINE: UseCase = LOANS.but(monitors=(Performance(window=dt.timedelta(days=10), min_rows=1000),), triggers=())


def live(line: LoanLine, days: range, *, rows_a_day: int = A_DAY, follows: int = 0) -> None:
    """Half of the loans default: any where it `follows` nothing, the large ones with 1, the small ones with -1."""
    for day in days:
        rng = np.random.default_rng(day)
        amounts, chances = rng.uniform(1, 100, rows_a_day), rng.random(rows_a_day)
        defaults = chances < 0.5 + 0.4 * follows * np.sign(amounts - 50)
        rows = [(1000 * (day + 1) + number, float(amounts[number]), int(defaults[number])) for number in range(rows_a_day)]
        line.land("applications", day, applications(*rows, day=day))
        line.land("payments", day, payments(day, *((f"c{number}", 10.0) for number in range(3))))
    line.report_landed()
    for table in ("applications", "payments"):
        assert line.ingest(table, first=days[0], last=days[-1]).success
    line.fill(days[0], days[-1])


def train(line: LoanLine) -> None:
    # A gate may refuse it, as little can be learned from these labels.
    line.run(*(names.stage(line.use_case.name, stage) for stage in ("training_set", "candidate", "evaluation")), first=0)
    models = ModelLine(line.home, name=line.use_case.name)
    models.bless(1)
    models.promote(1)


def answer(line: LoanLine, probability: pl.Expr) -> None:
    """Answers every loan of the days after the training, as the service would."""
    rows = line.validated("applications").filter(pl.col("applied_at") >= moment(TRAINED, 0))
    log = PredictionLog(line.environment.home.prediction_log, LINE)
    at = pl.col("applied_at")
    logged = rows.with_columns(
        prediction_id=pl.format("p{}", "number"),
        event_timestamp=at,
        answered_at=at,
        model_version=pl.lit(1),
        probability=probability,
    )
    log.append([dict.fromkeys(log.schema) | {name: row[name] for name in row if name in log.schema} for row in logged.to_dicts()])


def metadata_of(line: LoanLine, *stages: str) -> dict[str, Any]:
    """Of the last of these."""
    keys = [dg.AssetKey(names.stage(LINE.name, stage)) for stage in ("predictions", "outcomes", *stages)]
    tags = {"mlops/as_of": moment(ANSWERED + 1, 0).isoformat()}
    result = line.job.execute_in_process(asset_selection=keys, instance=line.instance, tags=tags, raise_on_error=False)
    assert result.success, failure(result)
    (made,) = result.asset_materializations_for_node(f"{LINE.name}__{stages[-1]}")
    return {name: entry.value for name, entry in made.metadata.items()}


@pytest.mark.parametrize(("probability", "verdict"), [(0.5, "not enough data"), (0.98, "alarm")])
def test_few_labels_show_how_much_the_champion_loses(tmp_path: Path, probability: float, verdict: str) -> None:
    """Half of the loans default: 0.5 loses 0.25, which is no more than in the evaluation, and 0.98 loses 0.48."""
    with running_loans(tmp_path, LINE) as line:
        live(line, range(TRAINED))
        train(line)
        live(line, range(TRAINED, ANSWERED))
        answer(line, pl.lit(probability) + pl.int_range(pl.len()) / pl.len() / 100)
        metadata = metadata_of(line, "performance")
        assert metadata["verdict"].startswith(f"{verdict}: 120 known outcomes in the window; a verdict needs 1,000."), metadata
        assert "The mean Brier score of version 1 is" in metadata["verdict"]
        assert "by 120 labels and 120 answers" in metadata["verdict"]
        low, high = metadata["risk_low"], metadata["risk_high"]
        assert low < 0.5 * (probability**2 + (1 - probability) ** 2) < high


@pytest.mark.parametrize(
    ("follows", "cause"), [(1, "Likely: population shift in predictions"), (-1, "Likely: changed relation in outcomes")]
)
def test_labels_show_whether_inputs_mean_what_they_did(tmp_path: Path, follows: int, cause: str) -> None:
    """Payments grow in both; then the small loans default instead of the large ones."""
    bound = OnPerformance(metric="auc", bound=0.99)
    use_case = LINE.but(monitors=(Performance(window=dt.timedelta(days=10), min_rows=100),), triggers=(bound,))
    with running_loans(tmp_path, use_case) as line:
        live(line, range(TRAINED), rows_a_day=200, follows=1)
        train(line)
        live(line, range(TRAINED, ANSWERED), rows_a_day=200, follows=follows)
        registry: Any = build_resources(line.environment)["registry"]
        evaluated = read_evaluated(use_case, registry, 1)
        assert evaluated
        low, high = np.quantile(evaluated.rows.output, (0.25, 0.75))
        answer(line, pl.when(pl.col("amount") > 50).then(high).otherwise(low))
        metadata = metadata_of(line, "performance", "investigation")
        assert metadata["verdict"].startswith(cause), metadata
        evidence = "the share of defaulted differs by" if follows == -1 else "have the share of defaulted that they had"
        assert evidence in metadata["verdict"]
