"""Every use case of this package in small, from its example data over training and promotion to served answers and their outcomes."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import dagster as dg
import polars as pl
import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from mlops_assets.foundation import names
from mlops_assets.foundation.calendars import WHOLE_TABLE
from mlops_assets.foundation.delivery import Delivery
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.http.app import ApiApp
from mlops_assets.serving.service import open_service
from mlops_assets.serving.services import Services
from mlops_assets.spec.form import Parquet
from mlops_assets.spec.gate import BeatsChampion, Floor
from mlops_assets.spec.split import TimeSplit
from mlops_assets.spec.training import HistGradientBoosting, SklearnEstimator
from mlops_assets.spec.use_case import UseCase
from mlops_assets.tasks import task_of
from mlops_assets.use_cases import USE_CASES
from mlops_assets.use_cases.bike_demand import USE_CASE as BIKE_DEMAND
from mlops_assets.use_cases.flight_delay import USE_CASE as FLIGHT_DELAY
from mlops_assets.use_cases.handwriting import USE_CASE as HANDWRITING
from mlops_assets.use_cases.loan_default import USE_CASE as LOAN_DEFAULT
from mlops_assets.use_cases.tumor import USE_CASE as TUMOR
from tests.graph.line import Line, failed_checks, failure, running_line, variables

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)
TREES = HistGradientBoosting(max_iter=30, min_samples_leaf=10)
AT_MOST = 200  # rows of a request


def every_lag_is_of_the_newest_hour_that_has_ended(line: Line, files: list[Delivery]) -> None:
    rentals = [row for file in files if file.table == "rentals" for row in file.rows.to_dicts()]
    demand = {row["starts_at"]: row["bikes"] for row in rentals}
    rows = line.rows(names.stage(line.use_case.name, "training_set")).drop_nulls("demand_before_1h").to_dicts()
    # The prediction is made an hour ahead. An hour without rentals has no row; the one before it is used.
    known = [(row["demand_before_1h"], demand[end]) for row in rows if (end := row["starts_at"] - timedelta(hours=2)) in demand]
    assert len(known) > 0.9 * len(rows) and all(lag == bikes for lag, bikes in known)


@dataclass(frozen=True)
class Small:
    use_case: UseCase
    first: date = date.min
    last: date = date.min
    check_training_set: Callable[[Line, list[Delivery]], None] = lambda _line, _files: None

    def __str__(self) -> str:
        return f"{self.use_case.name} from {self.use_case.sources[0].form.SUFFIX[1:]}"


SMALL_DEMAND = BIKE_DEMAND.but(
    trainer=TREES,
    split=TimeSplit(test=DAY, validation=DAY, label_delay=timedelta(hours=2)),
    gates=(Floor(metric="r2", bound=-1), BeatsChampion(metric="rmse")),
)
CASES = [
    Small(
        SMALL_DEMAND,
        first=date(2011, 3, 11),
        last=date(2011, 3, 14),  # clocks were changed on 13 March
        check_training_set=every_lag_is_of_the_newest_hour_that_has_ended,
    ),
    Small(
        SMALL_DEMAND.but(sources=tuple(source.but(form=Parquet()) for source in SMALL_DEMAND.sources)),
        first=date(2011, 11, 4),
        last=date(2011, 11, 7),  # clocks were changed on 6 November
        check_training_set=every_lag_is_of_the_newest_hour_that_has_ended,
    ),
    Small(
        FLIGHT_DELAY.but(
            trainer=TREES,
            reference=None,
            slices=("origin",),
            split=TimeSplit(test=DAY, validation=DAY),
            gates=(Floor(metric="auc", bound=0.5),),
        ),
        first=date(2013, 1, 1),
        last=date(2013, 1, 4),
    ),
    Small(
        HANDWRITING.but(
            trainer=SklearnEstimator(estimator="sklearn.ensemble:RandomForestClassifier", arguments={"n_estimators": 30})
        )
    ),
    Small(
        LOAN_DEFAULT.but(split=TimeSplit(test=14 * DAY, validation=14 * DAY, label_delay=60 * DAY)),
        first=date(2018, 1, 1),
        last=date(2018, 8, 26),
    ),
    Small(TUMOR),
]


def materialize(line: Line, paths: Iterable[names.AssetPath], partitions: Iterable[str] = ()) -> None:
    """In one run, over all partitions from the first to the last of these."""
    keys = sorted(partitions)
    bounds = (("start", keys[0]), ("end", keys[-1])) if keys else ()
    tags = {f"dagster/asset_partition_range_{end}": key for end, key in bounds}
    selection = [dg.AssetKey(path) for path in paths]
    result = line.job.execute_in_process(asset_selection=selection, instance=line.instance, tags=tags, raise_on_error=False)
    assert result.success and failed_checks(result) == {}, (failure(result), failed_checks(result))


def put(line: Line, file: Delivery) -> None:
    """As a file of the declared form."""
    name, calendar = line.use_case.name, table_calendar(line.use_case, file.table)
    landing = line.landing.of(line.use_case.source(file.table).form)
    if not isinstance(landing.form, Parquet):
        landing.put(name, file.table, day=file.partition, rows=file.rows, calendar=calendar)
        return
    path = landing.path(name, file.table, file.partition, calendar)
    path.parent.mkdir(parents=True, exist_ok=True)
    file.rows.write_parquet(path)


def ingest(line: Line, files: list[Delivery]) -> None:
    """Each table, over the partitions that were delivered, with the views that are made of it."""
    name, partitions = line.use_case.name, defaultdict[str, set[str]](set)
    for file in files:
        calendar = table_calendar(line.use_case, file.table)
        put(line, file)
        partitions[file.table] |= {calendar.key(file.partition)} if file.partition != WHOLE_TABLE else set()
    for table, keys in partitions.items():
        views = [view.name for view in line.use_case.features.views if table in view.tables]
        features = [path(name, view) for view in views for path in (names.feature, names.online)]
        materialize(line, [*line.stages(table), *features], keys)


def train(line: Line) -> Promotions:
    job = line.definitions.resolve_job_def(names.job(line.use_case.name, "training"))
    result = job.execute_in_process(instance=line.instance, raise_on_error=False)
    assert result.success, (failure(result), failed_checks(result))
    home, ledger = line.environment.home, Ledger(line.environment.ledger_url)
    return Promotions(line.use_case, ledger, Deployment(home.deployments, line.use_case.name), SigningKeys(home.keys))


def approve(promotions: Promotions) -> None:
    assert promotions.state().plan is None, "a use case of high risk waits for a person"
    now = datetime.now(UTC)
    promotions.approve(1, why="its evaluation was read", by="ana", at=now)
    promotions.promote(1, reason="approved", by="ana", at=now)


def predict(line: Line, rows: pl.DataFrame) -> list[dict[str, Any]]:
    texts = rows.with_columns(pl.col(pl.Datetime).dt.to_string("iso:strict"))
    service = open_service(variables(line.home), line.use_case)
    service.start()
    client = TestClient(ApiApp(PlainTextResponse("Bento's"), lambda: Services([service])))  # type: ignore[arg-type,return-value]
    reply: Any = client.post("/predict", json={"rows": texts.select(line.use_case.features.request).to_dicts()})
    service.stop()
    assert reply.status_code == 200, reply.text
    return reply.json()["predictions"]


@pytest.mark.parametrize("small", CASES, ids=str)
def test_a_use_case_goes_from_its_example_to_served_answers_and_their_outcomes(small: Small, tmp_path: Path) -> None:
    use_case = small.use_case
    files: list[Delivery] = [*resolve_name(use_case.example)(small.first, small.last)]
    with running_line(tmp_path, use_case) as line:
        ingest(line, files)
        promotions = train(line)
        if use_case.risk == "high":
            approve(promotions)
        plan = promotions.state().plan
        assert plan and plan.champion == 1
        small.check_training_set(line, files)

        training_set = line.rows(names.stage(use_case.name, "training_set"))
        requests = line.rows(names.validated(use_case.name, use_case.features.request_table))
        sent = requests.join(training_set, on=use_case.label.key, how="semi").head(AT_MOST)
        answers = predict(line, sent)
        assert {answer["model_version"] for answer in answers} == {1} and len(answers) == len(sent) > 50

        materialize(line, [names.stage(use_case.name, stage) for stage in ("predictions", "outcomes", *use_case.monitor_stages)])
        outcomes, task = line.rows(names.stage(use_case.name, "outcomes")), task_of(use_case.task)
        truths = training_set.select(*use_case.label.key, task.name)
        assert (
            outcomes.select(truths.columns)
            .sort(truths.columns)
            .equals(truths.join(sent, on=use_case.label.key, how="semi").sort(truths.columns))
        )
        floor = next(gate for gate in use_case.gates if isinstance(gate, Floor))
        measured = task.sample(task.truth(outcomes[task.name]), task.logged(outcomes)).measure([floor.metric])
        assert measured[floor.metric] >= floor.bound


def test_every_shipped_use_case_is_tried() -> None:
    assert {small.use_case.name for small in CASES} == {use_case.name for use_case in USE_CASES}
