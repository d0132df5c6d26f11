"""Outcomes of a real day, pushed before its file has landed, are online at once and equal what the landed file gives."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from threading import Event

import polars as pl
import pytest
from deltalake import DeltaTable

from mlops_assets.features.feast.feature_store import FeatureStore
from mlops_assets.features.featurize import fill_view
from mlops_assets.features.push import push_file
from mlops_assets.foundation import names
from mlops_assets.foundation.calendars import UTC_DAYS
from mlops_assets.foundation.delta_tables import DeltaTables, rewrite
from mlops_assets.foundation.home import Home
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.validate import split_rows
from mlops_assets.spec.feature import Tables
from mlops_assets.use_cases.flight_delay import USE_CASE
from mlops_assets.use_cases.flight_delay.airline import deliveries, package_folder
from tests.features.feast.lookups import lookup
from tests.foundation.days import midnight

FIRST, LAST, TODAY = date(2013, 1, 1), date(2013, 1, 4), date(2013, 1, 5)
NOON = midnight(TODAY) + timedelta(hours=18)
REPO = Path(__file__).parents[2] / "feature_repo"
OF_OUTCOMES = {view.name for view in USE_CASE.features.views if "outcomes" in view.tables}


class Line:
    """Four days landed, validated, materialized and online; the fifth is in progress."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.tables = DeltaTables(self.home.tables)
        self.landing = Landing(root / "delivered")
        for delivery in deliveries(package_folder(), FIRST, TODAY):
            self.landing.put(USE_CASE.name, delivery.table, day=delivery.partition, rows=delivery.rows)
        self.validated = {contract.table: self.accepted(contract.table, until=LAST) for contract in USE_CASE.contracts}
        for table, rows in self.validated.items():
            self._write(names.validated(USE_CASE.name, table), rows)
        self.store = FeatureStore(self.home, service=USE_CASE.features.service)
        self.store.apply(REPO)
        for view in USE_CASE.features.views:
            tables = {table: rows.lazy() for table, rows in self.validated.items()}
            self._write(
                names.feature(USE_CASE.name, view.name),
                fill_view(view, tables, UTC_DAYS.start(FIRST), UTC_DAYS.end(LAST)).collect(),
            )
            self.store.materialize(view.name, midnight(FIRST))

    def accepted(self, table: str, *, until: date) -> pl.DataFrame:
        days = [FIRST + timedelta(days=offset) for offset in range((until - FIRST).days + 1)]
        contract = USE_CASE.contract(table)
        return split_rows(self.landing.read(USE_CASE.name, contract, days, required=False), contract).accepted

    def today(self, folder: Path, *, until: datetime, spoil: bool = False) -> Path:
        """The outcomes of the fifth day so far, as a file."""
        lines = self.landing.path(USE_CASE.name, "outcomes", TODAY).read_text().splitlines(keepends=True)
        rows = pl.read_csv(self.landing.path(USE_CASE.name, "outcomes", TODAY))
        known = rows["arr_time"].str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC") <= until
        kept = [line for line, there in zip(lines[1:], known, strict=True) if there]
        file = folder / f"{TODAY}.csv"
        file.write_text("".join([lines[0], *kept, *(["UA,x,N1,EWR,IAH\n"] if spoil else [])]))
        return file

    def push(self, file: Path, now: datetime = NOON):
        return push_file(USE_CASE, "outcomes", file, now=now, store=self.store, tables=self.tables)

    def ask(self, tail: str, at: datetime) -> pl.DataFrame:
        flight = {"origin": "EWR", "dest": "IAH", "carrier": "UA", "tailnum": tail}
        return pl.DataFrame({**flight, "event_timestamp": [at]}, schema_overrides={"event_timestamp": pl.Datetime("us", "UTC")})

    def _write(self, path: names.AssetPath, rows: pl.DataFrame) -> None:
        self.tables.path(path).parent.mkdir(parents=True, exist_ok=True)
        rows.write_delta(self.tables.path(path), delta_write_options={"partition_by": "day"})


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path)


def test_pushed_outcomes_are_online_within_seconds_and_equal_those_of_the_landed_day(line: Line, tmp_path: Path) -> None:
    last = line.accepted("outcomes", until=TODAY).filter(
        pl.col("day") == TODAY, pl.col("arr_time") <= NOON, pl.col("tailnum").is_not_null()
    )
    arrived = last.sort("arr_time").tail(1).to_dicts()[0]
    request = line.ask(arrived["tailnum"], NOON + timedelta(seconds=1))
    files = {view: set(DeltaTable(line.tables.path(names.feature(USE_CASE.name, view))).file_uris()) for view in OF_OUTCOMES}

    began = time.monotonic()
    pushed = line.push(line.today(tmp_path, until=NOON))
    assert time.monotonic() - began < 20  # seconds; a day's run takes longer to start

    assert set(pushed.entities) == OF_OUTCOMES and pushed.refused.is_empty()
    answer = lookup(line.store, request)
    assert answer["tail_last_arr_delay"].item() == arrived["arr_delay"]
    assert answer["features_from"].item() == "online"
    assert answer.drop("features_from", "feature_age_s").equals(line.store.historical(request))
    for view, before in files.items():  # nothing was rewritten
        assert before < set(DeltaTable(line.tables.path(names.feature(USE_CASE.name, view))).file_uris())

    whole = {table: line.accepted(table, until=TODAY).lazy() for table in line.validated}
    for view in (view for view in USE_CASE.features.views if view.name in OF_OUTCOMES):
        ours = line.tables.scan(names.feature(USE_CASE.name, view.name)).filter(pl.col("day") == TODAY).collect()
        own = (
            fill_view(view, whole, UTC_DAYS.start(TODAY), UTC_DAYS.end(TODAY)).filter(pl.col("event_timestamp") <= NOON).collect()
        )
        assert not ours.is_empty()
        assert ours.select(own.columns).join(own, on=own.columns, how="anti", nulls_equal=True).is_empty()


