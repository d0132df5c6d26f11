"""The ages of the features behind answers, from a real prediction log, against counts by hand."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets import DataAge
from mlops_assets.foundation import names
from mlops_assets.graph.kernel.check_verdict import CheckVerdict
from mlops_assets.serving.log.prediction_log import PredictionLog
from tests.cli.loans import LOANS, VIEW
from tests.graph.line import failure, running_line

HOUR_S = 3600.0
USE_CASE = LOANS.but(monitors=(DataAge(max_age=timedelta(hours=24), min_share=0.9, min_rows=10),))


@pytest.mark.parametrize(
    ("hours", "verdict", "message"),
    [
        ([1.0] * 9, "not enough data", "9 answers with looked-up features in the window; a verdict needs 10."),
        ([1.0] * 9 + [25.0], "healthy", "Of the 10 answers, 90.0% or more in every view used values of at most 1 day (at least 90.0% must)."),
        ([1.0] * 8 + [25.0, 24.01], "alarm", "Of the 10 answers, 80.0% of last_payment used values of at most 1 day (at least 90.0% must)."),
        # Of an unknown customer there is no value that could be old.
        ([None] * 5 + [24.0] * 5, "healthy", "Of the 10 answers, 100.0% or more in every view"),
        ([None] * 10, "healthy", "Of the 10 answers, 100.0% or more in every view"),
    ],
    ids=["too few", "in time", "too old", "some unknown", "all unknown"],
)  # fmt: skip
def test_a_view_whose_values_were_old_is_an_alarm(tmp_path: Path, hours: list[float | None], verdict: str, message: str) -> None:
    with running_line(tmp_path, USE_CASE) as line:
        log, now = PredictionLog(line.environment.home.prediction_log, USE_CASE), datetime.now(UTC)
        row = dict.fromkeys(log.schema) | {"answered_at": now, "event_timestamp": now, "features_from": "online"}
        ages = [{VIEW.name: None if age is None else age * HOUR_S} for age in hours]
        log.append([row | {"prediction_id": f"p{number}", "feature_age_s": age} for number, age in enumerate(ages)])
        # The caller's own features have the age that the caller gives them.
        log.append([row | {"prediction_id": "own", "features_from": "request", "feature_age_s": {VIEW.name: 1e9}}])
        result = line.run(*(names.stage(USE_CASE.name, stage) for stage in ("predictions", "data_age")))
        assert result.success, failure(result)
    key = dg.AssetCheckKey(dg.AssetKey(names.stage(USE_CASE.name, "data_age")), DataAge.CHECK)
    (check,) = [one for one in result.get_asset_check_evaluations() if one.asset_check_key == key]
    judged = CheckVerdict.of(check)
    assert judged.verdict == verdict and message in judged.message, judged
