"""Tables of every grain on a real line: landed, validated, corrected, retracted, refused, late, over a change of the clock."""

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlops_assets.foundation import names
from mlops_assets.foundation.calendars import WHOLE_TABLE, Calendar
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.grains import calendar_of, view_calendar
from mlops_assets.graph.features import build_features
from mlops_assets.graph.kernel.tables import build_io_managers
from mlops_assets.resources import LandingResource
from mlops_assets.spec.grain import Daily, Grain, Hourly, Monthly, Snapshot, Weekly
from mlops_assets.spec.source import Files
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import LOANS, PAYMENTS, VIEW
from tests.features.feast.lookups import lookup
from tests.graph.line import failed_checks
from tests.graph.loan_line import PAYMENT, LoanLine, applications, payments, running_loans
from tests.graph.test_refused_days import run_cli

pytestmark = pytest.mark.slow

BERLIN, HOUR, DAY = "Europe/Berlin", dt.timedelta(hours=1), dt.timedelta(days=1)
GRAINS: tuple[Grain, ...] = (Hourly(tz=BERLIN), Daily(tz=BERLIN), Weekly(tz=BERLIN), Monthly(tz=BERLIN), Snapshot())
CHANGES = (dt.datetime(2024, 3, 31, 1, tzinfo=dt.UTC), dt.datetime(2024, 10, 27, 1, tzinfo=dt.UTC))
CUSTOMERS = ("c0", "c1", "c2")
Payment = tuple[str, dt.datetime, float]


def summing(lookback: dt.timedelta) -> Any:
    def transform(tables: Any, start: dt.datetime, end: dt.datetime) -> pl.LazyFrame:
        total = pl.col("paid").rolling_sum_by("paid_at", window_size=lookback).over("customer")
        rows = tables["payments"].sort("paid_at").select("customer", event_timestamp="paid_at", last_paid=total)
        return rows.filter(pl.col("event_timestamp").is_between(start, end, closed="left"))

    return transform


def declared(grain: Grain, lookback: dt.timedelta) -> UseCase:
    is_snapshot = isinstance(grain, Snapshot)
    view = VIEW.but(transform=summing(lookback), lookback=dt.timedelta(0) if is_snapshot else lookback)
    return LOANS.but(
        first_day=dt.date(2024, 1, 1),
        last_day=dt.date(2025, 3, 31),
        sources=(LOANS.sources[0], Files(table="payments", grain=grain)),
        contracts=(LOANS.contracts[0], PAYMENTS.but(day=None if is_snapshot else "paid_at", max_bad_share=0.4)),
        features=LOANS.features.but(views=(view,)),
    )


def sums(rows: Sequence[Payment], lookback: dt.timedelta) -> list[Payment]:
    """The features that these payments give, by brute force."""
    return sorted(
        (one, at, sum(paid for other, then, paid in rows if other == one and at - lookback < then <= at)) for one, at, _ in rows
    )


