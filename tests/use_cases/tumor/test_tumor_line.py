"""The use case from its example data to served answers and their outcomes: one snapshot, no time, no views."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import bentoml
import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.use_cases.tumor import SAMPLES, USE_CASE
from mlops_assets.use_cases.tumor.sample import example
from tests.graph.line import failed_checks, failure, running_line
from tests.integration.running_service import Server, started

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(300)]


def test_the_example_lands_as_one_table_that_keeps_its_contract() -> None:
    (file,) = example(date.min, date.min)
    assert (len(file.rows), file.rows.columns) == (569, [*SAMPLES.names])
    assert dict(file.rows["diagnosis"].value_counts().iter_rows()) == {"M": 212, "B": 357}


def test_it_is_trained_judged_served_and_watched(tmp_path: Path) -> None:
    (file,) = example(date.min, date.min)
    with running_line(tmp_path, USE_CASE) as line:
        line.landing.put("tumor", "samples", day=file.partition, rows=file.rows, calendar=table_calendar(USE_CASE, "samples"))
        stages = [dg.AssetKey(path) for path in line.stages("samples")]
        assert line.job.execute_in_process(asset_selection=stages, instance=line.instance).success
        training = line.definitions.resolve_job_def(names.job("tumor", "training"))
        trained = training.execute_in_process(instance=line.instance, raise_on_error=False)
        assert trained.success, (failure(trained), failed_checks(trained))
        home, now = line.environment.home, datetime.now(UTC)
        ledger = Ledger(line.environment.ledger_url)
        promotions = Promotions(USE_CASE, ledger, Deployment(home.deployments, "tumor"), SigningKeys(home.keys))
        assert promotions.state().plan is None, "a use case of high risk waits for a person"
        promotions.approve(1, why="its evaluation was read", by="oncologist", at=now)
        promotions.promote(1, reason="approved", by="oncologist", at=now)

        server = Server(home, "deploy.service:Predictions", variables={"MLOPS_USE_CASE": "tumor"})
        with started(server), bentoml.SyncHTTPClient(f"http://127.0.0.1:{server.port}") as client:
            predict: Any = client.predict  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
            answers = predict(rows=file.rows.select(USE_CASE.features.request).to_dicts())["predictions"]
        right = [answer["decision"] == (label == "M") for answer, label in zip(answers, file.rows["diagnosis"], strict=True)]
        assert sum(right) > 0.95 * len(right)

        watched = [names.stage("tumor", stage) for stage in ("predictions", "outcomes", *USE_CASE.monitor_stages)]
        keys = [dg.AssetKey(path) for path in watched]
        result = line.job.execute_in_process(asset_selection=keys, instance=line.instance, raise_on_error=False)
        assert result.success and failed_checks(result) == {}, failure(result)
        assert len(line.rows(names.stage("tumor", "outcomes"))) == 569
