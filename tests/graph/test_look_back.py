"""A look-back of any duration: what a day's run and a push compute equals a brute-force sum over exactly that duration."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlops_assets.features.feast.feature_store import FeatureStore
from mlops_assets.features.push import push_file
from mlops_assets.foundation import names
from mlops_assets.foundation.calendars import UTC_DAYS
from mlops_assets.foundation.conversions import TYPES
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.home import PROJECT, Home
from mlops_assets.graph.features import build_features
from mlops_assets.graph.kernel.tables import PARTITION_COLUMN, build_io_managers, looking_back, partitions_of
from mlops_assets.resources import LandingResource
from mlops_assets.spec.feature import FeatureView
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.features.feast.lookups import lookup
from tests.foundation.days import midnight

FIRST, LAST = dt.date(2013, 1, 1), dt.date(2013, 1, 9)  # LAST is the day that is filled
SCHEMA = {column.name: TYPES[column.dtype] for column in USE_CASE.contract("outcomes").columns}
MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)
DURATIONS = st.integers(1, 8 * 24 * 60).map(lambda minutes: minutes * MINUTE)
# Around the midnights, where a look-back cut to whole days loses rows.
ARRIVALS = st.lists(st.tuples(st.integers(0, 8), st.integers(-40, 40) | st.integers(0, 1439)), min_size=1, max_size=15)


def summing(lookback: dt.timedelta) -> FeatureView:
    """For each arrival, the delays of the aircraft's arrivals in (arrival - lookback, arrival]."""

    def transform(tables: Any, start: dt.datetime, end: dt.datetime) -> pl.LazyFrame:
        total = pl.col("arr_delay").cast(pl.Float64).rolling_sum_by("arr_time", window_size=lookback).over("tailnum")
        rows = tables["outcomes"].select("tailnum", event_timestamp="arr_time", tail_last_arr_delay=total)
        return rows.filter(pl.col("event_timestamp").is_between(start, end, closed="left"))

    return FeatureView(
        name="tail_delays", description=".", tables=("outcomes",), entity=("tailnum",), transform=transform, lookback=lookback
    )


def declared(ours: FeatureView) -> UseCase:
    return USE_CASE.but(features=USE_CASE.features.but(views=(ours,)))


def arrivals(moments: list[dt.datetime]) -> pl.DataFrame:
    """One aircraft; every delay is a power of two, so that a sum identifies the rows in it."""
    rows = [
        {
            "carrier": "UA", "flight": number + 1, "tailnum": "N1", "origin": "EWR", "dest": "IAH", "sched_dep": moment - 3 * HOUR,
            "dep_time": moment - 3 * HOUR, "arr_time": moment, "dep_delay": 0, "arr_delay": 2 ** (number % 11),
        }
        for number, moment in enumerate(moments)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA).with_columns(day=pl.col("arr_time").dt.date())