class GrainLine:
    """`partitions`: three before the change of the clock, and three from then on; of a snapshot the only one, six times."""

    def __init__(self, line: LoanLine, calendar: Calendar, change: dt.datetime, lookback: dt.timedelta) -> None:
        self.line, self.calendar, self.lookback = line, calendar, lookback
        first = calendar.before(calendar.of(change - dt.timedelta(microseconds=1)), 2)
        self.partitions = [first]
        for _ in range(5):
            self.partitions.append(calendar.next(self.partitions[-1]))
        self.accepted = dict[Any, list[Payment]]()

    def payments(self, number: int, euros: float) -> list[Payment]:
        """At the first moment of a partition, within it, and at its last moment."""
        start, end = (calendar_moment(self.calendar, self.partitions[number], edge, number) for edge in ("start", "end"))
        moments = [start, start + (end - start) / 3, end - dt.timedelta(microseconds=1)]
        return [(one, at, euros + index) for one in CUSTOMERS for index, at in enumerate(moments)]

    def land(self, number: int, rows: list[Payment]) -> None:
        frame = pl.DataFrame(rows, schema=PAYMENT, orient="row")
        self.line.landing.put("loans", "payments", day=self.partitions[number], rows=frame, calendar=self.calendar)

    def ingest(self, first: int, last: int) -> dg.ExecuteInProcessResult:
        result = self.run(self.partitions[first], self.partitions[last], *self.line.stages("payments"))
        assert result.success
        return result

    def deliver(self, number: int, rows: list[Payment]) -> dg.ExecuteInProcessResult:
        self.land(number, rows)
        return self.ingest(number, number)

    def run(self, first: Any, last: Any, *paths: names.AssetPath) -> dg.ExecuteInProcessResult:
        bounds = zip(("start", "end"), (first, last), strict=True)
        tags = {f"dagster/asset_partition_range_{end}": self.calendar.key(one) for end, one in bounds if self.calendar.cron}
        keys = [dg.AssetKey(path) for path in paths]
        return self.line.job.execute_in_process(
            asset_selection=keys, instance=self.line.instance, tags=tags, raise_on_error=False
        )

    def check(self) -> None:
        """Every table equals what was accepted, and online equals offline."""
        stages = (stage("loans", "last_payment") for stage in (names.feature, names.online))
        assert self.run(min(self.accepted), max(self.accepted), *stages).success
        rows = [row for partition in self.accepted.values() for row in partition]
        validated = self.line.validated("payments").select(*PAYMENT, self.calendar.column)
        assert sorted(validated.rows()) == sorted((*row, one) for one, rows in self.accepted.items() for row in rows)
        features = self.line.tables.scan(names.feature("loans", "last_payment")).collect()
        expected = sums(rows, self.lookback)
        assert sorted(features.select("customer", "event_timestamp", "last_paid").rows()) == expected
        assert features["day"].equals(features["event_timestamp"].dt.date().alias("day"))
        store, at = self.line.store(), max((at for _, at, _ in rows), default=CHANGES[0]) + HOUR
        requests = pl.DataFrame({"customer": CUSTOMERS}).with_columns(event_timestamp=pl.lit(at).cast(pl.Datetime("us", "UTC")))
        newest = {customer: value for customer, _, value in expected}
        online = lookup(store, requests)["last_paid"].to_list()
        assert online == [newest.get(customer) for customer in CUSTOMERS]
        assert online == store.historical(requests)["last_paid"].to_list()


def calendar_moment(calendar: Calendar, partition: Any, edge: str, number: int) -> dt.datetime:
    if calendar.cron:
        return getattr(calendar, edge)(partition)
    return CHANGES[0] + DAY * (number + (edge == "end"))


@contextmanager
def running(root: Path, grain: Grain, change: dt.datetime) -> Iterator[GrainLine]:
    calendar = calendar_of(grain)
    lookback = (calendar.length if calendar.cron else DAY) * 1.5
    with running_loans(root, declared(grain, lookback)) as line:
        yield GrainLine(line, calendar, change, lookback)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("grain", "change"),
    [  # of a partition that the change shortens or lengthens, and of longer ones around one of the changes
        pytest.param(grain, change, id=f"{type(grain).__name__}-{'spring' if change == CHANGES[0] else 'autumn'}")
        for grain, changes in zip(GRAINS, (CHANGES, CHANGES, CHANGES[:1], CHANGES[1:]), strict=False)
        for change in changes
    ],
)
def test_a_partition_is_landed_corrected_retracted_refused_and_late(tmp_path: Path, grain: Grain, change: dt.datetime) -> None:
    with running(tmp_path, grain, change) as line:
        for number in (0, 1, 2, 4, 5):  # the first after the change is late
            line.accepted[line.partitions[number]] = line.payments(number, 10.0 * number)
            line.land(number, line.accepted[line.partitions[number]])
        for first, last in ((0, 2), (4, 5)):
            line.ingest(first, last)
        line.accepted[line.partitions[3]] = line.payments(3, 30.0)
        line.deliver(3, line.accepted[line.partitions[3]])
        line.check()
        corrected, retracted, refused = line.partitions[2], line.partitions[4], line.partitions[1]
        line.accepted[corrected] = line.payments(2, 700.0)[:4]
        line.deliver(2, line.accepted[corrected])
        line.accepted[retracted] = []
        line.deliver(4, [])
        line.check()
        # Rows of another partition break the contract, and more than 40% of them refuse the whole.
        elsewhere = line.deliver(1, line.payments(0, 1.0))
        key, noun = line.calendar.key(refused), line.calendar.noun
        assert f"payments · bad_share · {key}: " in failed_checks(elsewhere)["bad_rows_within_bound"]
        reasons = line.line.quarantined("payments")["reasons"].unique().to_list()
        assert all(reason.endswith(f"is not in the {noun} of its file") for reason in reasons)
        line.check()


