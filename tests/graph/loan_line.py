"""The loans of tests/cli/loans.py as a real line: landed files, tables, features, online store and training set."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import polars as pl

from mlops_assets.features.feast.feature_store import FeatureStore
from mlops_assets.foundation import names
from mlops_assets.graph.triggers import build_triggers
from mlops_assets.resources import LandingResource, WarehouseResource
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import LOANS, REPO
from tests.graph.line import Day, Line, environment_of

FIRST = LOANS.first_day
PAYMENT = {"customer": pl.String(), "paid_at": pl.Datetime("us", "UTC"), "paid": pl.Float64()}


def day_of(number: int) -> dt.date:
    return FIRST + dt.timedelta(days=number)


def moment(day: int, hours: float = 10) -> dt.datetime:
    return dt.datetime.combine(day_of(day), dt.time(), dt.UTC) + dt.timedelta(hours=hours)


def payments(day: int, *paid: tuple[str, float]) -> pl.DataFrame:
    """The payments of one day, one an hour."""
    rows = [(customer, moment(day, 10 + number), euros) for number, (customer, euros) in enumerate(paid)]
    return pl.DataFrame(rows, schema=PAYMENT, orient="row")


def applications(*rows: tuple[int, float, int], day: int) -> pl.DataFrame:
    """Number, amount and label of loans that were applied for and ended on one day."""
    return pl.DataFrame(
        [
            {
                "number": number, "customer": f"c{number % 3}", "amount": amount, "purpose": "car", "insured": True,
                "applied_at": moment(day, 20), "ended_at": moment(day, 22), "defaulted": label,
            }
            for number, amount, label in rows
        ],
        schema=dict(number=pl.Int64, customer=pl.String, amount=pl.Float64, purpose=pl.String, insured=pl.Boolean,
                    applied_at=pl.Datetime("us", "UTC"), ended_at=pl.Datetime("us", "UTC"), defaulted=pl.Int64),
    )  # fmt: skip


class LoanLine(Line):
    def land(self, table: str, day: Day, rows: pl.DataFrame) -> None:
        self.landing.put(self.use_case.name, table, day=self.day(day), rows=rows)

    def land_sound(self, *days: int) -> None:
        """Ten loans, of which three default, and three payments a day."""
        for day in days:
            loans = [(100 * (day + 1) + number, 10.0 + number, int(number < 3)) for number in range(10)]
            self.land("applications", day, applications(*loans, day=day))
            self.land("payments", day, payments(day, *((f"c{number}", 10.0 * day + number) for number in range(3))))

    def fill(self, first: int, last: int | None = None) -> None:
        view = self.use_case.features.views[0].name
        stages = (stage(self.use_case.name, view) for stage in (names.feature, names.online))
        assert self.run(*stages, first=first, last=last).success

    def training_set(self) -> pl.DataFrame:
        path = names.stage(self.use_case.name, "training_set")
        assert self.run(path, first=0).success
        return self.rows(path)

    def validated(self, table: str) -> pl.DataFrame:
        return self.rows(names.validated(self.use_case.name, table))

    def quarantined(self, table: str) -> pl.DataFrame:
        return self.rows(names.quarantine(self.use_case.name, table))

    def report_landed(self) -> list[str]:
        """What the landing sensor reports: table, day and data version."""
        name = names.job(self.use_case.name, "landing")
        sensor = next(one for one in build_triggers(self.use_case)["sensors"] if one.name == name)
        home = self.home / "tables"
        resources = {
            "landing": LandingResource(folder=str(self.landing.root)), "warehouse": WarehouseResource(folder=str(home))
        }  # fmt: skip
        with dg.build_sensor_context(instance=self.instance, resources=resources) as context:
            events = sensor.evaluate_tick(context).asset_events
        for event in events:
            self.instance.report_runless_asset_event(event)
        landed = [event for event in events if isinstance(event, dg.AssetMaterialization)]
        return [f"{event.asset_key.path[-1]} {event.partition} {event.tags['dagster/data_version']}" for event in landed]

    def store(self) -> FeatureStore:
        store = FeatureStore(self.environment.home, service=self.use_case.features.service)
        store.apply(self.home.parent / "feature_repo")
        return store


@contextmanager
def running_loans(root: Path, use_case: UseCase = LOANS) -> Iterator[LoanLine]:
    environment = environment_of(root, {"loans": REPO})
    with dg.DagsterInstance.ephemeral(tempdir=str(root)) as instance:
        yield LoanLine(environment, use_case, instance)
