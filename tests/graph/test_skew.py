"""Skew through the real graph: an untouched log has none, tampered and overtaken answers are found, and promotion waits."""

import datetime as dt
import shutil
from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl
import pytest

from mlops_assets.features.feast.feature_store import FeatureStore
from mlops_assets.features.request_features import entity_rows
from mlops_assets.foundation import names
from mlops_assets.foundation.home import PROJECT, Environment, read_environment
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.spec.gate import NoSkew
from mlops_assets.spec.monitor import Skew
from mlops_assets.spec.split import TimeSplit
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.use_cases.flight_delay import USE_CASE
from mlops_assets.use_cases.flight_delay.airline import deliveries, package_folder
from tests.features.feast.lookups import lookup
from tests.graph.conftest import land
from tests.graph.line import Line, failed_checks, failure

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(400)]

FIRST, LAST, DAY = dt.date(2013, 1, 1), dt.date(2013, 1, 4), dt.timedelta(days=1)
ANSWERS = 400
MORNING = dt.datetime(2013, 1, 5, 13, tzinfo=dt.UTC)
LINE = USE_CASE.but(
    trainer=HistGradientBoosting(max_iter=5, min_samples_leaf=20),
    reference=None,
    slices=("origin",),
    split=TimeSplit(test=DAY, validation=DAY),
    gates=(NoSkew(max_mismatch_rate=0.001),),
)
SKEW = names.stage(LINE.name, "skew")
JUDGING = [names.stage(LINE.name, name) for name in ("training_set", "candidate", "evaluation", "blessing")]


def views() -> list[names.AssetPath]:
    return [name(LINE.name, view.name) for view in LINE.features.views for name in (names.feature, names.online)]