@pytest.mark.integration
@pytest.mark.parametrize("grain", GRAINS, ids=lambda grain: type(grain).__name__)
def test_status_waiver_and_landing_sensor_name_the_partition(
    tmp_path: Path, grain: Grain, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path, grain, CHANGES[1]) as line:
        partition, rows = line.partitions[3], line.payments(3, 1.0)
        line.deliver(3, [*(("c0", at, float("nan")) for _, at, _ in rows[:2]), rows[3]])
        key = line.calendar.key(partition)
        assert line.line.validated("payments").is_empty()
        at = key if line.calendar.cron else None
        assert [event.rsplit(" ", 1)[0] for event in line.line.report_landed()] == [f"landed_payments {at}"]
        assert line.line.report_landed() == []
        status = run_cli(line.line, monkeypatch, "status", "loans").output
        assert f"data: payments {key} failed. Not used" in status
        assert f"`mlops waive loans payments {key} --why …`" in status
        reason = ("--why", "a strike", "--by", "Ada")
        illegal = run_cli(line.line, monkeypatch, "waive", "loans", "payments", "2024-1", *reason)
        assert illegal.exit_code == 2 and f"is no {line.calendar.noun}" in " ".join(illegal.output.replace("│", " ").split())
        assert run_cli(line.line, monkeypatch, "waive", "loans", "payments", key, *reason).exit_code == 0
        (event,) = line.line.report_landed()
        assert event.endswith("-waived")
        assert line.run(partition, partition, *line.line.stages("payments")).success
        line.accepted[partition] = rows[3:4]
        line.check()


@pytest.mark.integration
def test_a_snapshot_replaces_the_whole_table(tmp_path: Path) -> None:
    with running(tmp_path, Snapshot(), CHANGES[0]) as line:
        (only, *_) = line.partitions
        for number, kept in enumerate((CUSTOMERS, CUSTOMERS[:2], CUSTOMERS[1:], ())):
            line.accepted[only] = [row for row in line.payments(number, 10.0 * number) if row[0] in kept]
            line.deliver(0, line.accepted[only])
            line.check()
            assert {*line.line.validated("payments")["customer"]} == {*kept}


@pytest.mark.integration
def test_a_use_case_of_snapshots_alone_has_no_days_and_trains(tmp_path: Path) -> None:
    use_case = LOANS.but(
        first_day=None,
        last_day=None,
        sources=tuple(Files(table=source.table, grain=Snapshot()) for source in LOANS.sources),
        contracts=tuple(contract.but(day=None, expectations=()) for contract in LOANS.contracts),
    )
    loans = pl.concat([
        applications(*((100 * (day + 1) + number, 10.0 + number, int(number < 3)) for number in range(10)), day=day) for day in range(7)
    ])  # fmt: skip
    paid = pl.concat([payments(day, *((customer, 10.0 * day) for customer in CUSTOMERS)) for day in range(7)])
    with running_loans(tmp_path, use_case) as line:
        for table, rows in (("applications", loans), ("payments", paid)):
            line.landing.put("loans", table, day=WHOLE_TABLE, rows=rows, calendar=calendar_of(Snapshot()))
        keys = [
            *line.stages("applications", "payments"),
            names.feature("loans", "last_payment"),
            names.online("loans", "last_payment"),
        ]
        keys.append(names.stage("loans", "training_set"))
        line.store()
        assert line.job.execute_in_process(asset_selection=[dg.AssetKey(key) for key in keys], instance=line.instance).success
        trained = line.rows(names.stage("loans", "training_set"))
        assert len(trained) == 70 and trained["last_paid"].null_count() < 70
        assert dict(trained.group_by("split").len().iter_rows()) == {"train": 50, "validation": 10, "test": 10}


