"""`mlops push` and `mlops forget` on tables of every grain, in the hour, day, week or month after a change of the clock."""

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.erasure.forget import forget_subject
from mlops_assets.erasure.stores import Stores
from mlops_assets.erasure.subject import find_subject
from mlops_assets.features.push import IllegalPush, push_file
from mlops_assets.foundation import names
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.grain import Daily, Grain
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.model_registry import ModelRegistry
from tests.cli.loans import REPO
from tests.features.feast.lookups import lookup
from tests.graph.loan_line import PAYMENT, running_loans
from tests.graph.test_grains import CHANGES, CUSTOMERS, DAY, GRAINS, GrainLine, Payment, calendar_of, declared, sums

PUSHABLE = (
    REPO.replace("source=FileSource(", 'source=PushSource(name="payments_push", batch_source=FileSource(')
    .replace('"event_timestamp",\n    ),', '"event_timestamp",\n    )),')
    .replace("FileSource, ", "FileSource, PushSource, ")
)
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
pytestmark = pytest.mark.integration


def use_case_of(grain: Grain, lookback: dt.timedelta) -> UseCase:
    use_case = declared(grain, lookback)

    def tagged(contract: Contract) -> Contract:
        columns = (one.but(identifies="customer") if one.name == "customer" else one for one in contract.columns)
        return contract.but(columns=tuple(columns))

    return use_case.but(contracts=tuple(map(tagged, use_case.contracts)))


def write(file: Path, rows: list[Payment]) -> Path:
    frame = pl.DataFrame(rows, schema=PAYMENT, orient="row")
    frame.write_csv(file, datetime_format="%Y-%m-%dT%H:%M:%S%.fZ")
    return file


def online(line: GrainLine, at: dt.datetime) -> list[float]:
    requests = pl.DataFrame({"customer": CUSTOMERS}).with_columns(event_timestamp=pl.lit(at).cast(pl.Datetime("us", "UTC")))
    return lookup(line.line.store(), requests)["last_paid"].to_list()


@pytest.mark.parametrize("grain", GRAINS[::2], ids=lambda grain: type(grain).__name__)
def test_a_push_replaces_what_landed_of_its_partition_and_a_subject_is_forgotten(tmp_path: Path, grain: Grain) -> None:
    calendar = calendar_of(grain)
    lookback = (calendar.length if calendar.cron else DAY) * 1.5
    with running_loans(tmp_path, use_case_of(grain, lookback)) as running:
        (tmp_path / "feature_repo" / "loans_objects.py").write_text(PUSHABLE)
        line = GrainLine(running, calendar, CHANGES[1], lookback)
        for number in (2, 3) if calendar.cron else (3,):
            line.accepted[line.partitions[number]] = line.payments(number, 10.0 * number)
            line.deliver(number, line.payments(number, 10.0 * number))
        line.check()
        partition, rows = line.partitions[3], line.payments(3, 30.0)
        # The second payment of each customer was an error, the last one has another amount.
        so_far = [(one, at, paid + number) for number, (one, at, paid) in enumerate(rows) if number % 3 != 1]
        file = write(tmp_path / f"{calendar.key(partition)}.csv", so_far)
        pushed = push_file(running.use_case, "payments", file, now=NOW, store=running.store(), tables=running.tables)
        assert (pushed.accepted, pushed.refused.height, pushed.entities) == (6, 0, {"last_payment": 3})
        others = [row for one, rows in line.accepted.items() if one != partition for row in rows]
        newest = {customer: value for customer, _, value in sums([*others, *so_far], lookback)}
        at = max(at for _, at, _ in so_far) + dt.timedelta(hours=1)
        assert online(line, at) == [newest[customer] for customer in CUSTOMERS]
        legal = f"{calendar.form.split(', ')[0]}.csv"
        with pytest.raises(IllegalPush, match=rf"2024-1-1.csv · a pushed file is named like a landed one; legal: {legal}"):
            wrong = write(tmp_path / "2024-1-1.csv", so_far)
            push_file(running.use_case, "payments", wrong, now=NOW, store=running.store(), tables=running.tables)

        before, store = running.validated("payments").height, running.store()
        subject = find_subject(running.use_case, "customer=c1", secret=b"key")
        ledger = Ledger(f"sqlite:///{running.home / 'ledger.db'}")
        stores = Stores(running.environment.home, store, ModelRegistry(running.environment.home.mlflow), ledger)
        forgotten = forget_subject(running.use_case, subject, stores, why="on request", by="Ada", at=NOW)
        assert not forgotten.still
        left = [running.rows(stage("loans", "payments"))["customer"] for stage in (names.raw, names.validated)]
        left.append(running.rows(names.feature("loans", "last_payment"))["customer"])
        assert [sorted({*customers}) for customers in left] == [["c0", "c2"]] * 3
        assert running.validated("payments").height == before * 2 // 3
        landed = running.landing.path("loans", "payments", partition, calendar).read_text()
        assert "c1" not in landed and landed.count("c0") == 3
        assert online(line, at)[1] is None


def test_a_pushed_correction_of_an_earlier_day_counts_once(tmp_path: Path) -> None:
    """Of a table whose rows may come on any day."""
    lookback, calendar = 1.5 * DAY, calendar_of(Daily())
    use_case = use_case_of(Daily(), lookback)
    payments = use_case.contract("payments").but(day=None)
    with running_loans(tmp_path, use_case.but(contracts=(use_case.contracts[0], payments))) as running:
        (tmp_path / "feature_repo" / "loans_objects.py").write_text(PUSHABLE)
        line = GrainLine(running, calendar, CHANGES[1], lookback)
        line.accepted[line.partitions[2]] = earlier = line.payments(2, 20.0)
        line.deliver(2, earlier)
        (customer, at, _), *others = reversed(earlier)
        so_far = [*line.payments(3, 30.0), (customer, at, 99.0)]
        file = write(tmp_path / f"{calendar.key(line.partitions[3])}.csv", so_far)
        pushed = push_file(running.use_case, "payments", file, now=NOW, store=running.store(), tables=running.tables)
        assert (pushed.accepted, pushed.refused.height) == (len(so_far), 0)
        newest = {one: value for one, _, value in sums([*others, *so_far], lookback)}
        at = max(at for _, at, _ in so_far) + dt.timedelta(hours=1)
        assert online(line, at) == [newest[one] for one in CUSTOMERS]
