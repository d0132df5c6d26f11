"""One id explains a prediction: page and JSON agree with log, ledger, blessing and tables, and show no hidden value."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from mlops_assets.cli.provenance import why_json, why_page
from mlops_assets.foundation import names
from mlops_assets.foundation.terminal import as_text
from mlops_assets.promotion.blessing import Blessing
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.provenance.why import Why, why
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.digest import digest
from tests.integration.small_line import SMALL
from tests.provenance.conftest import NETWORK, PERSON, TREES, Line
from tests.serving.flights import blessed, unnumbered

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(400)]

Alter = Callable[[Path, bytes, bytes], None]


def explained(line: Line, prediction: dict[str, Any], use_case: UseCase = SMALL, log: PredictionLog | None = None) -> Why:
    return why(use_case, prediction["prediction_id"], line.stores(log=log or line.log))


@pytest.fixture(scope="module")
def page(line: Line, answered: list[dict[str, Any]]) -> str:
    return as_text(*why_page(explained(line, answered[0])))


def raw(line: Line, prediction: dict[str, Any]) -> dict[str, Any]:
    """The logged row of a prediction, read without the code under test."""
    rows = map(json.loads, line.segment.read_text().splitlines())
    return next(row for row in rows if row["prediction_id"] == prediction["prediction_id"])


def test_the_page_shows_request_and_answer(line: Line, answered: list[dict[str, Any]], page: str):
    row = raw(line, answered[0])
    assert page.splitlines()[0] == f"flight_delay: {SMALL.question}"
    assert re.search(
        rf"^prediction +{row['probability']:.6g}, decision {'yes' if row['decision'] else 'no'}$", page, re.MULTILINE
    )
    assert re.search(
        rf"^model +champion, version {TREES}, plan {row['plan']} \(promotion by the rollout, 2013-01-05", page, re.MULTILINE
    )
    assert row["trace_id"] in page and row["prediction_id"] in page
    assert re.search(rf"^flight +{row['flight']}$", page, re.MULTILINE) and re.search(
        rf"^tailnum +{row['tailnum']}$", page, re.MULTILINE
    )


@pytest.mark.parametrize("place", range(4))
def test_every_input_is_in_exactly_one_view_with_its_logged_value_and_age(line: Line, answered: list[dict[str, Any]], place: int):
    row, result = raw(line, answered[place]), explained(line, answered[place])
    values = [pair for view in result.views for pair in view["values"].items()]
    assert sorted(name for name, _ in values) == sorted(SMALL.features.inputs)
    assert all(value == row[name] for name, value in values)
    ages = row["feature_age_s"] or {}
    assert {view["view"]: view["age_s"] for view in result.views if view["view"]} == {
        view.name: ages.get(view.name) for view in SMALL.features.views
    }
    weather = {view["view"]: view for view in result.views}["origin_weather"]
    assert {"temp", "visib"} <= set(weather["values"])
    own = {view["view"]: view for view in result.views}[None]
    assert {"minute_of_day", "weekday", "carrier"} <= set(own["values"])


def test_the_page_shows_model_gates_approval_and_promotion(line: Line, page: str):
    onnx = line.registry.load(names.registered_model(SMALL.name), TREES)
    key = line.keys.private().public_key()
    assert digest(onnx) in page
    assert re.search(r"^blessed +2013-01-05 12:00:00 UTC by key [0-9a-f]{16}; signature and digest verified$", page, re.MULTILINE)
    assert key is not None
    assert re.search(r"^floor_auc +passed +0\.7123 +0\.69 to 0\.73 +0\.5$", page, re.MULTILINE)
    assert re.search(r"^beats_champion_auc +passed, not enough data +nothing to measure +0\.95$", page, re.MULTILINE)
    assert re.search(r"^ +1 +2013-01-05 12:00:00 UTC +blessing +1 +the gates$", page, re.MULTILINE)
    assert re.search(rf"^ +2 +.* approval +1 +{PERSON} +the winter is short$", page, re.MULTILINE)
    assert re.search(r"^ +3 +.* promotion +1 +the rollout +blessed$", page, re.MULTILINE)


def test_the_page_shows_data_and_code(line: Line, page: str):
    rows = line.training_set()
    train = rows.filter(split="train")["event_timestamp"]
    text = " ".join(page.split())
    assert f"window {train.min()} to {train.max()}, of {len(rows)} rows with those of validation and test" in text
    assert "tables training_set 0 · validated.weather 0" in text
    assert f"candidate {SMALL.fingerprint('candidate')}" in text
    assert "train_boosting " in text and "scikit-learn " in text and "python 3.11" in text
    assert "max_iter 5 · learning_rate 0.04 · " in text


def test_the_page_fits_on_one_screen(page: str):
    assert len(page.splitlines()) <= 70


def test_the_json_contains_everything(line: Line, answered: list[dict[str, Any]], run: Callable[..., Result]):
    result = run("why", answered[0]["prediction_id"], "--json")
    assert result.exit_code == 0, result.output
    result, row = json.loads(result.stdout), raw(line, answered[0])
    assert result["answer"]["probability"] == row["probability"]
    assert result["answer"]["model_digest"] == row["model_digest"] == result["blessing"]["model_digest"]
    assert {name: value for view in result["views"] for name, value in view["values"].items()} == {
        name: row[name] for name in SMALL.features.inputs
    }
    assert [(record["number"], record["kind"]) for record in result["records"]] == [
        (1, "blessing"),
        (2, "approval"),
        (3, "promotion"),
    ]
    assert result["plan"]["number"] == row["plan"] == 3
    assert result["blessing"]["training"]["table.training_set"] == "0"


def test_an_unknown_id_is_reported_with_the_searched_log(line: Line, answered: list[dict[str, Any]], run: Callable[..., Result]):
    result = run("why", "nobody")
    assert result.exit_code == 1 and answered
    assert f"{line.home.prediction_log / SMALL.name} · no answer 'nobody' in its 1 segment (0.0 MB)." in result.output
    other = run("why", answered[0]["prediction_id"], "--use-case", "churn")
    assert other.exit_code == 2 and "is not declared; declared: " in " ".join(other.output.split())


def test_the_use_case_that_logged_the_answer_is_chosen_among_several(
    line: Line, answered: list[dict[str, Any]], run: Callable[..., Result]
):
    other = line.home.deployments / "tumor"
    other.mkdir()
    try:
        known, unknown = run("why", answered[0]["prediction_id"], "--json"), run("replay", "nobody")
    finally:
        other.rmdir()
    assert json.loads(known.stdout)["use_case"] == SMALL.name
    assert unknown.exit_code == 1 and "none of flight_delay, tumor has logged this answer" in " ".join(unknown.output.split())


def test_columns_that_the_log_hides_stay_hidden(line: Line, answered: list[dict[str, Any]], tmp_path: Path):
    schedule, hide = SMALL.contract("schedule"), {"tailnum": "hashed", "sched_dep": "left_out"}
    columns = tuple(column.but(pii=hide.get(column.name)) for column in schedule.columns)
    contracts = tuple(table.but(columns=columns) if table is schedule else table for table in SMALL.contracts)
    label = SMALL.label.but(key=("carrier", "flight", "origin"))
    private = SMALL.but(contracts=contracts, task=SMALL.task.but(label=label))
    log = PredictionLog(tmp_path, private, secret=b"salt")
    log.append(line.log.find(answered[0]["prediction_id"]).to_dicts())
    result, tailnum = explained(line, answered[0], private, log), raw(line, answered[0])["tailnum"]
    text = as_text(*why_page(result))
    assert tailnum not in text + why_json(result)
    assert f"hashed: {log.find(answered[0]['prediction_id'])['tailnum'][0][:12]}…" in text
    assert re.search(r"^sched_dep +left out of the log$", text, re.MULTILINE)


def test_a_model_other_than_the_one_that_served_is_not_verified(line: Line, answered: list[dict[str, Any]], altered: Alter):
    (placed,) = (path for path in line.home.deployments.rglob("*.onnx") if path.parent.name == str(TREES))
    altered(placed, b"trees", b"treez")
    result = explained(line, answered[0])
    assert result.blessing is None and "the file is not the blessed one" in str(result.objection)
    text = as_text(*why_page(result))
    assert "NOT VERIFIED" in text and "signature and digest verified" not in text
    assert re.search(r"^ +3 .* promotion ", text, re.MULTILINE), "the ledger is shown all the same"


@pytest.mark.parametrize("as_signed", [lambda signed, _keys: signed, unnumbered], ids=["numbered", "of an earlier release"])
def test_another_version_that_was_served_under_this_number_is_not_verified(
    line: Line, answered: list[dict[str, Any]], altered: Alter, as_signed: Callable[[Blessing, SigningKeys], Blessing]
):
    onnx = line.registry.load(names.registered_model(SMALL.name), NETWORK)
    text = as_signed(blessed(NETWORK, onnx, line.keys, use_case=SMALL.name), line.keys).to_json().encode()
    (folder,) = (path.parent for path in line.home.deployments.rglob("*.onnx") if path.parent.name == str(TREES))
    for name, content in {"model.onnx": onnx, "blessing.json": text}.items():
        altered(folder / name, (folder / name).read_bytes(), content)
    altered(line.segment, raw(line, answered[0])["model_digest"].encode(), digest(onnx).encode())
    result = explained(line, answered[0])
    assert result.blessing is None and str(result.objection).endswith(f"Restore the files of version {TREES}.")


def test_a_plan_that_is_not_in_the_ledger_is_reported(line: Line, answered: list[dict[str, Any]], altered: Alter):
    altered(line.segment, b'"plan":3', b'"plan":9')
    assert "plan 9 (not in the ledger)" in as_text(*why_page(explained(line, answered[0])))
