"""What a story changes of a line's declaration, the feature_repo that goes with it, and the rows that its files have then."""

import datetime as dt
import random
from dataclasses import dataclass
from typing import Any

import polars as pl

from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.gate import Floor
from mlops_assets.spec.rollout import AtOnce
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import APPLICATIONS, LOANS, PAYMENTS, VIEW

DAYS = [LOANS.first_day + dt.timedelta(days=number) for number in range(5)]
CUSTOMERS = [f"c{number}" for number in range(4)]
DAY, HOUR = dt.timedelta(days=1), dt.timedelta(hours=1)
LOOKBACK = dt.timedelta(hours=36)
BOUND = 0.2  # of bad rows in a day
BAD = -1  # an amount, or a payment, below the least that is legal
TABLES = ("applications", "payments")
VIEWS = dict.fromkeys(("loans", "leases"), ("last_payment", "lately_paid"))  # both lines have views of the same names

Row = dict[str, Any]


@dataclass(frozen=True)
class Declared:
    """`paid`: the present name of that column. `branch_since`: the column has come, on that day."""

    whole_amounts: bool = True
    whole_payments: bool = True
    paid: str = "paid"
    branch_since: dt.date | None = None
    drops: frozenset[str] = frozenset()  # of insured and branch
    inputs: frozenset[str] = frozenset()  # of insured and branch: request columns that the model reads
    has_total: bool = False  # a second feature view, whose payments are those of LOOKBACK

    def has(self, column: str) -> bool:
        return column not in self.drops and (column != "branch" or self.branch_since is not None)

    @property
    def features(self) -> list[str]:
        return ["last_paid", *(["lately_paid"] if self.has_total else [])]

    @property
    def columns(self) -> dict[str, list[str]]:
        """The stored columns of each table."""
        optional = [name for name in ("insured", "branch") if self.has(name)]
        known = [name for name in APPLICATIONS.names if name not in ("insured", "branch")]
        return {"applications": [*known, *optional], "payments": ["customer", "paid_at", self.paid]}


def use_case(name: str, declared: Declared) -> UseCase:
    first, second = _views(name, declared)
    branch, insured = (tuple(name for name in one if name in declared.inputs) for one in (["branch"], ["insured"]))
    features = LOANS.features.but(
        service=f"{name}_v1", views=(first, second) if declared.has_total else (first,),
        request=(*LOANS.features.request, *branch, *insured),
        numeric=("amount", *declared.features, *insured), categorical=("purpose", *branch),
    )  # fmt: skip
    return LOANS.but(
        name=name, last_day=DAYS[-1], contracts=(_applications(declared), _payments(declared)), features=features,
        gates=(Floor(metric="auc", bound=0.0),), rollout=AtOnce(), monitors=(), triggers=(),
    )  # fmt: skip


def _applications(declared: Declared) -> Contract:
    branch = Column(name="branch", dtype="string", description="Where.", since=declared.branch_since, nullable=False)
    amount = APPLICATIONS.column("amount").but(dtype="int" if declared.whole_amounts else "float")
    columns = [amount if one.name == "amount" else one for one in (*APPLICATIONS.columns, branch)]
    return APPLICATIONS.but(
        columns=tuple(one for one in columns if declared.has(one.name)), dropped=tuple(sorted(declared.drops)), expectations=(),
        max_bad_share=BOUND,
    )  # fmt: skip


def _payments(declared: Declared) -> Contract:
    customer, paid_at, paid = PAYMENTS.columns
    former = "paid" if declared.paid != "paid" else None
    paid = paid.but(name=declared.paid, renamed_from=former, dtype="int" if declared.whole_payments else "float", min=0)
    return PAYMENTS.but(columns=(customer, paid_at, paid), max_bad_share=BOUND)


