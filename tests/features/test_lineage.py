"""Column lineage, compared with what changes when a source column changes."""

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlops_assets.features.lineage import (
    END,
    START,
    Lineage,
    columns_read,
    request_lineage,
    tagged,
    unchanged_by_renaming,
    view_columns_read,
    view_lineage,
)
from mlops_assets.foundation.conversions import TYPES
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.request_feature import HoursBetween, IsMissing, PredictionMoment, Ratio, Renamed
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.evaluation.shop import CUSTOMERS, PAYMENTS, shop

SHOP = shop(numeric=("spent",))
VIEWS = [(use_case, view) for use_case in (USE_CASE, SHOP) for view in use_case.features.views]


def rows_of(contract: Contract, seed: int) -> pl.DataFrame:
    """A few hundred rows of few keys, over three days; any value may be missing."""
    rng, rows = np.random.default_rng(seed), 240
    columns = {column.name: _values(column, rng, rows) for column in contract.columns}
    return pl.DataFrame(
        [pl.Series(name, values, TYPES[contract.column(name).dtype]) for name, values in columns.items()]
    ).with_columns(day=START.date())


def _values(column: Column, rng: np.random.Generator, rows: int) -> list[Any]:
    low = int(column.min or 0)
    values: dict[str, Any] = {
        "string": [f"{column.name}{n}" for n in rng.integers(0, 4, rows)],
        "int": (low + rng.integers(0, 50, rows)).tolist(),
        "float": (low + rng.uniform(0, 50, rows)).tolist(),
        "datetime": [START + timedelta(minutes=int(minutes)) for minutes in rng.integers(0, 2 * 24 * 60, rows)],
        "bool": rng.integers(0, 2, rows).astype(bool).tolist(),
    }
    return [
        None if hole else value
        for hole, value in zip(rng.random(rows) < 0.05 * column.nullable, values[column.dtype], strict=True)
    ]


def computed(view: FeatureView, tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    return view.transform({name: rows.lazy() for name, rows in tables.items()}, START, END).collect()


@pytest.mark.parametrize(("use_case", "view"), VIEWS, ids=[view.name for _, view in VIEWS])
def test_a_column_outside_the_lineage_does_not_change_the_feature(use_case: Any, view: FeatureView) -> None:
    contracts = tuple(use_case.contract(name) for name in view.tables)
    read = view_columns_read(use_case, view)
    tables = {contract.table: rows_of(contract, seed=1) for contract in contracts}
    before, moved = computed(view, tables), 0
    assert len(before) >= 4
    for contract in contracts:
        for column in contract.columns:
            other = rows_of(contract, seed=2)[column.name]
            after = computed(view, tables | {contract.table: tables[contract.table].with_columns(other)})
            changed = {name for name in before.columns if not _alike(before[name], after[name])}
            assert changed <= {name for name in before.columns if f"{contract.table}.{column.name}" in read[name]}
            moved += len(changed)
    assert moved >= 3  # the other values do change what is read


def _alike(before: pl.Series, after: pl.Series) -> bool:
    ordered = [column.round(6) if column.dtype.is_float() else column for column in (before, after)]
    return ordered[0].sort().equals(ordered[1].sort())


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("seats", {"planes.seats", "planes.day"}),
        ("tail_last_arr_delay", {"outcomes.arr_delay", "outcomes.arr_time", "outcomes.tailnum"}),
        ("distance", {"schedule.distance", "schedule.sched_dep", "schedule.origin", "schedule.dest"}),
        ("carrier_late_rate_6h", {"outcomes.arr_delay", "outcomes.arr_time", "outcomes.carrier"}),
        ("carrier_dep_delay_24h", {"outcomes.arr_time", "outcomes.carrier", "outcomes.dep_delay"}),
        ("temp", {"weather.temp", "weather.observed_at", "weather.origin"}),
        ("pressure_change_3h", {"weather.pressure", "weather.observed_at", "weather.origin"}),
    ],
)
def test_the_lineage_of_flights_names_columns(column: str, values: set[str]) -> None:
    """`planes.day` is the moment from which a row is known; filters count as values."""
    made = view_lineage(USE_CASE)[column]
    assert made.values <= values | {"weather.pressure"}
    assert made.values >= {source for source in values if not source.endswith(("origin", "tailnum"))}
    assert made.keys == frozenset()  # nothing is tagged


def test_every_input_of_flights_has_a_source() -> None:
    made = request_lineage(USE_CASE) | view_lineage(USE_CASE)
    assert [name for name in USE_CASE.features.inputs if not made[name].values] == []
    assert made["minute_of_day"].values == made["weekday"].values == {"schedule.sched_dep"}
    assert made["carrier"].values == {"schedule.carrier"}


def test_a_tagged_key_is_separate_from_the_values() -> None:
    made = view_lineage(SHOP)
    assert made["spent"] == Lineage(frozenset({"payments.amount", "payments.paid_at"}), frozenset({"payments.customer"}))
    assert made["payments"] == Lineage(frozenset({"payments.paid_at"}), frozenset({"payments.customer"}))
    assert made["country"].keys == frozenset()  # it is not even read for it
    assert "payments.customer" in made["who"].values
    assert made["home"].values >= {"customers.customer", "customers.country"}


def test_a_column_that_rows_are_filtered_by_counts_as_a_value() -> None:
    assert "customers.age" in view_lineage(SHOP)["country"].values
    assert "customers.age" in view_lineage(SHOP)["years"].values


