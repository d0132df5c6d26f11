"""Every prediction of the real service is reproduced; whatever was altered since is reported."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import Result
from deltalake import DeltaTable

from mlops_assets.cli.provenance import replay_page
from mlops_assets.foundation import names
from mlops_assets.foundation.home import Home, read_environment
from mlops_assets.foundation.terminal import as_text
from mlops_assets.provenance.replay import Replayed, replay
from mlops_assets.resources import build_resources
from mlops_assets.serving.log.prediction_log import AlteredLine, PredictionLog
from mlops_assets.spec.request_feature import TextLength
from mlops_assets.spec.use_case import UseCase
from tests.integration.small_line import SMALL
from tests.provenance.conftest import TREES, Line

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(400)]

Alter = Callable[[Path, bytes, bytes], None]


@pytest.fixture
def again(line: Line, run: Any) -> Callable[..., Replayed]:
    """Replays a prediction; `run` has set the environment."""

    def replayed(
        prediction: dict[str, Any], use_case: UseCase = SMALL, row: pl.DataFrame | None = None, home: Path | None = None
    ) -> Replayed:
        environment = read_environment(os.environ)
        features = build_resources(replace(environment, home=Home(home)) if home else environment)["feature_store"]
        return replay(
            use_case, line.log.find(prediction["prediction_id"]) if row is None else row, line.stores(open_features=features.open)
        )

    return replayed


def logged(line: Line, prediction: dict[str, Any]) -> dict[str, Any]:
    """The logged row of a prediction, read without the code under test."""
    rows = map(json.loads, line.segment.read_text().splitlines())
    return next(row for row in rows if row["prediction_id"] == prediction["prediction_id"])


def logged_value(line: Line, prediction: dict[str, Any], name: str) -> bytes:
    return json.dumps(logged(line, prediction)[name]).encode()


@pytest.mark.parametrize("place", range(4))
def test_every_prediction_is_reproduced(line: Line, answered: list[dict[str, Any]], again: Callable[..., Replayed], place: int):
    result = again(answered[place])
    assert result.again == pytest.approx(answered[place]["probability"], abs=1e-7)
    assert result.is_same and result.objections == ()
    if answered[place]["features_from"] == "request":
        assert result.recomputed is None
        assert "sent by the caller" in as_text(*replay_page(result))
    else:
        assert result.recomputed is not None and result.recomputed.compared == len(SMALL.features.inputs)
        assert result.recomputed.output == pytest.approx(answered[place]["probability"], abs=1e-5)
        assert f"all {len(SMALL.features.inputs)} compared are the same as served" in as_text(*replay_page(result))


def test_the_predictions_cover_every_source_of_features(answered: list[dict[str, Any]]):
    assert {prediction["features_from"] for prediction in answered} == {"online", "point_in_time", "request"}


def test_an_altered_probability_is_reported(
    line: Line, answered: list[dict[str, Any]], altered: Alter, run: Callable[..., Result]
):
    prediction = answered[0]
    assert run("replay", prediction["prediction_id"]).exit_code == 0
    probability = logged_value(line, prediction, "probability")
    altered(line.segment, b'"probability":' + probability, b'"probability":0.987654')
    result = run("replay", prediction["prediction_id"])
    assert result.exit_code == 1
    version = f"version {TREES} computes {prediction['probability']:.6f} (tolerance 1e-05)"
    assert f"DIFFERENT ANSWER: the log has 0.987654, {version}" in result.output


def test_an_altered_feature_differs_from_the_feature_tables(
    line: Line, answered: list[dict[str, Any]], altered: Alter, again: Callable[..., Replayed]
):
    temperature = logged_value(line, answered[0], "temp")
    altered(line.segment, b'"temp":' + temperature, b'"temp":-39.5')
    result = again(answered[0])
    assert result.recomputed is not None and not result.is_same
    (wrong,) = result.recomputed.differing
    assert (wrong.feature, wrong.examples[0]["served"], wrong.examples[0]["recomputed"]) == ("temp", -39.5, float(temperature))
    assert result.recomputed.output == pytest.approx(answered[0]["probability"], abs=1e-5), "the tables have the true value"
    assert re.search(rf"^temp +-39\.5 +{float(temperature):.7g}$", as_text(*replay_page(result)), re.MULTILINE)


def test_features_that_changed_since_are_named_next_to_the_same_answer(
    line: Line, answered: list[dict[str, Any]], again: Callable[..., Replayed]
):
    table = DeltaTable(str(line.tables.path(names.feature(SMALL.name, "origin_weather"))))
    before, rows = table.version(), pl.read_delta(table)
    try:
        colder = rows.with_columns(temp=pl.col("temp") - 30)
        colder.write_delta(str(table.table_uri), mode="overwrite", delta_write_options={"partition_by": "day"})
        result = again(answered[0])
    finally:
        table.update_incremental()
        table.restore(before)
    assert result.same_answer and not result.is_same and result.recomputed is not None
    (wrong,) = result.recomputed.differing
    assert wrong.feature == "temp"
    assert wrong.examples[0]["served"] - wrong.examples[0]["recomputed"] == pytest.approx(30)
    assert "same answer from the logged inputs, BUT" in as_text(*replay_page(result))
    assert again(answered[0]).is_same


def test_a_model_with_one_altered_byte_is_not_run(
    line: Line, answered: list[dict[str, Any]], altered: Alter, run: Callable[..., Result]
):
    (placed,) = (path for path in line.home.deployments.rglob("*.onnx") if path.parent.name == str(TREES))
    altered(placed, b"trees", b"treez")
    result = run("replay", answered[0]["prediction_id"])
    assert result.exit_code == 1
    assert "NOT REPLAYED" in result.output and "the model is not run: flight_delay · the model's digest is" in result.output


def test_another_digest_in_the_log_is_an_objection(
    line: Line, answered: list[dict[str, Any]], altered: Alter, again: Callable[..., Replayed]
):
    digest = logged_value(line, answered[0], "model_digest")
    altered(line.segment, digest, b'"' + b"0" * 64 + b'"')
    assert again(answered[0]).again is None
    assert "version 1 has the digest" in again(answered[0]).objections[0]


def test_a_version_that_is_not_deployed_is_an_objection(
    line: Line, answered: list[dict[str, Any]], altered: Alter, again: Callable[..., Replayed]
):
    altered(line.segment, b'"model_version":1', b'"model_version":7')
    (why,) = again(answered[0]).objections
    assert "version 7 is not placed; placed: 1" in why


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b'"probability":', b'"probability":x', "its line cannot be read"),
        (b'"model_version":1,', b"", "its line lacks model_version"),
    ],
)
def test_a_broken_line_is_reported_in_one_line(
    line: Line, answered: list[dict[str, Any]], altered: Alter, run: Callable[..., Result], old: bytes, new: bytes, problem: str
):
    altered(line.segment, old, new)  # of the first line, which is the first answer
    with pytest.raises(AlteredLine, match=problem):
        line.log.find(answered[0]["prediction_id"])
    result = run("replay", answered[0]["prediction_id"])
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
    assert problem in result.output


def test_another_threshold_since_then_is_an_objection(answered: list[dict[str, Any]], again: Callable[..., Replayed]):
    probability, decided = answered[0]["probability"], answered[0]["decision"]
    other = probability * 1.01 if decided else probability * 0.99
    result = again(answered[0], SMALL.but(task=SMALL.task.but(threshold=other)))
    assert result.same_answer and not result.is_same
    then, now = ("yes", "no") if decided else ("no", "yes")
    assert (
        f"decision {then}; as declared today it is" in result.objections[0]
        and f"decision {now}: the task has changed" in result.objections[0]
    )


def hiding(**how: str) -> UseCase:
    """The line with columns of its requests tagged as personal data."""
    schedule = SMALL.contract("schedule")
    columns = tuple(column.but(pii=how.get(column.name)) for column in schedule.columns)
    contracts = tuple(table.but(columns=columns) if table is schedule else table for table in SMALL.contracts)
    return SMALL.but(
        contracts=contracts,
        task=SMALL.task.but(label=SMALL.label.but(key=tuple(key for key in SMALL.label.key if key not in how))),
    )


def logged_as(use_case: UseCase, folder: Path, line: Line, prediction: dict[str, Any]) -> pl.DataFrame:
    log = PredictionLog(folder, use_case, secret=b"salt")
    log.append(line.log.find(prediction["prediction_id"]).to_dicts())
    return log.find(prediction["prediction_id"])


def test_features_that_depend_on_hidden_data_are_left_out_and_named(
    line: Line, answered: list[dict[str, Any]], again: Callable[..., Replayed], tmp_path: Path
):
    private = hiding(tailnum="hashed")
    row = logged_as(private, tmp_path, line, answered[0])
    assert row["tailnum"][0] != logged(line, answered[0])["tailnum"]
    result = again(answered[0], private, row)
    assert result.is_same and result.recomputed is not None
    assert set(result.recomputed.left_out) == {"tail_last_arr_delay", "seats", "built"}
    assert result.recomputed.compared == len(SMALL.features.inputs) - 3
    assert result.recomputed.output is None, "without all inputs there is no output to compare"
    assert "not compared, as the log hides or lacks their source: " in as_text(*replay_page(result))


def test_a_request_feature_of_hidden_data_is_left_out_too(
    line: Line, answered: list[dict[str, Any]], again: Callable[..., Replayed], tmp_path: Path
):
    private, features = hiding(tailnum="hashed"), SMALL.features
    row = logged_as(private, tmp_path, line, answered[0]).with_columns(tail_letters=pl.lit(6.0))
    letters = TextLength(name="tail_letters", column="tailnum")
    request_features, numeric = (*features.request_features, letters), (*features.numeric, letters.name)
    private = private.but(features=features.but(request_features=request_features, numeric=numeric))
    recomputed = again(answered[0], private, row).recomputed
    assert recomputed is not None and recomputed.differing == ()
    assert set(recomputed.left_out) == {"tail_letters", "tail_last_arr_delay", "seats", "built"}


@pytest.mark.parametrize("how", ["hashed", "left_out"])
def test_a_model_that_reads_hidden_data_cannot_be_replayed(
    line: Line, answered: list[dict[str, Any]], again: Callable[..., Replayed], tmp_path: Path, how: str
):
    private = hiding(dest=how)
    result = again(answered[0], private, logged_as(private, tmp_path, line, answered[0]))
    assert result.again is None and not result.is_same
    assert result.objections == ("the model reads dest, which the log hides as personal data",)


def renamed(old: str, new: str) -> UseCase:
    numeric = tuple(new if name == old else name for name in SMALL.features.numeric)
    return SMALL.but(features=SMALL.features.but(numeric=numeric))


def test_an_input_that_was_renamed_since_is_read_from_the_line(
    line: Line, answered: list[dict[str, Any]], again: Callable[..., Replayed]
):
    later = renamed("temp", "temperature")
    row = PredictionLog(line.home.prediction_log, later).find(answered[0]["prediction_id"])
    assert row["temp"][0] == logged(line, answered[0])["temp"] and "temperature" not in row.columns
    result = again(answered[0], later, row)
    assert result.is_same and result.recomputed is not None
    assert (result.recomputed.left_out, result.recomputed.compared) == (("temperature",), len(SMALL.features.inputs) - 1)
    assert "not compared, as the log hides or lacks their source: temperature" in as_text(*replay_page(result))


def test_an_input_that_the_line_lacks_is_named_where_the_answer_differs(
    line: Line, answered: list[dict[str, Any]], altered: Alter, run: Callable[..., Result]
):
    prediction = answered[0]["prediction_id"]
    for name in ("temp", "dewp"):
        altered(line.segment, f'"{name}":'.encode() + logged_value(line, answered[0], name) + b",", b"")
    result = run("replay", prediction)
    assert (result.exit_code, "objection" in result.output) == (0, False), "this answer does not depend on them"
    altered(line.segment, b'"probability":' + logged_value(line, answered[0], "probability"), b'"probability":0.987654')
    result = run("replay", prediction)
    assert result.exit_code == 1 and "DIFFERENT ANSWER" in result.output
    objection = f"objection: the log has no temp, dewp of this answer, which version {TREES} reads; replayed as missing."
    assert objection in " ".join(result.output.split())
    assert f"all {len(SMALL.features.inputs) - 2} compared are the same" in result.output


def test_a_request_column_that_was_added_since_leaves_its_features_out(
    line: Line, answered: list[dict[str, Any]], altered: Alter, again: Callable[..., Replayed]
):
    altered(line.segment, b'"tailnum":' + logged_value(line, answered[0], "tailnum") + b",", b"")
    result = again(answered[0])
    assert result.same_answer and not result.objections and result.recomputed is not None
    assert set(result.recomputed.left_out) == {"tail_last_arr_delay", "seats", "built"}


def test_feature_tables_that_are_gone_are_an_objection(
    answered: list[dict[str, Any]], again: Callable[..., Replayed], tmp_path: Path
):
    result = again(answered[0], home=tmp_path)
    assert result.same_answer and not result.is_same and result.recomputed is None
    assert result.objections[0].startswith("its features cannot be recomputed: ")
