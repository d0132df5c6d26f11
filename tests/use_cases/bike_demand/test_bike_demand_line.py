"""The use case from its example data to served answers and their outcomes: hours of a zone, a regression, a view for all."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import bentoml
import dagster as dg
import pytest

from mlops_assets.foundation import names
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.spec.gate import BeatsChampion, Floor
from mlops_assets.spec.split import TimeSplit
from mlops_assets.use_cases.bike_demand import USE_CASE
from mlops_assets.use_cases.bike_demand.sample import example
from tests.graph.line import Line, failed_checks, failure, running_line
from tests.integration.running_service import Server, started

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(400)]
FIRST, LAST = date(2011, 3, 7), date(2011, 3, 27)  # clocks were changed on 13 March
DAY = timedelta(days=1)
SMALL = USE_CASE.but(
    last_day=LAST,
    split=TimeSplit(test=4 * DAY, validation=3 * DAY, label_delay=timedelta(hours=2)),
    gates=(Floor(metric="r2", bound=0.4), BeatsChampion(metric="rmse")),
)
REPO = """
from feature_repo.objects import build_objects
from tests.use_cases.bike_demand.test_bike_demand_line import SMALL
globals().update(build_objects(SMALL))
"""


def materialize(line: Line, *paths: names.AssetPath, keys: tuple[str, str] | None = None) -> None:
    bounds = zip(("start", "end"), keys, strict=True) if keys else ()
    tags = {f"dagster/asset_partition_range_{end}": key for end, key in bounds}
    selection = [dg.AssetKey(path) for path in paths]
    result = line.job.execute_in_process(asset_selection=selection, instance=line.instance, tags=tags, raise_on_error=False)
    assert result.success, (failure(result), failed_checks(result))


def test_the_example_has_the_hours_of_the_clock() -> None:
    partitions = [file.partition for file in example(date(2011, 3, 13), date(2011, 3, 13)) if file.table == "rentals"]
    calendar = table_calendar(USE_CASE, "rentals")
    assert [calendar.key(partition)[11:] for partition in partitions] == [f"{hour:02}" for hour in range(24) if hour != 2]


def test_hours_are_landed_trained_on_served_and_watched(tmp_path: Path) -> None:
    calendar, files = table_calendar(USE_CASE, "rentals"), [*example(FIRST, LAST)]
    keys = calendar.key(files[0].partition), calendar.key(files[-1].partition)
    (tmp_path / "feature_repo").mkdir()
    (tmp_path / "feature_repo" / "declared.py").write_text(REPO)
    with running_line(tmp_path, SMALL, tmp_path) as line:
        for file in files:
            line.landing.put(SMALL.name, file.table, day=file.partition, rows=file.rows, calendar=calendar)
        for table in ("conditions", "rentals"):
            materialize(line, *line.stages(table), keys=keys)
        materialize(line, *(part(SMALL.name, "recent_demand") for part in (names.feature, names.online)), keys=keys)
        training = line.definitions.resolve_job_def(names.job(SMALL.name, "training"))
        trained = training.execute_in_process(instance=line.instance, raise_on_error=False)
        assert trained.success, (failure(trained), failed_checks(trained))
        rows = line.rows(names.stage(SMALL.name, "training_set"))
        rentals = [row for file in files if file.table == "rentals" for row in file.rows.to_dicts()]
        demand = {row["starts_at"]: row["bikes"] for row in rentals}
        for row in rows.drop_nulls("demand_before_1h").to_dicts():
            newest = row["starts_at"] - timedelta(hours=2)  # the last hour that has ended when the answer is needed
            assert row["demand_before_1h"] == demand.get(
                newest, row["demand_before_1h"]
            )  # of an hour without a row, that before it

        server = Server(line.environment.home, variables={"MLOPS_USE_CASE": SMALL.name})
        asked = [file.rows.select(SMALL.features.request).to_dicts()[0] for file in files if file.table == "conditions"][-48:]
        with started(server), bentoml.SyncHTTPClient(f"http://127.0.0.1:{server.port}") as client:
            predict: Any = client.predict  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
            answers = predict(rows=[{**row, "starts_at": row["starts_at"].isoformat()} for row in asked])["predictions"]
        assert all(answer["low"] <= answer["prediction"] <= answer["high"] for answer in answers), answers[0]

        materialize(line, *(names.stage(SMALL.name, stage) for stage in ("predictions", "outcomes", *SMALL.monitor_stages)))
        outcomes = line.rows(names.stage(SMALL.name, "outcomes"))
        assert {row["starts_at"]: row["bikes"] for row in outcomes.to_dicts()} == {
            row["starts_at"]: demand[row["starts_at"]] for row in asked
        }
