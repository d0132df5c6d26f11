"""The offline store with every form of entity frame and source, and through Feast's own API; values: test_point_in_time."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, RequestSource, ValueType
from feast.data_format import DeltaFormat, ParquetFormat
from feast.on_demand_feature_view import OnDemandFeatureView, on_demand_feature_view
from feast.types import Float64, Int64, String

from mlops_assets.features.offline.point_in_time import EntityFrameMismatch, MissingFeatureTable
from mlops_assets.features.offline.polars_offline_store import CLASS_PATH, PolarsOfflineStore, PolarsRetrievalJob

START = datetime(2013, 3, 10, 6, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
carrier = Entity(name="carrier", join_keys=["carrier"], value_type=ValueType.STRING)
stop = Entity(name="stop", join_keys=["stop"], value_type=ValueType.INT64)
TYPES = {"carrier": String, "stop": Int64}


def view(
    name: str, path: Path | str, entities: list[Entity], *, ttl: timedelta = timedelta(0), delta: bool = False, **source: Any
) -> FeatureView:
    keys = [Field(name=entity.join_key, dtype=TYPES[entity.join_key]) for entity in entities]
    source = {"file_format": DeltaFormat() if delta else ParquetFormat(), "timestamp_field": "at", **source}
    return FeatureView(
        name=name,
        entities=entities,
        ttl=ttl,
        schema=[*keys, Field(name=f"{name}_value", dtype=Float64)],
        source=FileSource(name=f"{name}_table", path=str(path), **source),
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return feast_store(tmp_path_factory.mktemp("feast"))


def feast_store(root: Path, offline: dict[str, str] | None = None) -> FeatureStore:
    config = RepoConfig(
        project="tests",
        provider="local",
        registry=str(root / "registry.db"),
        offline_store=offline or {"type": CLASS_PATH, "root": str(root)},
        online_store={"type": "sqlite", "path": str(root / "online.db")},
        materialization={"pull_latest_features": True},
        entity_key_serialization_version=3,
    )
    return FeatureStore(config=config)


def ask(store: FeatureStore, entity_rows: Any, *views: FeatureView, **options: Any) -> PolarsRetrievalJob:
    refs = [f"{view.projection.name_to_use()}:{feature.name}" for view in views for feature in view.features]
    return PolarsOfflineStore.get_historical_features(
        store.config, list(views), refs, entity_rows, store.registry, "tests", **options
    )


# --- entity frames ----------------------------------------------------------------------------------------------------

FRAMES: dict[str, Callable[[pl.DataFrame], Any]] = {
    "polars": lambda frame: frame,
    "arrow": lambda frame: frame.to_arrow(),
    "pandas": lambda frame: frame.to_pandas(),
    "pandas on arrow": lambda frame: frame.to_pandas(use_pyarrow_extension_array=True),
    "naive": lambda frame: frame.with_columns(pl.col("event_timestamp").dt.replace_time_zone(None)),
    "New York, nanoseconds": lambda frame: frame.to_pandas().assign(
        event_timestamp=lambda times: pd.to_datetime(times.event_timestamp).astype("datetime64[ns, America/New_York]")
    ),
    "text": lambda frame: frame.with_columns(pl.col("event_timestamp").dt.to_string("iso:strict")),
    "narrow keys": lambda frame: frame.with_columns(pl.col("stop").cast(pl.Int8), pl.col("carrier").cast(pl.Categorical)),
}


@pytest.fixture
def late_rates(tmp_path: Path) -> FeatureView:
    rows = {"carrier": ["AA", "AA", "UA"], "stop": [1, 1, 2], "at": [START, START + HOUR, START], "late_value": [0.1, 0.2, 0.3]}
    pl.DataFrame(rows).write_parquet(tmp_path / "late.parquet")
    return view("late", tmp_path / "late.parquet", [carrier, stop], ttl=2 * HOUR)


@pytest.mark.parametrize("kind", FRAMES)
def test_every_kind_of_entity_frame_gives_the_same_result(store: FeatureStore, late_rates: FeatureView, kind: str) -> None:
    entities = pl.DataFrame(
        {
            "carrier": ["UA", "AA", "AA", "ZZ", None, "AA"],
            "stop": [2, 1, 1, 1, 1, None],
            "event_timestamp": [START + HOUR, START, START + 3 * HOUR, START, START, START],
        }
    )
    answer = ask(store, FRAMES[kind](entities), late_rates)
    assert answer.to_polars()["late_value"].to_list() == [0.3, 0.1, 0.2, None, None, None]
    assert pl.Series(answer.to_arrow()["late_value"]).to_list() == [0.3, 0.1, 0.2, None, None, None]
    assert answer.to_df().columns.tolist() == ["carrier", "stop", "event_timestamp", "late_value"]


def test_no_entity_row_is_no_error(store: FeatureStore, late_rates: FeatureView) -> None:
    schema = {"carrier": pl.String, "stop": pl.Int64, "event_timestamp": pl.Datetime("us", "UTC")}
    answer = ask(store, pl.DataFrame(schema=schema), late_rates).to_polars()
    assert answer.schema == {**schema, "late_value": pl.Float64}


def test_renamed_keys_and_full_names_are_honoured(store: FeatureStore, late_rates: FeatureView) -> None:
    late_rates.projection.join_key_map = {"carrier": "airline", "stop": "stop"}
    entities = pl.DataFrame({"airline": ["UA"], "stop": [2], "event_timestamp": [START]})
    assert ask(store, entities, late_rates, full_feature_names=True).to_polars()["late__late_value"].to_list() == [0.3]


def test_the_last_created_of_several_values_of_one_moment_wins(store: FeatureStore, tmp_path: Path) -> None:
    rows = {"carrier": ["AA", "AA"], "at": [START, START], "created": [START + 2 * HOUR, START], "late_value": [0.9, 0.1]}
    pl.DataFrame(rows).write_parquet(tmp_path / "late.parquet")
    late = view("late", tmp_path / "late.parquet", [carrier], created_timestamp_column="created")
    entities = pl.DataFrame({"carrier": ["AA"], "event_timestamp": [START + HOUR]})
    assert ask(store, entities, late).to_polars()["late_value"].to_list() == [0.9]


@pytest.mark.parametrize("wrong", [None, "SELECT 1"])
def test_only_frames_are_entity_frames(store: FeatureStore, late_rates: FeatureView, wrong: object) -> None:
    with pytest.raises(EntityFrameMismatch, match="datetime columns: none; legal: exactly one"):
        ask(store, wrong, late_rates)


# --- sources ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def five_days() -> pl.DataFrame:
    at = pl.Series([START + number * DAY for number in range(5)])
    return pl.DataFrame({"carrier": ["AA"] * 5, "at": at, "late_value": [float(n) for n in range(5)], "day": at.dt.date()})


def write(form: str, rows: pl.DataFrame, root: Path) -> Path:
    path = root / f"late{form}"
    if form == ".delta":
        rows.write_delta(path, delta_write_options={"partition_by": ["day"]})
    else:
        rows.drop("day").write_parquet(path)
    return path


@pytest.mark.parametrize("form", [".parquet", ".delta"])
def test_a_source_is_a_file_or_a_delta_table_below_the_root(tmp_path: Path, five_days: pl.DataFrame, form: str) -> None:
    store = feast_store(tmp_path)
    late = view("late", write(form, five_days, tmp_path).name, [carrier], ttl=DAY, delta=form == ".delta")
    entities = pl.DataFrame({"carrier": ["AA", "AA"], "event_timestamp": [START + 2 * DAY, START + 9 * DAY]})
    assert ask(store, entities, late).to_polars()["late_value"].to_list() == [2.0, None]


def test_only_the_days_that_the_entity_rows_can_touch_are_read(tmp_path: Path, five_days: pl.DataFrame) -> None:
    late = view("late", write(".delta", five_days, tmp_path), [carrier], ttl=DAY, delta=True)
    for far in (START, START + 4 * DAY):
        next((tmp_path / "late.delta" / f"day={far.date()}").iterdir()).unlink()
    entities = pl.DataFrame({"carrier": ["AA", "AA"], "event_timestamp": [START + 2 * DAY, START + 3 * DAY]})
    assert ask(feast_store(tmp_path), entities, late).to_polars()["late_value"].to_list() == [2.0, 3.0]
    late.ttl = 2 * DAY
    with pytest.raises((pl.exceptions.ComputeError, OSError), match="day=2013-03-10"):
        ask(feast_store(tmp_path), entities, late).to_polars()


def test_a_view_without_a_table_is_named_with_the_remedy(tmp_path: Path) -> None:
    late = view("late", "late.delta", [carrier], delta=True)
    entities = pl.DataFrame({"carrier": ["AA"], "event_timestamp": [START]})
    with pytest.raises(MissingFeatureTable, match=rf"late.*{tmp_path}/late\.delta.*[Mm]aterialize"):
        ask(feast_store(tmp_path), entities, late).to_polars()


def test_the_latest_row_of_each_key_is_pulled_within_its_bounds(store: FeatureStore, tmp_path: Path) -> None:
    rows = {
        "carrier": ["AA", "AA", "UA", "AA", "AA"],
        "at": [START, START + HOUR, START, START + HOUR, START + DAY],
        "created": [START, START + HOUR, START, START, START],
        "late_value": [0.0, 1.0, 2.0, 3.0, 4.0],
    }
    pl.DataFrame(rows).write_parquet(tmp_path / "late.parquet")
    late = view("late", tmp_path / "late.parquet", [carrier], created_timestamp_column="created")
    bounds = {"start_date": START, "end_date": (START + HOUR).replace(tzinfo=None)}
    columns = {"join_key_columns": ["carrier"], "feature_name_columns": ["late_value"], "timestamp_field": "at"}
    pull = {"data_source": late.batch_source, **columns, "created_timestamp_column": "created", **bounds}

    latest = PolarsOfflineStore.pull_latest_from_table_or_query(store.config, **pull).to_polars()

    assert sorted(zip(latest["carrier"], latest["late_value"], strict=True)) == [("AA", 1.0), ("UA", 2.0)]


def test_appended_rows_are_found_and_nothing_is_lost(tmp_path: Path, five_days: pl.DataFrame) -> None:
    store = feast_store(tmp_path)
    late = view("late", write(".delta", five_days, tmp_path).name, [carrier], delta=True)
    store.apply([carrier, late])
    store.write_to_offline_store(
        "late", pd.DataFrame({"carrier": ["UA"], "at": [START + DAY], "late_value": [9.0]}), reorder_columns=True
    )
    entities = pl.DataFrame({"carrier": ["UA", "AA"], "event_timestamp": [START + DAY] * 2})
    assert ask(store, entities, late).to_polars()["late_value"].to_list() == [9.0, 1.0]


def test_a_source_without_its_timestamp_is_rejected_and_one_that_does_not_exist_yet_is_not(tmp_path: Path) -> None:
    config, ours = feast_store(tmp_path).config, PolarsOfflineStore()
    late = view("late", "late.parquet", [carrier], timestamp_field="seen_at")
    ours.validate_data_source(config, late.batch_source)
    pl.DataFrame({"carrier": ["AA"], "at": [START]}).write_parquet(tmp_path / "late.parquet")
    with pytest.raises(ValueError, match="no column 'seen_at'; found: carrier, at"):
        ours.validate_data_source(config, late.batch_source)


# --- through Feast's own API ----------------------------------------------------------------------------------------


def test_feast_finds_the_store_by_its_class_path_and_materializes_with_it(tmp_path: Path, five_days: pl.DataFrame) -> None:
    store = feast_store(tmp_path)
    late = view("late", write(".delta", five_days, tmp_path).name, [carrier], delta=True)
    store.apply([carrier, late])
    store.materialize(START, START + 3 * DAY)
    online = store.get_online_features(features=["late:late_value"], entity_rows=[{"carrier": "AA"}, {"carrier": "ZZ"}]).to_dict()
    assert online["late_value"] == [3.0, None]
    entities = pd.DataFrame({"carrier": ["AA"], "event_timestamp": [START + HOUR]})
    history = store.get_historical_features(entity_df=entities, features=["late:late_value"])
    assert history.to_df()["late_value"].tolist() == [0.0]
    assert history.metadata.min_event_timestamp == START + HOUR


def scaled(source: FeatureView) -> OnDemandFeatureView:
    request = RequestSource(name="request", schema=[Field(name="factor", dtype=Float64)])

    @on_demand_feature_view(sources=[source, request], schema=[Field(name="scaled", dtype=Float64)], mode="python")
    def on_demand(inputs: dict[str, list[float]]) -> dict[str, list[float]]:
        pairs = zip(inputs["late_value"], inputs["factor"], strict=True)
        return {"scaled": [value and value * factor for value, factor in pairs]}

    return on_demand


def test_on_demand_views_meet_the_request_data_in_history(tmp_path: Path, five_days: pl.DataFrame) -> None:
    store = feast_store(tmp_path)
    late = view("late", write(".parquet", five_days, tmp_path).name, [carrier])
    store.apply([carrier, late, scaled(late)])
    moments = [START, START + 2 * DAY, START]
    entities = pl.DataFrame({"carrier": ["ZZ", "AA", "AA"], "event_timestamp": moments, "factor": [2.0, 3.0, 4.0]})
    for kind, full_names in (("pandas", False), ("polars", True), ("arrow", False)):
        history = store.get_historical_features(FRAMES[kind](entities), ["on_demand:scaled"], full_feature_names=full_names)
        answer = pl.from_pandas(history.to_df())
        assert answer["on_demand__scaled" if full_names else "scaled"].to_list() == [None, 6.0, 0.0]
        assert answer["factor"].to_list() == [2.0, 3.0, 4.0]
