"""A use case whose table `orders` is pulled, from any source, and what has landed of it."""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.pulling.positions import positions_of
from mlops_assets.ingestion.pulling.pull import Pulled, pull
from mlops_assets.ingestion.validate import Split, split_rows
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.pulled_source import PulledSource, Sql
from mlops_assets.spec.source import Files
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import APPLICATIONS, LOANS, VIEW

NOW = datetime(2024, 3, 8, 12, tzinfo=UTC)
FIRST = date(2024, 3, 1)
ORDERS = Contract(
    table="orders",
    description="What was bought.",
    columns=(
        Column(name="number", dtype="int", description="Of the order."),
        Column(name="amount", dtype="float", nullable=True, description="Euros."),
        Column(name="note", dtype="string", nullable=True, description="Any text."),
        Column(name="paid", dtype="bool", nullable=True, description="Whether it is paid."),
        Column(name="ordered_at", dtype="datetime", description="When."),
    ),
    unique=("number",),
    day="ordered_at",
)
SQL = Sql(
    table="orders", url_variable="ORDERS_URL", from_table="orders", time="ordered_at", cursor="updated_at", lag=timedelta(0)
)  # fmt: skip


def shop(source: PulledSource, contract: Contract = ORDERS, **fields: Any) -> UseCase:
    return LOANS.but(
        name="shop",
        sources=(Files(table="applications"), source),
        contracts=(APPLICATIONS, contract),
        features=LOANS.features.but(views=(VIEW.but(tables=("orders",)),)),
        **fields,
    )


@dataclasses.dataclass
class Shop:
    root: Path
    source: PulledSource
    secrets: Mapping[str, str]
    contract: Contract = ORDERS
    now: datetime = NOW
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])  # of the use case
    pauses: list[float] = dataclasses.field(default_factory=list[float])  # instead of slept

    @property
    def use_case(self) -> UseCase:
        return shop(self.source, self.contract, **self.fields)

    @property
    def landing(self) -> Landing:
        return Landing(self.root)

    @property
    def position(self) -> Path:
        return positions_of(self.landing, "shop", "orders").path

    def pull(self, *, anew: bool = False) -> Pulled:
        return pull(
            self.source,
            self.use_case,
            landing=self.landing,
            secrets=self.secrets,
            now=self.now,
            anew=anew,
            sleep=self.pauses.append,
        )

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.landing.files("shop", "orders")}

    def rows(self) -> Split:
        """As the platform reads and judges what has landed."""
        days = [date.fromisoformat(name.removesuffix(".csv")) for name in self.files()]
        rows = self.landing.of(self.source.form).read("shop", self.contract, days, required=False)
        return split_rows(rows, self.contract, self.source.form)

    def accepted(self) -> dict[int, Any]:
        """The amount of each accepted order, whose number comes once."""
        rows = self.rows().accepted
        assert rows["number"].is_unique().all()
        return dict(rows.sort("number").select("number", "amount").iter_rows())

    def reasons(self) -> list[str]:
        return [*self.rows().quarantined["reasons"]]


def day(number: int, **time: int) -> datetime:
    """A moment of the numbered day, counted from 0."""
    return datetime(2024, 3, 1, tzinfo=UTC) + timedelta(days=number, **time)


def sorted_rows(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    return sorted(frame.rows())
