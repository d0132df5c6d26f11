"""Requests and labels in one table, which is the usual flat file: from landed rows to a training set and a trained candidate."""

import datetime as dt
import random
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from mlops_assets.features.featurize import label_rows
from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.home import read_environment
from mlops_assets.graph.compile import build_use_case
from mlops_assets.graph.kernel.tables import build_io_managers
from mlops_assets.ingestion.landing import Landing
from mlops_assets.resources import build_resources
from tests.cli.loans import LOANS, REPO

pytestmark = pytest.mark.integration

FIRST, LAST = LOANS.first_day, dt.date(2024, 3, 8)


def _applications(day: dt.date) -> pl.DataFrame:
    chance, midnight = random.Random(day.toordinal()), dt.datetime.combine(day, dt.time(), dt.UTC)
    rows = [
        {
            "number": 50 * (day - FIRST).days + number + 1,
            "customer": f"c{number % 9}",
            "amount": chance.uniform(5, 90),
            "purpose": chance.choice(("car", "home")),
            "insured": number % 2 == 0,
            "applied_at": midnight + dt.timedelta(minutes=number),
            "ended_at": midnight + dt.timedelta(hours=2, minutes=number),
            "defaulted": number % 3 == 0,
        }
        for number in range(50)
    ]
    return pl.DataFrame(rows).with_columns(pl.col("defaulted").cast(pl.Int64))


def _payments(day: dt.date) -> pl.DataFrame:
    at = dt.datetime.combine(day, dt.time(), dt.UTC)
    return pl.DataFrame([{"customer": f"c{number}", "paid_at": at, "paid": 1.5 * number} for number in range(9)])


def test_a_flat_table_becomes_a_training_set_and_a_candidate(tmp_path: Path) -> None:
    (tmp_path / "feature_repo").mkdir()
    (tmp_path / "feature_repo" / "loans_objects.py").write_text(REPO)
    environment = read_environment({"MLOPS_ENV": "test", "MLOPS_HOME": str(tmp_path / "home")}, tmp_path)
    home = environment.home
    landing = Landing(home.landing)
    for day in (FIRST + dt.timedelta(days=number) for number in range((LAST - FIRST).days + 1)):
        landing.put("loans", "applications", day=day, rows=_applications(day))
        landing.put("loans", "payments", day=day, rows=_payments(day))
    resources = {**build_resources(environment), **build_io_managers(str(home.tables), str(home.root / "values"))}
    shared = dg.Definitions(resources=resources, executor=dg.in_process_executor)
    job = dg.Definitions.merge(shared, build_use_case(LOANS)).resolve_implicit_global_asset_job_def()
    tables = [
        name("loans", table) for name in (names.raw, names.validated, names.quarantine) for table in ("applications", "payments")
    ]
    days = {"dagster/asset_partition_range_start": FIRST.isoformat(), "dagster/asset_partition_range_end": LAST.isoformat()}
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        for paths in ([*tables, names.feature("loans", "last_payment")], [["loans", "training_set"], ["loans", "candidate"]]):
            job.execute_in_process(asset_selection=[dg.AssetKey(path) for path in paths], instance=instance, tags=days)
    warehouse = DeltaTables(home.tables)
    applications = warehouse.scan(names.validated("loans", "applications"))
    rows = warehouse.scan(names.stage("loans", "training_set")).collect()
    assert len(rows) == applications.collect().height == label_rows(LOANS, applications, applications).collect().height == 400
    assert rows["defaulted"].to_list() == [int(number % 3 == 0) for _ in range(8) for number in range(50)]
    assert rows["last_paid"].to_list() == [1.5 * (number % 9) for _ in range(8) for number in range(50)]
