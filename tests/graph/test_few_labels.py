"""A real line with fewer labels than its monitor needs: the bounds of the risk are the evidence."""

import datetime as dt
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from mlops_assets.foundation import names
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.spec.monitor import Performance
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import LOANS
from tests.graph.line import failure
from tests.graph.loan_line import LoanLine, applications, moment, payments, running_loans
from tests.promotion.model_line import ModelLine

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]
TRAINED, ANSWERED, A_DAY = 6, 8, 60
LINE: UseCase = LOANS.but(monitors=(Performance(window=dt.timedelta(days=10), min_rows=1000),), triggers=())


def live(line: LoanLine, days: range) -> None:
    for day in days:
        rng = np.random.default_rng(day)
        rows = [(1000 * (day + 1) + number, float(rng.uniform(1, 100)), int(rng.integers(0, 2))) for number in range(A_DAY)]
        line.land("applications", day, applications(*rows, day=day))
        line.land("payments", day, payments(day, *((f"c{number}", 10.0) for number in range(3))))
    line.report_landed()
    for table in ("applications", "payments"):
        assert line.ingest(table, first=days[0], last=days[-1]).success
    line.fill(days[0], days[-1])


def answer(line: LoanLine, probability: float) -> None:
    """Every loan of the days after the training, as the service would have."""
    rows = line.validated("applications").filter(pl.col("applied_at") >= moment(TRAINED, 0))
    log = PredictionLog(line.environment.home.prediction_log, LINE)
    at = pl.col("applied_at")
    spread = pl.lit(probability) + pl.int_range(pl.len()) / pl.len() / 100
    logged = rows.with_columns(
        prediction_id=pl.format("p{}", "number"), event_timestamp=at, answered_at=at, model_version=pl.lit(1), probability=spread
    )
    log.append([dict.fromkeys(log.schema) | {name: row[name] for name in row if name in log.schema} for row in logged.to_dicts()])


def performance(line: LoanLine) -> dict[str, Any]:
    keys = [dg.AssetKey(names.stage(LINE.name, stage)) for stage in ("predictions", "outcomes", "performance")]
    tags = {"mlops/as_of": moment(ANSWERED + 1, 0).isoformat()}
    result = line.job.execute_in_process(asset_selection=keys, instance=line.instance, tags=tags, raise_on_error=False)
    assert result.success, failure(result)
    (made,) = result.asset_materializations_for_node(f"{LINE.name}__performance")
    return {name: entry.value for name, entry in made.metadata.items()}


@pytest.mark.parametrize(("probability", "verdict"), [(0.5, "not enough data"), (0.98, "alarm")])
def test_few_labels_show_how_much_the_champion_loses(tmp_path: Path, probability: float, verdict: str) -> None:
    """Half of the loans default: 0.5 loses 0.25, which is no more than in the evaluation, and 0.98 loses 0.48."""
    with running_loans(tmp_path, LINE) as line:
        live(line, range(TRAINED))
        # A gate refuses it, as nothing can be learned from labels by chance.
        line.run(*(names.stage(LINE.name, stage) for stage in ("training_set", "candidate", "evaluation")), first=0)
        models = ModelLine(line.home, name=LINE.name)
        models.bless(1)
        models.promote(1)
        live(line, range(TRAINED, ANSWERED))
        answer(line, probability)
        metadata = performance(line)
        assert metadata["verdict"].startswith(f"{verdict}: 120 known outcomes in the window; a verdict needs 1,000."), metadata
        assert "The mean Brier score of version 1 is" in metadata["verdict"]
        assert "by 120 labels and 120 answers" in metadata["verdict"]
        low, high = metadata["risk_low"], metadata["risk_high"]
        assert low < 0.5 * (probability**2 + (1 - probability) ** 2) < high