def test_a_table_that_keeps_a_dropped_feature_is_pushed_to(line: Line, tmp_path: Path) -> None:
    for view in OF_OUTCOMES:
        path = line.tables.path(names.feature(USE_CASE.name, view))
        rewrite(path, lambda rows: rows.with_columns(dropped=pl.lit(7)))
    pushed = line.push(line.today(tmp_path, until=NOON))
    assert set(pushed.entities) == OF_OUTCOMES
    for view in OF_OUTCOMES:
        rows = line.tables.scan(names.feature(USE_CASE.name, view)).collect()
        assert set(rows["dropped"].unique()) == {7, None} and rows["dropped"].dtype == pl.Int32


def test_a_feature_that_no_run_has_computed_yet_is_pushed(line: Line, tmp_path: Path) -> None:
    view, feature = "tail_delays", "tail_last_arr_delay"
    rewrite(line.tables.path(names.feature(USE_CASE.name, view)), lambda rows: rows.drop(feature))
    assert set(line.push(line.today(tmp_path, until=NOON)).entities) == OF_OUTCOMES
    stored = line.tables.scan(names.feature(USE_CASE.name, view)).collect()
    assert stored.filter(pl.col("day") < TODAY)[feature].is_null().all()
    assert stored.filter(pl.col("day") == TODAY)[feature].is_not_null().any()
    flight = line.ask(stored.filter(pl.col("day") == TODAY)["tailnum"][0], NOON + timedelta(seconds=1))
    assert lookup(line.store, flight).drop("features_from", "feature_age_s").equals(line.store.historical(flight))


def test_a_late_row_does_not_replace_a_newer_value(line: Line, tmp_path: Path) -> None:
    line.push(line.today(tmp_path, until=NOON))
    tails = (
        line.accepted("outcomes", until=TODAY)
        .filter(pl.col("arr_time") <= NOON)
        .drop_nulls("tailnum")["tailnum"]
        .unique(maintain_order=True)
        .head(50)
    )
    rows = pl.concat([line.ask(tail, NOON + timedelta(hours=1)) for tail in tails])
    before = line.store.look_up(rows.to_dict(as_series=False)).features
    assert (
        line.store.push(
            "tail_delays", pl.DataFrame({"tailnum": tails, "tail_last_arr_delay": 999.0, "event_timestamp": midnight(FIRST)})
        )
        == 0
    )
    assert line.store.look_up(rows.to_dict(as_series=False)).features == before


def test_pushing_twice_changes_nothing(line: Line, tmp_path: Path) -> None:
    file = line.today(tmp_path, until=NOON)
    line.push(file)
    rows = line.ask("N14228", NOON + timedelta(seconds=1))
    before = lookup(line.store, rows)
    line.push(file)
    assert lookup(line.store, rows).equals(before) and line.store.historical(rows).equals(
        before.drop("features_from", "feature_age_s")
    )


def test_bad_rows_are_returned_and_the_rest_is_pushed(line: Line, tmp_path: Path) -> None:
    pushed = line.push(line.today(tmp_path, until=NOON, spoil=True))
    assert pushed.refused.height == 1 and pushed.accepted > 100
    with pytest.raises(ValueError, match="a pushed file is named like a landed one; legal: <YYYY-MM-DD>.csv. Rename it"):
        line.push(line.today(tmp_path, until=NOON).rename(tmp_path / "outcomes.csv"))


WRITE = """
import sys
from datetime import datetime, timedelta
from pathlib import Path
import polars as pl
from mlops_assets.foundation.delta_tables import Span, write_span
day = datetime.fromisoformat(sys.argv[2])
write_span(Path(sys.argv[1]), pl.read_parquet(sys.argv[3]), Span("day", day, day + timedelta(days=1)))
"""


@pytest.mark.slow
def test_a_run_that_writes_the_day_during_a_push_has_the_last_word(line: Line, tmp_path: Path) -> None:
    """The push has read older rows than the run; added to those of the run, its values would stay until the day lands again."""
    (view,) = (view for view in USE_CASE.features.views if view.name == "tail_delays")
    has_read, run_waits = Event(), Event()
    table, rows = line.tables.path(names.feature(USE_CASE.name, view.name)), tmp_path / "rows.parquet"
    own = pl.DataFrame({"tailnum": ["N1"], "tail_last_arr_delay": [1.0], "event_timestamp": [NOON], "day": [TODAY]})
    own.write_parquet(rows)

    def slowly(tables: Tables, start: datetime, end: datetime) -> pl.LazyFrame:
        read = view.transform(tables, start, end).collect().lazy()
        has_read.set()
        run_waits.wait(60)
        return read

    use_case = USE_CASE.but(features=USE_CASE.features.but(views=(view.but(transform=slowly),)))
    with ThreadPoolExecutor(1) as pool:
        file = line.today(tmp_path, until=NOON)
        push = pool.submit(push_file, use_case, "outcomes", file, now=NOON, store=line.store, tables=line.tables)
        assert has_read.wait(60)
        run = subprocess.Popen([sys.executable, "-c", WRITE, str(table), midnight(TODAY).isoformat(), str(rows)], cwd=REPO.parent)
        with suppress(subprocess.TimeoutExpired):
            run.wait(6)  # 1 s on an idle machine, and with nothing to wait for
        run_waits.set()
        assert push.result().entities and run.wait(60) == 0
    stored = line.tables.scan(names.feature(USE_CASE.name, view.name)).filter(pl.col("day") == TODAY).collect()
    assert stored.select(own.columns).equals(own)