def one_more(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows and a newer arrival."""
    return pl.concat([rows, arrivals([midnight(LAST) + 15 * MINUTE]).with_columns(flight=pl.lit(99, pl.Int64))])


def brute_force(rows: pl.DataFrame, lookback: dt.timedelta) -> list[tuple[dt.datetime, float]]:
    known = rows.select("arr_time", "arr_delay").rows()
    filled = {moment for moment, _ in known if moment.date() == LAST}
    return sorted((at, float(sum(delay for moment, delay in known if at - lookback < moment <= at))) for at in filled)


@contextmanager
def filled(home: Path, use_case: UseCase, rows: pl.DataFrame) -> Iterator[DeltaTables]:
    """The feature table after a run of its asset for LAST alone, as the automation would request it."""
    tables, asset = DeltaTables(home / "tables"), names.validated(USE_CASE.name, "outcomes")
    tables.path(asset).parent.mkdir(parents=True)
    rows.write_delta(tables.path(asset), delta_write_options={"partition_by": "day"})
    feature = next(one for one in build_features(use_case) if one.key == dg.AssetKey(names.feature(use_case.name, "tail_delays")))
    validated = dg.AssetSpec(
        asset, partitions_def=partitions_of(use_case, UTC_DAYS), metadata={PARTITION_COLUMN: "day"}
    ).with_io_manager_key("tables")
    landing = LandingResource(folder=str(home / "landing"))
    resources = {**build_io_managers(str(home / "tables"), str(home / "values")), "landing": landing}
    with dg.DagsterInstance.ephemeral(tempdir=str(home)) as instance:
        assert dg.materialize(
            [validated, feature], instance=instance, resources=resources, partition_key=LAST.isoformat(), selection=[feature]
        ).success
    yield tables


@given(lookback=DURATIONS, at=ARRIVALS)
@example(lookback=6 * HOUR, at=[(8, 10), (7, 1430), (7, 1100), (7, 1000)])
@example(lookback=36 * HOUR, at=[(8, 60), (7, 10), (6, 1430), (6, 780), (6, 781)])
@example(lookback=DAY + dt.timedelta(microseconds=1), at=[(8, 0), (7, 0), (6, 1439)])
@settings(deadline=None, max_examples=6)
def test_the_run_of_one_day_sums_over_the_exact_duration(lookback: dt.timedelta, at: list[tuple[int, int]]) -> None:
    moments = [midnight(FIRST) + day * DAY + minutes * MINUTE for day, minutes in at]
    rows = arrivals([max(moment, midnight(FIRST)) for moment in [*moments, midnight(LAST), midnight(LAST) + 5 * MINUTE]])
    rows = rows.unique(maintain_order=True).filter(pl.col("day") <= LAST)
    with TemporaryDirectory() as folder, filled(Path(folder), declared(summing(lookback)), rows) as tables:
        table = tables.scan(names.feature(USE_CASE.name, "tail_delays")).collect()
    values = table.select("event_timestamp", "tail_last_arr_delay").unique().sort("event_timestamp").rows()
    assert values == brute_force(rows, lookback)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(Home(tmp_path), service=USE_CASE.features.service)
    store.apply(PROJECT / "feature_repo")
    return store


def online(store: FeatureStore, at: dt.datetime) -> float:
    flight = {"origin": "EWR", "dest": "IAH", "carrier": "UA", "tailnum": "N1"}
    answer = lookup(store, pl.DataFrame([flight]).with_columns(event_timestamp=pl.lit(at).cast(pl.Datetime("us", "UTC"))))
    assert answer["features_from"].item() == "online"
    return answer["tail_last_arr_delay"].item()


def push(use_case: UseCase, rows: pl.DataFrame, store: FeatureStore, tables: DeltaTables, folder: Path) -> None:
    file = folder / f"{LAST}.csv"
    rows.drop("day").write_csv(file, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    push_file(use_case, "outcomes", file, now=midnight(LAST) + HOUR, store=store, tables=tables)


@pytest.mark.parametrize("lookback", [20 * MINUTE, 6 * HOUR, 36 * HOUR, 3 * DAY], ids=str)
def test_the_online_value_of_a_run_and_of_a_push_sums_over_the_exact_duration(
    lookback: dt.timedelta, store: FeatureStore, tmp_path: Path
) -> None:
    use_case, end = declared(summing(lookback)), midnight(LAST)
    rows = arrivals([end - DAY * days - HOUR * hours for days in range(5) for hours in (0, 5, 7, 11, 13)] + [end + 10 * MINUTE])
    with filled(tmp_path, use_case, rows) as tables:
        store.materialize("tail_delays", end)
        assert online(store, end + HOUR) == brute_force(rows, lookback)[-1][1]
        all_rows = one_more(rows)
        push(use_case, all_rows.filter(pl.col("day") == LAST), store, tables, tmp_path)
        assert online(store, end + HOUR) == brute_force(all_rows, lookback)[-1][1]


def test_a_push_reads_the_days_that_the_run_of_its_day_reads(store: FeatureStore, tmp_path: Path) -> None:
    """A transform that looks further back than declared gives the same value in both: wrong, but without skew."""
    use_case, end = declared(summing(3 * DAY).but(lookback=6 * HOUR)), midnight(LAST)
    rows = arrivals([end - 2 * DAY, end - HOUR, end + 10 * MINUTE])
    with filled(tmp_path, use_case, rows) as tables:
        table = tables.scan(names.feature(USE_CASE.name, "tail_delays")).collect()
        assert table["tail_last_arr_delay"].to_list() == [2 + 4]
        push(use_case, one_more(rows).filter(pl.col("day") == LAST), store, tables, tmp_path)
        assert online(store, end + HOUR) == 2 + 4 + 1


@pytest.mark.parametrize(
    ("lookback", "first"),
    [
        (0 * DAY, "09"), (dt.timedelta(microseconds=1), "08"), (6 * HOUR, "08"), (DAY, "08"),
        (DAY + dt.timedelta(microseconds=1), "07"), (36 * HOUR, "07"), (2 * DAY, "07"), (30 * DAY, "01"),
    ],
    ids=str,
)  # fmt: skip
def test_a_day_depends_on_every_day_that_its_look_back_touches(lookback: dt.timedelta, first: str) -> None:
    days = partitions_of(USE_CASE, UTC_DAYS)
    own = days.empty_subset().with_partition_keys([LAST.isoformat()])
    mapped = looking_back(lookback, UTC_DAYS, UTC_DAYS).get_upstream_mapped_partitions_result_for_partitions(own, days, days)
    read = sorted(mapped.partitions_subset.get_partition_keys())
    assert (read[0], read[-1], len(read)) == (f"2013-01-{first}", LAST.isoformat(), 10 - int(first))


def test_a_look_back_into_the_future_is_illegal() -> None:
    with pytest.raises(IllegalDeclaration, match=r"tail_delays · FeatureView · lookback = .* greater than or equal to 0"):
        summing(-HOUR)
