"""The use case from its example data to served answers: weeks, labels known after 60 days, an approval, a fairness gate."""

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
from mlops_assets.use_cases.loan_default import USE_CASE
from mlops_assets.use_cases.loan_default.sample import example
from tests.graph.line import failed_checks, failure, running_line
from tests.integration.running_service import Server, started

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(300)]
FIRST, LAST = date(2018, 1, 1), date(2018, 10, 28)
SMALL = USE_CASE.but(last_day=LAST)


def test_it_is_trained_judged_approved_and_served(tmp_path: Path) -> None:
    files = [*example(FIRST, LAST)]
    with running_line(tmp_path, SMALL) as line:
        for table in ("applications", "loan_outcomes"):
            calendar, own = table_calendar(SMALL, table), [file for file in files if file.table == table]
            for file in own:
                line.landing.put(SMALL.name, table, day=file.partition, rows=file.rows, calendar=calendar)
            keys = {"start": calendar.key(own[0].partition), "end": calendar.key(own[-1].partition)}
            tags = {f"dagster/asset_partition_range_{end}": key for end, key in keys.items()}
            stages = [dg.AssetKey(path) for path in line.stages(table)]
            landed = line.job.execute_in_process(asset_selection=stages, instance=line.instance, tags=tags, raise_on_error=False)
            assert landed.success and failed_checks(landed) == {}, failure(landed)
        training = line.definitions.resolve_job_def(names.job(SMALL.name, "training"))
        trained = training.execute_in_process(instance=line.instance, raise_on_error=False)
        assert trained.success, (failure(trained), failed_checks(trained))
        home, now = line.environment.home, datetime.now(UTC)
        ledger = Ledger(line.environment.ledger_url)
        promotions = Promotions(SMALL, ledger, Deployment(home.deployments, SMALL.name), SigningKeys(home.keys))
        assert promotions.state().plan is None, "a use case of high risk waits for a person"
        promotions.approve(1, why="its evaluation was read", by="credit officer", at=now)
        promotions.promote(1, reason="approved", by="credit officer", at=now)

        applications = next(file.rows for file in reversed(files) if file.table == "applications")
        rows = applications.select(SMALL.features.request).to_dicts()
        requests = [{**row, "applied_at": row["applied_at"].isoformat()} for row in rows[:500]]
        server = Server(home, variables={"MLOPS_USE_CASE": SMALL.name})
        with started(server), bentoml.SyncHTTPClient(f"http://127.0.0.1:{server.port}") as client:
            predict: Any = client.predict  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
            answers = predict(rows=requests)["predictions"]
        assert len({answer["decision"] for answer in answers}) == 2 and len(answers) == 500
