"""A view whose values hold for every request, next to one by customer: in the training set, online, pushed and looked back."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from mlops_assets.foundation import names
from mlops_assets.spec.split import RandomSplit
from tests.cli.loans import LOANS, MARKET, VIEW
from tests.graph.line import environment_of
from tests.graph.loan_line import LoanLine, moment

pytestmark = pytest.mark.integration

MARKET_REPO = """
from feature_repo.objects import build_objects
from tests.graph.test_views_without_entities import USE_CASE
globals().update(build_objects(USE_CASE))
"""


USE_CASE = LOANS.but(features=LOANS.features.but(views=(VIEW, MARKET), numeric=("amount", "last_paid", "all_paid")))


@pytest.fixture
def line(tmp_path: Path) -> Iterator[LoanLine]:
    """Four days of loans, in the feature tables and online."""
    environment = environment_of(tmp_path, {"loans": MARKET_REPO})
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        line = LoanLine(environment, USE_CASE, instance)
        line.land_sound(0, 1, 2, 3)
        assert line.ingest("applications", 0, 3).success and line.ingest("payments", 0, 3).success
        for view in ("last_payment", "market"):
            assert line.run(names.feature("loans", view), names.online("loans", view), first=0, last=3).success
        yield line


def test_a_training_row_has_the_newest_value_before_its_moment(line: LoanLine) -> None:
    rows = line.training_set()
    # The last of a day's three payments, at 12, is of 10 times the day and 2.
    paid = {row["number"] // 100 - 1: row["all_paid"] for row in rows.to_dicts()}
    assert paid == {day: 10.0 * day + 2 for day in range(4)}
    assert "__dummy_id" not in rows.columns and "__dummy_id" not in line.rows(names.feature("loans", "market")).columns


def test_undated_requests_have_the_newest_values_as_in_a_request(line: LoanLine) -> None:
    undated = LOANS.contract("applications").but(day=None), LOANS.contract("payments")
    line.declare(USE_CASE.but(contracts=undated, features=USE_CASE.features.but(request_features=()), split=RandomSplit()))
    rows = line.training_set()
    assert set(rows["all_paid"]) == {32.0} and set(rows["last_paid"]) == {30.0, 31.0, 32.0}
    assert rows["event_timestamp"].unique().sort().to_list() == [moment(day, 0) for day in range(4)]


def test_every_request_gets_the_newest_value_from_the_online_store(line: LoanLine) -> None:
    store, moments = line.store(), [moment(5), moment(5), moment(2, 11.5)]
    result = store.look_up({"customer": ["c1", "nobody", "c1"], "event_timestamp": moments})
    assert result.features["all_paid"] == [32.0, 32.0, 21.0]
    assert result.features["last_paid"] == [31.0, None, 21.0]
    assert result.features_from == ["online", "online", "point_in_time"]
    assert result.missing[1] == [("last_payment", "unknown")]


def test_a_pushed_value_holds_for_every_request(line: LoanLine) -> None:
    store = line.store()
    fresh = pl.DataFrame({"event_timestamp": [moment(4)], "all_paid": [99.0]})
    assert store.push("market", fresh) == 1
    result = store.look_up({"customer": ["c1"], "event_timestamp": [moment(5)]})
    assert (result.features["all_paid"], result.features_from) == ([99.0], ["online"])