def tables() -> list[names.AssetPath]:
    return [name(LINE.name, source.table) for source in LINE.sources for name in (names.raw, names.validated, names.quarantine)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    home = tmp_path_factory.mktemp("home")
    variables = {"MLOPS_ENV": "test", "MLOPS_HOME": str(home), "MLOPS_SERVICE_URL": "http://127.0.0.1:9"}
    return read_environment(variables, PROJECT)


@pytest.fixture(scope="module")
def line(environment: Environment) -> Iterator[Line]:
    """Four days carried to features, offline and online."""
    with dg.DagsterInstance.ephemeral(tempdir=str(environment.home.root)) as instance:
        platform = Line(environment, LINE, instance)
        land(platform, [*deliveries(package_folder(), FIRST, LAST)])
        assert platform.run(*tables(), *views(), first=FIRST, last=LAST).success
        assert platform.ingest("schedule", first=LAST + DAY, last=LAST + DAY).success
        yield platform


@pytest.fixture(scope="module")
def answers(line: Line, environment: Environment) -> pl.DataFrame:
    """What the service would have logged on the last evening, and on the next morning, of which nothing has landed yet."""
    store = FeatureStore(environment.home, service=LINE.features.service)
    flights = line.tables.scan(names.validated(LINE.name, "schedule")).select(*LINE.features.request)
    requests = entity_rows(LINE.features, flights).collect().sort("event_timestamp")
    requests = requests.filter(pl.col("event_timestamp") < MORNING).tail(ANSWERS)
    return lookup(store, requests).with_columns(
        prediction_id=pl.format("p{}", pl.int_range(pl.len())),
        answered_at=pl.lit(dt.datetime.now(dt.UTC)),  # a replay
        trace_id=pl.lit("t1"),
        plan=pl.lit(1),
        arm=pl.lit("champion"),
        model_version=pl.lit(1),
        model_digest=pl.lit("d1"),
        probability=pl.lit(0.2),
        decision=pl.lit(False),
        latency_ms=pl.lit(2.0),
        call=pl.lit(1),
        model_ms=pl.lit(1.0),
        challenger_failed=pl.lit(False),
        champion_probability=pl.lit(None, pl.Float64),
    )


def watch(line: Line, environment: Environment, answered: pl.DataFrame) -> dg.ExecuteInProcessResult:
    """The log holds these answers and no others, and their skew has been computed."""
    for folder in (environment.home.prediction_log, line.tables.path(names.stage(LINE.name, "predictions"))):
        shutil.rmtree(folder, ignore_errors=True)
    log = PredictionLog(environment.home.prediction_log, LINE)
    if len(answered):
        log.append(answered.to_dicts())
    result = line.run(names.stage(LINE.name, "predictions"), SKEW)
    assert result.success, failure(result)
    return result


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    materialized = next(event for event in result.asset_materializations_for_node("flight_delay__skew"))
    return {name: value.value for name, value in materialized.metadata.items()}


def tampered(answers: pl.DataFrame, rows: int, warmer_by: float = 3.0) -> pl.DataFrame:
    """The answers, with another temperature in the first rows."""
    early = pl.int_range(pl.len()) < rows
    return answers.with_columns(temp=pl.when(early).then(pl.col("temp") + warmer_by).otherwise(pl.col("temp")))


def test_an_untouched_log_has_no_mismatch(line: Line, environment: Environment, answers: pl.DataFrame) -> None:
    assert set(answers["features_from"]) == {"online", "point_in_time"}
    result = watch(line, environment, answers)
    values = metadata(result)
    assert failed_checks(result) == {}
    assert (values["rows"], values["mismatch_rate"], values["differing_rows"]) == (ANSWERS, 0.0, 0)
    features = {record.data["feature"]: record.data for record in values["features"].records}
    assert "temp" in features and "route_late_rate_30d" in features
    assert not features.keys() & {"minute_of_day", "weekday", "origin"}, "what the request tells is not compared"
    assert answers["temp"].null_count() < ANSWERS, "the comparison saw values"


def test_tampered_features_are_found_and_shown(line: Line, environment: Environment, answers: pl.DataFrame) -> None:
    result = watch(line, environment, tampered(answers, rows=7))
    values = metadata(result)
    changed = len(answers.head(7).drop_nulls("temp"))
    assert values["differing_rows"] == changed > 0
    assert values["mismatch_rate"] == pytest.approx(changed / ANSWERS)
    worst = values["features"].records[0].data
    assert (worst["feature"], worst["mismatches"], worst["largest_difference"]) == ("temp", changed, 3.0)
    example = values["examples"].records[0].data
    assert example["served"] == pytest.approx(example["recomputed"] + 3.0)
    assert example["prediction_id"] in answers["prediction_id"].head(7).to_list()
    assert "temp" in failed_checks(result)[Skew.CHECK]
    check = next(evaluation for evaluation in result.get_asset_check_evaluations() if evaluation.check_name == Skew.CHECK)
    assert check.severity is dg.AssetCheckSeverity.WARN


def test_online_values_and_predictions_show_the_columns_they_come_from(
    line: Line, environment: Environment, answers: pl.DataFrame
) -> None:
    watch(line, environment, answers)
    parents = {
        "online_origin_weather": ("temp", names.feature(LINE.name, "origin_weather")),
        "predictions": ("probability", names.stage(LINE.name, "prediction_log")),
    }
    for asset, (column, parent) in parents.items():
        event = line.instance.get_latest_materialization_event(dg.AssetKey([LINE.name, asset]))
        lineage: Any = event.asset_materialization.metadata["dagster/column_lineage"].value  # type: ignore[union-attr]
        assert lineage.deps_by_column[column] == [dg.TableColumnDep(dg.AssetKey(parent), column)]


def test_features_that_callers_brought_are_not_compared(line: Line, environment: Environment, answers: pl.DataFrame) -> None:
    brought = tampered(answers, rows=7).with_row_index("place")
    brought = brought.with_columns(features_from=pl.when(pl.col("place") < 7).then(pl.lit("request")).otherwise("features_from"))
    values = metadata(watch(line, environment, brought.drop("place")))
    assert (values["rows"], values["differing_rows"]) == (ANSWERS - 7, 0)


def test_a_difference_in_the_last_digits_is_no_mismatch(line: Line, environment: Environment, answers: pl.DataFrame) -> None:
    values = metadata(watch(line, environment, tampered(answers, rows=ANSWERS, warmer_by=1e-9)))
    assert values["differing_rows"] == 0


def test_without_answers_there_is_nothing_to_report(line: Line, environment: Environment, answers: pl.DataFrame) -> None:
    result = watch(line, environment, answers.clear())
    assert failed_checks(result) == {}
    assert metadata(result)["rows"] == 0


def test_promotion_waits_while_the_features_differ(line: Line, environment: Environment, answers: pl.DataFrame) -> None:
    watch(line, environment, tampered(answers, rows=40))
    refused = line.run(*JUDGING)
    assert "no_skew" in failed_checks(refused), failure(refused)
    assert "temp (10.00%)" in failed_checks(refused)["no_skew"]
    assert not refused.asset_materializations_for_node("flight_delay__blessing")
    watch(line, environment, answers)
    assert line.run(*JUDGING[2:]).success


def test_a_fact_that_came_late_is_skew(line: Line, environment: Environment, answers: pl.DataFrame) -> None:
    """The weather is corrected after these answers were given."""
    delivered = next(delivery.rows for delivery in deliveries(package_folder(), LAST, LAST) if delivery.table == "weather")
    land_weather(line, delivered.with_columns(pl.col("temp") + 5))
    try:
        result = watch(line, environment, answers)
    finally:  # the other tests compare with the weather as it was
        land_weather(line, delivered)
    late = answers.filter(pl.col("event_timestamp").dt.date() == LAST)
    assert metadata(result)["differing_rows"] > len(late) * 0.5
    assert "temp" in failed_checks(result)[Skew.CHECK]


def land_weather(line: Line, rows: pl.DataFrame) -> None:
    line.landing.put(LINE.name, "weather", day=LAST, rows=rows)
    ingested = [name(LINE.name, "weather") for name in (names.raw, names.validated, names.quarantine)]
    features = [name(LINE.name, "origin_weather") for name in (names.feature, names.online)]
    assert line.run(*ingested, *features, first=LAST, last=LAST).success
