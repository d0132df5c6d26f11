"""NoPii: personal data that would reach the model or the readable log is found where it comes in."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlops_assets.evaluation.gates.case import Verdict
from mlops_assets.evaluation.judge import judge
from mlops_assets.features.request_features import entity_rows
from mlops_assets.foundation.names import FEATURE_AGE_S
from mlops_assets.serving.log.prediction_log import PredictionLog, answer_columns, log_schema
from mlops_assets.spec.gate import NoPii
from mlops_assets.spec.request_feature import PredictionMoment, TextLength
from mlops_assets.spec.use_case import UseCase
from tests.evaluation.shop import orders, shop


def judged(trial: Any, use_case: UseCase) -> Verdict:
    return judge((NoPii(),), replace(trial().case(), use_case=use_case))[0]


def domain_too(requests: pl.LazyFrame) -> pl.LazyFrame:
    return orders(requests).with_columns(domain=pl.col("email").str.split("@").list.last())


def moment_of(requests: pl.LazyFrame) -> pl.LazyFrame:
    """A prediction moment that identifies the person."""
    return orders(requests).with_columns(
        event_timestamp=pl.col("ordered_at") + pl.duration(microseconds=pl.col("customer").str.len_chars())
    )


def test_features_by_a_tagged_key_pass_and_the_message_names_the_key(trial: Any) -> None:
    verdict = judged(trial, shop(numeric=("spent", "payments", "basket")))
    assert verdict.passed
    assert (verdict.measured, verdict.bound) == (0, 0)
    assert verdict.evidence["inputs"]["spent"] == {
        "values": ["payments.amount", "payments.paid_at"],
        "keys": ["payments.customer"],
    }
    assert verdict.message.startswith(
        "no_pii · none of 3 inputs and no readable column of the log is made from orders.customer, "
    )
    json.dumps(verdict.to_dict(), allow_nan=False)


def test_without_a_tag_there_is_nothing_to_protect(trial: Any) -> None:
    verdict = judged(trial, shop(numeric=("years",), categorical=("provider", "customer"), tags=False))
    assert verdict.passed
    assert verdict.message == "no_pii · no contract tags a column as personal data."


def test_the_flights_pass_with_the_lineage_of_every_input(trial: Any) -> None:
    use_case = trial().case().use_case
    verdict = judged(trial, use_case)
    assert verdict.passed
    assert verdict.evidence["inputs"].keys() == set(use_case.features.inputs)


LETTERS = (PredictionMoment(column="ordered_at"), TextLength(name="letters", column="email"))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"numeric": ("years",)}, "input years is made from customers.age"),
        ({"numeric": (), "categorical": ("provider",)}, "input provider is made from customers.age, customers.email"),
        ({"numeric": (), "categorical": ("who",)}, "input who is made from payments.customer"),
        ({"numeric": (), "categorical": ("home",)}, "input home is made from customers.age, customers.customer"),
        ({"numeric": (), "categorical": ("customer",)}, "input customer is made from orders.customer"),
        ({"numeric": (), "categorical": ("email",)}, "input email is made from orders.email"),
        ({"numeric": (), "categorical": ("domain",), "entity_rows": domain_too}, "input domain is made from orders.email"),
        ({"numeric": ("letters",), "request_features": LETTERS, "entity_rows": None}, "input letters is made from orders.email"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_input_made_from_a_tagged_column_is_named_with_it(trial: Any, inputs: dict[str, Any], message: str) -> None:
    verdict = judged(trial, shop(**inputs))
    assert not verdict.passed
    assert verdict.measured == 1
    assert verdict.message == f"no_pii · {message}. Leave these out, or make them from columns that are not tagged."


def test_a_readable_column_of_the_log_counts_too(trial: Any) -> None:
    verdict = judged(trial, shop(numeric=("basket",), entity_rows=moment_of))
    assert not verdict.passed
    assert "log column event_timestamp is made from orders.customer" in verdict.message


SENT = {
    "number": 7,
    "customer": "C-4711",
    "email": "ada@lovelace.org",
    "basket": 12.5,
    "ordered_at": datetime(2020, 1, 1, tzinfo=UTC),
}


@pytest.mark.parametrize(
    ("use_case", "personal"),
    [(shop(numeric=("basket",)), False), (shop(numeric=("basket",), categorical=("domain",), entity_rows=domain_too), True)],
    ids=["kept apart", "carried by an input"],
)
def test_the_verdict_agrees_with_what_the_log_really_holds(trial: Any, tmp_path: Path, use_case: UseCase, personal: bool) -> None:
    made = entity_rows(use_case.features, pl.LazyFrame([SENT])).collect().to_dicts()[0]
    log = PredictionLog(tmp_path, use_case, secret=b"s" * 32)
    log.append([dict.fromkeys(log.schema) | {name: value for name, value in (SENT | made).items() if name in log.schema}])
    log.flush()
    (written,) = [path.read_text() for path in (tmp_path / "shop").iterdir()]
    assert "C-4711" not in written and "ada@" not in written
    assert ("lovelace.org" in written) is personal
    assert judged(trial, use_case).passed is not personal


def test_every_column_that_the_log_takes_from_a_request_is_looked_at(trial: Any) -> None:
    use_case = shop(numeric=("spent", "basket"), categorical=("country",))
    hidden = {"customer", "email"}
    of_the_answer = {*answer_columns(use_case), "champion_probability", FEATURE_AGE_S} - {"event_timestamp"}
    assert set(judged(trial, use_case).evidence["log"]) == set(log_schema(use_case)) - of_the_answer - hidden