def _views(name: str, declared: Declared) -> tuple[FeatureView, FeatureView]:
    paid = declared.paid

    def last_paid(tables: Any, start: dt.datetime, end: dt.datetime) -> pl.LazyFrame:
        rows = tables["payments"].filter(pl.col("paid_at").is_between(start, end, closed="left"))
        return rows.select("customer", event_timestamp="paid_at", last_paid=paid)

    def lately_paid(tables: Any, start: dt.datetime, end: dt.datetime) -> pl.LazyFrame:
        total = pl.col(paid).cast(pl.Float64).rolling_sum_by("paid_at", window_size=LOOKBACK).over("customer")
        rows = tables["payments"].select("customer", event_timestamp="paid_at", lately_paid=total)
        return rows.filter(pl.col("event_timestamp").is_between(start, end, closed="left"))

    first, second = VIEWS[name]
    return VIEW.but(name=first, transform=last_paid), VIEW.but(name=second, transform=lately_paid, lookback=LOOKBACK)


def feature_repo(name: str, declared: Declared) -> str:
    return f"""
import datetime
from feature_repo.objects import build_objects
from tests.stories.declarations import Declared, use_case
globals().update(build_objects(use_case({name!r}, {declared!r})))
"""


def midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def rows_of(table: str, day: dt.date, seed: int) -> list[Row]:
    """Under the first names, with every column that may ever be declared."""
    chance = random.Random(f"{table}{day}{seed}")
    return application_rows(day, chance) if table == "applications" else payment_rows(day, chance)


def application_rows(day: dt.date, chance: random.Random) -> list[Row]:
    """Up to twelve of the day's fourteen applications; one may be an earlier day's with another end and label."""
    start = midnight(day)
    keys = [100 * (DAYS.index(day) + 1) + number for number in chance.sample(range(14), 12)]
    if day != DAYS[0] and chance.random() < 0.5:
        keys[0] = 100 * DAYS.index(day) + chance.randrange(14)
    # Some are made on the day itself: the last part of the split is the newest day.
    made = [chance.randrange(-39, 23) for _ in keys]
    return [
        {
            "number": key, "customer": chance.choice(CUSTOMERS), "amount": chance.randrange(1, 900) / 2,
            "purpose": chance.choice(("car", "home")), "insured": chance.random() < 0.5, "branch": chance.choice("NS"),
            "applied_at": start + hour * HOUR, "ended_at": start + chance.randrange(max(hour + 1, 0), 24) * HOUR,
            "defaulted": index % 2,
        }
        for index, (key, hour) in enumerate(zip(keys, made, strict=True))
    ]  # fmt: skip


def payment_rows(day: dt.date, chance: random.Random) -> list[Row]:
    moments = [(customer, hour) for customer in CUSTOMERS for hour in chance.sample(range(24), 3)]
    rows = [
        {"customer": customer, "paid_at": midnight(day) + hour * HOUR, "paid": chance.randrange(1, 200) / 4}
        for customer, hour in moments
    ]
    return chance.sample(rows, 10)


def delivered_file(table: str, rows: list[Row], day: dt.date, declared: Declared, seed: int) -> tuple[pl.DataFrame, list[Row]]:
    """The file of a day under a declaration, and its rows as they are to be stored, with `paid` under its first name. A file may
    have a column that was dropped, one of a day before it came, or one under its former name.
    """
    chance, schema = random.Random(seed), pl.DataFrame(rows_of(table, day, 0)).schema
    number, is_whole = ("amount", declared.whole_amounts) if table == "applications" else ("paid", declared.whole_payments)
    if is_whole:
        rows, schema = [row | {number: int(row[number])} for row in rows], pl.Schema({**schema, number: pl.Int64()})
    is_due = declared.has("branch") and day >= (declared.branch_since or day)
    may_have = declared.branch_since is not None and chance.random() < 0.5
    has = {"insured": declared.has("insured") or chance.random() < 0.5, "branch": is_due or may_have}
    names = [name for name in schema if has.get(name, True)]
    renamed = {"paid": declared.paid} if table == "payments" and chance.random() < 0.5 else {}
    stored = [{name: row[name] if name in names else None for name in schema if declared.has(name)} for row in rows]
    return pl.DataFrame(rows, schema=schema, strict=False).select(names).rename(renamed), stored
