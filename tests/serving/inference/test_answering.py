"""Requests that are answered together: an error of one does not affect the others."""

import asyncio
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import polars as pl
import pytest

from mlops_assets.features.online.key_value_stores import OnlineStoreDown
from mlops_assets.features.online.online_mirror import LookupResult
from mlops_assets.features.request_features import Columns
from mlops_assets.foundation.home import Environment, Home
from mlops_assets.serving.http.request import BadRequest
from mlops_assets.serving.inference.answering import LookUp, Outcome
from mlops_assets.serving.service import assemble
from mlops_assets.training.feature_code import record_feature_code
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.serving.flights import FLIGHT, MOMENT, place_blessed, temperatures, with_zone


class Unreachable:
    """An online store that is down."""

    def look_up(self, columns: Columns) -> LookupResult:
        raise OnlineStoreDown("online store · gone")


def test_requests_with_features_are_answered_while_the_online_store_is_down(tmp_path: Path):
    home = Home(tmp_path)
    place_blessed(home, 1, bias=-1).point(1, MOMENT.isoformat(), "first")
    environment = Environment("local", Path(), home)
    service = assemble(USE_CASE, environment, Unreachable().look_up)
    service.answering.slots.poll()
    bodies = [{"rows": [FLIGHT]}, {"features": [dict.fromkeys(USE_CASE.features.inputs)]}, {"rows": [FLIGHT]}]
    first, second, third = service.answering.answer_together([service.parse(msgspec.json.encode(body)) for body in bodies])
    assert first is third and isinstance(first, OnlineStoreDown)
    assert isinstance(second, bytes) and len(msgspec.json.decode(second)["predictions"]) == 1


def test_requests_of_one_lookup_fail_alone_unless_the_store_is_down(tmp_path: Path):
    home = Home(tmp_path)
    place_blessed(home, 1, bias=-1).point(1, MOMENT.isoformat(), "first")
    far = FLIGHT | {"sched_dep": "2100-01-01T00:00:00Z"}

    def outcomes(look_up: LookUp) -> Sequence[Outcome]:
        service = assemble(USE_CASE, Environment("local", Path(), home), look_up)
        service.answering.slots.poll()
        requests = [service.parse(msgspec.json.encode({"rows": [row]})) for row in (FLIGHT, far, FLIGHT)]
        return asyncio.run(service.answering.answer_async(requests))  # pyright: ignore[reportArgumentType]

    first, illegal, last = outcomes(temperatures(("EWR", MOMENT, 80.0)).look_up)
    assert isinstance(first, bytes) and isinstance(last, bytes) and isinstance(illegal, BadRequest)
    assert all(isinstance(outcome, OnlineStoreDown) for outcome in outcomes(Unreachable().look_up)[::2])


def test_a_version_serves_on_after_one_of_its_inputs_was_removed_and_every_answer_says_so(tmp_path: Path):
    home = Home(tmp_path)
    place_blessed(home, 1, bias=-1).point(1, MOMENT.isoformat(), "first")
    environment = Environment("local", Path(), home)
    numeric = tuple(name for name in USE_CASE.features.numeric if name != "temp")
    fewer = USE_CASE.but(features=USE_CASE.features.but(numeric=numeric))
    service = assemble(fewer, environment, Unreachable().look_up)
    service.answering.slots.poll()
    assert service.answering.plan()["last_load_error"] is None
    body = {"features": [dict.fromkeys(fewer.features.inputs), dict.fromkeys(fewer.features.inputs) | {"carrier": "ZZ"}]}
    (answer,) = service.answering.answer_together([service.parse(msgspec.json.encode(body))])
    assert isinstance(answer, bytes)
    plain, unseen = msgspec.json.decode(answer)["predictions"]
    assert plain["warnings"] == ["temp is no longer declared; the model treats it as missing"]
    assert (
        unseen["warnings"][0] == plain["warnings"][0]
        and "carrier 'ZZ' is in fewer than 20 training rows" in unseen["warnings"][1]
    )
    assert plain["probability"] == pytest.approx(1 / (1 + math.e))


