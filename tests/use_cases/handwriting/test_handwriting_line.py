"""The use case from its example data to served answers: ten classes, a category as label, a forest."""

from datetime import date
from pathlib import Path
from typing import Any

import bentoml
import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.use_cases.handwriting import USE_CASE
from mlops_assets.use_cases.handwriting.sample import example
from tests.graph.line import failed_checks, failure, running_line
from tests.integration.running_service import Server, started

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(300)]


def test_it_is_trained_judged_served_and_watched(tmp_path: Path) -> None:
    (file,) = example(date.min, date.min)
    with running_line(tmp_path, USE_CASE) as line:
        line.landing.put(USE_CASE.name, "images", day=file.partition, rows=file.rows, calendar=table_calendar(USE_CASE, "images"))
        stages = [dg.AssetKey(path) for path in line.stages("images")]
        assert line.job.execute_in_process(asset_selection=stages, instance=line.instance).success
        training = line.definitions.resolve_job_def(names.job(USE_CASE.name, "training"))
        trained = training.execute_in_process(instance=line.instance, raise_on_error=False)
        assert trained.success, (failure(trained), failed_checks(trained))

        server = Server(line.environment.home, variables={"MLOPS_USE_CASE": USE_CASE.name})
        with started(server), bentoml.SyncHTTPClient(f"http://127.0.0.1:{server.port}") as client:
            predict: Any = client.predict  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
            answers = predict(rows=file.rows.select(USE_CASE.features.request).to_dicts())["predictions"]
        right = [answer["decision"] == digit for answer, digit in zip(answers, file.rows["digit"], strict=True)]
        assert sum(right) > 0.95 * len(right), answers[0]

        watched = [names.stage(USE_CASE.name, stage) for stage in ("predictions", "outcomes", *USE_CASE.monitor_stages)]
        keys = [dg.AssetKey(path) for path in watched]
        result = line.job.execute_in_process(asset_selection=keys, instance=line.instance, raise_on_error=False)
        assert result.success and failed_checks(result) == {}, failure(result)
        assert len(line.rows(names.stage(USE_CASE.name, "outcomes"))) == 1797