def at_moments(minutes: list[int], calendar: Calendar) -> list[dt.datetime]:
    """These minutes before the end of the partition after the change of the clock in autumn."""
    end = calendar.end(calendar.next(calendar.of(CHANGES[1])))
    return sorted({end - dt.timedelta(minutes=minute) for minute in minutes})


@given(
    grain=st.sampled_from(
        [kind(tz=tz) for kind in (Hourly, Daily, Weekly, Monthly) for tz in ("UTC", BERLIN, "America/New_York")]
    ),
    lookback=st.sampled_from([dt.timedelta(0), HOUR / 3, 6 * HOUR, 24 * HOUR, 36 * HOUR, 10 * DAY, 40 * DAY]),
    minutes=st.lists(st.integers(1, 60 * 24 * 75) | st.integers(1, 60 * 24 * 3), min_size=1, max_size=20),
)
@example(grain=Daily(tz=BERLIN), lookback=24 * HOUR, minutes=[24 * 60, 48 * 60 - 1, 48 * 60, 49 * 60, 49 * 60 - 1])
@settings(deadline=None, max_examples=10)
def test_the_run_of_one_partition_sums_over_the_exact_duration(grain: Grain, lookback: dt.timedelta, minutes: list[int]) -> None:
    # A window of nothing is none that Polars sums over.
    use_case, calendar = declared(grain, lookback or dt.timedelta(microseconds=1)), calendar_of(grain)
    moments = at_moments(minutes, calendar)
    partition = calendar.next(calendar.of(CHANGES[1]))
    rows = [("c0", at, float(2 ** (number % 11))) for number, at in enumerate(moments)]
    stored = pl.DataFrame([
        {"customer": one, "paid_at": at, "paid": paid} | calendar.stored(calendar.of(at)) for one, at, paid in rows
    ], schema=PAYMENT | calendar.types())  # fmt: skip
    with TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral(tempdir=folder) as instance:
        tables = fill(Path(folder), use_case, stored, partition, instance)
        table = tables.scan(names.feature("loans", "last_payment")).collect()
    expected = [one for one in sums(rows, use_case.features.views[0].lookback) if calendar.of(one[1]) == partition]
    assert sorted(table.select("customer", "event_timestamp", "last_paid").rows()) == expected


def fill(home: Path, use_case: UseCase, stored: pl.DataFrame, partition: Any, instance: dg.DagsterInstance) -> DeltaTables:
    """The feature table after a run of its asset for one partition."""
    tables, asset = DeltaTables(home / "tables"), names.validated("loans", "payments")
    tables.path(asset).parent.mkdir(parents=True)
    stored.write_delta(tables.path(asset), delta_write_options={"partition_by": "day"})
    calendar, feature = view_calendar(use_case, use_case.features.views[0]), build_features(use_case)[0]
    metadata = {"partition_by": calendar.column}
    validated = dg.AssetSpec(asset, partitions_def=feature.partitions_def, metadata=metadata).with_io_manager_key("tables")
    landing = LandingResource(folder=str(home / "landing"))
    resources = {**build_io_managers(str(home / "tables"), str(home / "values")), "landing": landing}
    key, assets = calendar.key(partition), [validated, feature]
    assert dg.materialize(assets, instance=instance, resources=resources, partition_key=key, selection=[feature]).success
    return tables