def test_a_version_serves_on_after_the_code_of_a_feature_has_changed_and_every_answer_says_so(tmp_path: Path):
    home = Home(tmp_path)
    placed = place_blessed(home, 1, bias=-1, training=record_feature_code(USE_CASE))
    placed.point(1, MOMENT.isoformat(), "first")
    body = msgspec.json.encode({"features": [dict.fromkeys(USE_CASE.features.inputs)]})
    for use_case, warnings in (
        (USE_CASE, []),
        (with_zone("UTC"), ["the code of minute_of_day has changed since this version was trained"]),
    ):
        service = assemble(use_case, Environment("local", Path(), home), Unreachable().look_up)
        service.answering.slots.poll()
        (answer,) = service.answering.answer_together([service.parse(body)])
        assert isinstance(answer, bytes)
        assert msgspec.json.decode(answer)["predictions"][0]["warnings"] == warnings


def test_a_version_reads_a_request_column_that_is_no_input_any_more_from_the_request(tmp_path: Path):
    """Of a type that it was trained on; the answers are those before the change."""
    flights = [FLIGHT | {"dest": "ZZZ"}, FLIGHT]
    categorical = tuple(name for name in USE_CASE.features.categorical if name != "dest")
    fewer = USE_CASE.but(features=USE_CASE.features.but(categorical=categorical))
    answers: list[list[tuple[float, list[str]]]] = []
    for use_case in (USE_CASE, fewer):
        home = Home(tmp_path / str(len(answers)))
        place_blessed(home, 1, bias=-1).point(1, MOMENT.isoformat(), "first")
        service = assemble(use_case, Environment("local", Path(), home), temperatures(("EWR", MOMENT, 80.0)).look_up)
        service.answering.slots.poll()
        (answer,) = service.answering.answer_together([service.parse(msgspec.json.encode({"rows": flights}))])
        assert isinstance(answer, bytes), answer
        predictions = msgspec.json.decode(answer)["predictions"]
        answers.append([(one["probability"], one["warnings"]) for one in predictions])
    assert answers[0] == answers[1] and any("dest 'ZZZ' is in fewer than 20 training rows" in text for text in answers[1][0][1])


def test_a_transform_of_the_request_gives_the_answers_that_the_request_features_give(tmp_path: Path):
    """Also of several requests at once, whose moments and entities keep their order."""

    def by_hand(flights: pl.LazyFrame) -> pl.LazyFrame:
        local = pl.col("sched_dep").dt.convert_time_zone("America/New_York")
        minute = local.dt.hour().cast(pl.Float64) * 60 + local.dt.minute()
        moment = pl.col("sched_dep") - pl.duration(hours=2)
        return flights.with_columns(event_timestamp=moment, minute_of_day=minute, weekday=local.dt.strftime("%a"))

    flights = [
        FLIGHT | {"origin": origin, "sched_dep": f"2013-07-0{day}T02:30:00Z"} for day in (2, 3) for origin in ("EWR", "LGA")
    ]
    known = temperatures(("EWR", datetime(2013, 7, 1, tzinfo=UTC), 80.0), ("LGA", datetime(2013, 7, 2, tzinfo=UTC), 60.0))
    transformed = USE_CASE.but(features=USE_CASE.features.but(request_features=(), entity_rows=by_hand))
    answered: list[list[dict[str, object]]] = []
    for folder, use_case in (("words", USE_CASE), ("transform", transformed)):
        home = Home(tmp_path / folder)
        place_blessed(home, 1, bias=-1).point(1, MOMENT.isoformat(), "first")
        service = assemble(use_case, Environment("local", Path(), home), known.look_up)
        service.answering.slots.poll()
        outcomes = service.answering.answer_together([service.parse(msgspec.json.encode({"rows": [row]})) for row in flights])
        assert all(isinstance(outcome, bytes) for outcome in outcomes)
        service.answering.log.flush()
        lines = [json.loads(line) for path in home.prediction_log.rglob("*.jsonl") for line in path.read_text().splitlines()]
        own = ("prediction_id", "answered_at", "latency_ms", "call", "model_ms")
        answered.append([{name: value for name, value in line.items() if name not in own} for line in lines])
    words, transform = answered
    assert words == transform and [line["minute_of_day"] for line in words] == [1350.0] * 4
    assert [line["weekday"] for line in words] == ["Mon", "Mon", "Tue", "Tue"]