def test_the_tags_are_named_by_table_and_column() -> None:
    assert tagged(SHOP) == {
        "orders.customer": "hashed",
        "orders.email": "left_out",
        "customers.customer": "hashed",
        "customers.email": "left_out",
        "customers.age": "hashed",
        "payments.customer": "hashed",
    }


def test_the_rows_of_a_request_are_followed_too() -> None:
    made = request_lineage(SHOP)
    assert made["large"].values == {"orders.basket"}
    assert made["event_timestamp"].values == {"orders.ordered_at"}
    assert made["customer"].values == {"orders.customer"}


WORDS = (
    PredictionMoment(column="ordered_at"),
    Renamed(name="buyer", column="customer"),
    HoursBetween(name="age", column="event_timestamp", since="ordered_at"),
    Ratio(name="rate", column="basket", by="age"),
    IsMissing(name="no_rate", column="rate"),
)


def test_the_lineage_of_request_features_is_the_one_that_polars_reads() -> None:
    def unchanged(rows: pl.LazyFrame) -> pl.LazyFrame:
        return rows

    made = request_lineage(shop(numeric=("rate",), request_features=WORDS, entity_rows=None))
    assert made == request_lineage(shop(numeric=("rate",), request_features=WORDS, entity_rows=unchanged))
    assert made["no_rate"] == Lineage(frozenset({"orders.basket", "orders.ordered_at"}))
    assert made["buyer"] == Lineage(frozenset({"orders.customer"}))


def test_an_opaque_python_function_reads_every_column() -> None:
    def opaque(tables: Any) -> pl.LazyFrame:
        return tables["payments"].map_batches(lambda rows: rows.select(total=pl.col("amount")), schema={"total": pl.Float64})

    assert columns_read((PAYMENTS,), opaque)["total"] >= {f"payments.{column.name}" for column in PAYMENTS.columns}


def test_eagerly_computed_values_count_for_every_column() -> None:
    def eager(tables: Any) -> pl.LazyFrame:
        limit = tables["payments"].select(pl.col("amount").max()).collect().item()
        return tables["payments"].select("paid_at", late=pl.col("paid_at") > START, limit=pl.lit(limit))

    read = columns_read((PAYMENTS,), eager)
    assert read["paid_at"] == {"payments.paid_at", "payments.amount"}


def test_a_join_keeps_its_tables_separate() -> None:
    def joined(tables: Any) -> pl.LazyFrame:
        both = tables["payments"].join(tables["customers"], on="customer", how="left")
        return both.select("customer", "amount", "country")

    read = columns_read((PAYMENTS, CUSTOMERS), joined)
    assert read["country"] == {"payments.customer", "customers.customer", "customers.country"}
    assert "payments.amount" in read["amount"] and "customers.country" not in read["amount"]


HOLDS: dict[str, tuple[pl.Expr, bool]] = {
    "the key": (pl.col("customer"), True),
    "under another name": (pl.col("customer").alias("buyer"), True),
    "its beginning": (pl.col("customer").str.slice(0, 2), True),
    "what it begins with": (pl.col("customer").str.starts_with("C-"), True),
    "its last letter": (pl.col("customer").str.slice(-1), True),
    "its length": (pl.col("customer").str.len_chars(), True),
    "its hash": (pl.col("customer").hash(), True),
    "with something else": (pl.concat_str("customer", pl.col("amount").cast(pl.String)), True),
    "nothing that can be seen": (pl.col("customer").str.to_integer(strict=False), True),
    "rows by it": (pl.len().over("customer"), False),
    "a sum by it": (pl.col("amount").sum().over("customer"), False),
    "an order by it": (pl.col("amount").sort_by("customer"), False),
    "something else": (pl.col("amount"), False),
}


@pytest.mark.parametrize(("made", "is_key"), HOLDS.values(), ids=HOLDS)
def test_a_column_holds_a_key_when_renaming_the_key_changes_it(made: pl.Expr, is_key: bool) -> None:
    same = unchanged_by_renaming((PAYMENTS,), lambda tables: tables["payments"].select(column=made), "customer")
    assert same == (set() if is_key else {"column"})


def test_numbers_and_moments_can_be_keys() -> None:
    columns = (
        Column(name="customer", dtype="int", description="Number."),
        Column(name="born", dtype="datetime", description="When."),
        Column(name="child", dtype="bool", description="Whether."),
    )
    people = Contract(table="people", description="People.", columns=columns, unique=("customer",))

    def by(key: str) -> frozenset[str]:
        return unchanged_by_renaming(
            (people,), lambda tables: tables["people"].select(pl.col("customer") * 2, "born", n=pl.len().over("born")), key
        )

    assert (by("customer"), by("born"), by("child")) == ({"born", "n"}, {"customer", "n"}, {"customer", "born", "n"})


def test_a_transform_that_fails_on_generated_rows_counts_as_showing_the_key() -> None:
    def strict(tables: Any) -> pl.LazyFrame:
        return tables["payments"].select("amount", number=pl.col("customer").str.to_integer())

    assert unchanged_by_renaming((PAYMENTS,), strict, "customer") == set()


def test_both_ends_of_a_join_are_renamed_together() -> None:
    def joined(tables: Any) -> pl.LazyFrame:
        return tables["payments"].join(tables["customers"], on="customer").select("customer", "amount", "country")

    assert unchanged_by_renaming((PAYMENTS, CUSTOMERS), joined, "customer") == {"amount", "country"}
