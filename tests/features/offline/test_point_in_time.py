"""The join, and the whole store, against a brute-force implementation and Feast on DuckDB."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob
from feast.protos.feast.core.FeatureView_pb2 import FeatureView as FeatureViewProto
from feast.types import Int64, String
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.features.offline.point_in_time import EntityFrameMismatch, Facts, event_timestamp_of, join_facts, time_span
from mlops_assets.features.offline.polars_offline_store import CLASS_PATH, PolarsOfflineStore

pytestmark = pytest.mark.slow

START = datetime(2013, 3, 10, 6, 54, tzinfo=UTC)  # in New York the clocks jump within the drawn minutes
MOMENT = pl.Datetime("us", "UTC")
KEYS = st.sampled_from(["a", "b", None])
minutes = st.integers(0, 12).map(lambda minute: START + timedelta(minutes=minute))
Rows = list[dict[str, Any]]


def facts_of(*keys: str) -> st.SearchStrategy[Rows]:
    fields = {"at": minutes, "created": st.none() | minutes, "value": st.none() | st.integers(0, 99)}
    columns = {**dict.fromkeys(keys, KEYS), **fields}
    return st.lists(st.fixed_dictionaries(columns), max_size=25)


def entity_rows(moments: st.SearchStrategy[datetime | None]) -> st.SearchStrategy[Rows]:
    return st.lists(st.fixed_dictionaries({"k": KEYS, "k2": KEYS, "event_timestamp": moments}), max_size=15)


requested_rows = entity_rows(minutes)


def right_answer(row: dict[str, Any], facts: Rows, keys: Sequence[str], ttl: timedelta) -> Any:
    def counts(fact: dict[str, Any]) -> bool:
        at = row["event_timestamp"]
        return (
            at is not None
            and all(row[key] is not None and row[key] == fact[key] for key in keys)
            and fact["at"] <= at
            and (not ttl or fact["at"] >= at - ttl)
        )

    never = datetime.min.replace(tzinfo=UTC)
    known = [(fact["at"], fact["created"] or never, place) for place, fact in enumerate(facts) if counts(fact)]
    return facts[max(known)[2]]["value"] if known else None


def table(name: str, keys: Sequence[str], facts: Rows, ttl: timedelta) -> Facts:
    schema = {**dict.fromkeys(keys, pl.String), "at": MOMENT, "created": MOMENT, "value": pl.Int64}
    rows = pl.LazyFrame(facts, schema=schema)
    same = {key: key for key in keys}
    return Facts(view=name, rows=rows, keys=same, features={"value": name}, timestamp="at", created="created", ttl=ttl)


def entity_frame(rows: Rows) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"k": pl.String, "k2": pl.String, "event_timestamp": MOMENT})


@settings(max_examples=150, deadline=None)
@given(entity_rows(st.none() | minutes), facts_of("k"), facts_of("k", "k2"), facts_of(), st.sampled_from([0, 1, 5]))
def test_every_row_gets_the_newest_fact_of_its_moment_and_no_row_is_lost(
    rows: Rows, one_key: Rows, two_keys: Rows, no_key: Rows, ttl_minutes: int
) -> None:
    ttl = timedelta(minutes=ttl_minutes)
    declared = {"one": (["k"], one_key), "two": (["k", "k2"], two_keys), "none": ([], no_key)}
    tables = [table(name, keys, facts, ttl) for name, (keys, facts) in declared.items()]

    answer = join_facts(entity_frame(rows), tables, event_timestamp="event_timestamp")

    expected = [
        {**row, **{name: right_answer(row, facts, keys, ttl) for name, (keys, facts) in declared.items()}} for row in rows
    ]
    assert answer.to_dicts() == expected


# --- the whole store --------------------------------------------------------------------------------------------------

FORMS: dict[str, Any] = {
    "UTC": lambda moment: moment,
    "no zone": lambda moment: moment.dt.replace_time_zone(None),
    "New York": lambda moment: moment.dt.convert_time_zone("America/New_York"),
    "milliseconds": lambda moment: moment.dt.cast_time_unit("ms"),
}
forms = st.sampled_from(sorted(FORMS))


def as_duckdb_defines(facts: Rows) -> Rows:
    """No fact without a creation, no two of one key, time and creation: which of those wins is undefined there."""
    known = [fact for fact in facts if fact["created"]]
    return list({tuple(value for name, value in fact.items() if name != "value"): fact for fact in known}.values())


def view(name: str, keys: Sequence[str], facts: Rows, ttl: timedelta, *, folder: Path, form: str) -> FeatureView:
    moments = FORMS[form](pl.col("at", "created"))
    table(name, keys, facts, ttl).rows.rename({"value": name}).with_columns(moments).sink_parquet(folder / f"{name}.parquet")
    times = {"timestamp_field": "at", "created_timestamp_column": "created"}
    return FeatureView(
        name=name,
        entities=[Entity(name=key, join_keys=[key], value_type=ValueType.STRING) for key in keys],
        ttl=ttl,
        schema=[*(Field(name=key, dtype=String) for key in keys), Field(name=name, dtype=Int64)],
        source=FileSource(name=f"{name}_table", path=str(folder / f"{name}.parquet"), **times),
    )


def feast_store(folder: Path, kind: str) -> FeatureStore:
    registry = str(folder / f"{kind}.db")
    config = RepoConfig(
        project="tests", provider="local", registry=registry, offline_store={"type": kind}, entity_key_serialization_version=3
    )
    return FeatureStore(config=config)


def ask(kind: type[OfflineStore], store: FeatureStore, views: list[FeatureView], entities: Any) -> RetrievalJob:
    rest = {"registry": store.registry, "project": "tests"}
    return kind.get_historical_features(store.config, views, ["one:one", "two:two"], entities, **rest)


def ask_duckdb(folder: Path, views: list[bytes], entities: pl.DataFrame) -> pl.DataFrame:
    """The answer of Feast's own store; `views` are serialized protocol buffers."""
    from feast.infra.offline_stores.duckdb import DuckDBOfflineStore

    read = [FeatureView.from_proto(FeatureViewProto.FromString(view)) for view in views]
    job = ask(DuckDBOfflineStore, feast_store(folder, "duckdb"), read, entities.to_pandas())
    return pl.DataFrame(job.to_arrow())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("feast")


@pytest.fixture(scope="module")
def other_process() -> Iterator[ProcessPoolExecutor]:
    """DuckDB prints a page of leaked objects at the end of a process in which pytest's threads still refer to it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        yield executor


@settings(max_examples=15, deadline=None)
@given(
    requested_rows.filter(bool), facts_of("k"), facts_of("k", "k2"), st.sampled_from([0, 1, 5]), st.tuples(forms, forms, forms)
)
def test_the_store_answers_as_brute_force_does_and_as_feast_on_duckdb_does(
    folder: Path,
    other_process: ProcessPoolExecutor,
    rows: Rows,
    one_key: Rows,
    two_keys: Rows,
    ttl_minutes: int,
    moment_forms: tuple[str, str, str],
) -> None:
    ttl = timedelta(minutes=ttl_minutes)
    declared = {"one": (["k"], as_duckdb_defines(one_key)), "two": (["k", "k2"], as_duckdb_defines(two_keys))}
    views = [
        view(name, *known, ttl, folder=folder, form=form)
        for (name, known), form in zip(declared.items(), moment_forms[1:], strict=True)
    ]
    entities = entity_frame(rows).with_row_index("row").with_columns(FORMS[moment_forms[0]](pl.col("event_timestamp")))
    answer = ask(PolarsOfflineStore, feast_store(folder, CLASS_PATH), views, entities).to_polars()
    protos = [view.to_proto().SerializeToString() for view in views]
    theirs = other_process.submit(ask_duckdb, folder, protos, entities).result()

    assert answer.select(entities.columns).equals(entities)
    for name, (keys, facts) in declared.items():
        expected = [right_answer(row, facts, keys, ttl) for row in rows]
        assert answer[name].to_list() == expected
        assert theirs.sort("row")[name].to_list() == expected  # DuckDB keeps no order


@settings(max_examples=60, deadline=None)
@given(requested_rows, facts_of("k"), minutes)
def test_facts_after_the_moment_change_nothing(rows: Rows, facts: Rows, moment: datetime) -> None:
    rows = [row for row in rows if row["event_timestamp"] <= moment]
    before = [fact for fact in facts if fact["at"] <= moment]
    answers = [
        join_facts(entity_frame(rows), [table("v", ["k"], known, timedelta(0))], event_timestamp="event_timestamp")
        for known in (before, facts)
    ]
    assert answers[0].equals(answers[1])


def test_a_fact_expires_a_microsecond_after_its_ttl() -> None:
    known = [{"k": "a", "at": START, "created": None, "value": 7}]
    edge = START + timedelta(hours=1)
    rows: Rows = [{"k": "a", "k2": None, "event_timestamp": at} for at in (START, edge, edge + timedelta(microseconds=1))]
    answer = join_facts(entity_frame(rows), [table("v", ["k"], known, timedelta(hours=1))], event_timestamp="event_timestamp")
    assert answer["v"].to_list() == [7, 7, None]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (pl.Series([1, 2], dtype=pl.Int32), pl.Series([1, 2], dtype=pl.Int64)),
        (pl.Series([1, 2], dtype=pl.UInt8), pl.Series([1, 2], dtype=pl.Int16)),
        (pl.Series([1.0, 2.0]), pl.Series([1, 2])),  # whole numbers with gaps, as pandas holds them
        (pl.Series(["1", "2"], dtype=pl.Categorical), pl.Series(["1", "2"])),
        (pl.Series(["1", "2"]), pl.Series(["1", "2"], dtype=pl.Enum(["2", "1"]))),
    ],
)
def test_keys_match_whatever_their_width(ours: pl.Series, theirs: pl.Series) -> None:
    entities = pl.DataFrame({"k": ours, "event_timestamp": [START, START]})
    rows = pl.LazyFrame({"k": theirs, "at": [START, START], "value": [10, 20]})
    tables = [Facts(view="v", rows=rows, keys={"k": "k"}, features={"value": "value"}, timestamp="at")]
    answer = join_facts(entities, tables, event_timestamp="event_timestamp")
    assert answer["value"].to_list() == [10, 20]
    assert answer.schema["k"] == ours.dtype


def test_a_key_of_another_type_is_rejected_by_name() -> None:
    entities = pl.DataFrame({"k": ["1"], "event_timestamp": [START]})
    rows = pl.LazyFrame({"k": [1], "at": [START], "value": [10]})
    tables = [Facts(view="speed", rows=rows, keys={"k": "k"}, features={"value": "value"}, timestamp="at")]
    with pytest.raises(EntityFrameMismatch, match="speed.*'k' is String in the entity frame and Int64 in the table"):
        join_facts(entities, tables, event_timestamp="event_timestamp")


def test_a_missing_key_and_a_clash_of_names_are_rejected() -> None:
    known = table("v", ["k"], [], timedelta(0))
    with pytest.raises(EntityFrameMismatch, match="'v' · the entity frame lacks k; it has event_timestamp"):
        join_facts(pl.DataFrame({"event_timestamp": [START]}), [known], event_timestamp="event_timestamp")
    with pytest.raises(EntityFrameMismatch, match="the entity frame or another view already has v"):
        join_facts(entity_frame([]).with_columns(v=1), [known], event_timestamp="event_timestamp")


def test_a_table_without_a_declared_column_is_rejected() -> None:
    rows = pl.LazyFrame({"k": ["a"], "at": [START]})
    facts = Facts(view="v", rows=rows, keys={"k": "k"}, features={"value": "v"}, timestamp="at")
    with pytest.raises(EntityFrameMismatch, match="'v' · its table lacks value; it has k, at"):
        join_facts(entity_frame([]), [facts], event_timestamp="event_timestamp")


def test_a_moment_is_read_as_utc_in_every_form() -> None:
    forms = [
        pl.Series([START]).dt.cast_time_unit("ns"),
        pl.Series([START]).dt.replace_time_zone(None),
        pl.Series([START]).dt.convert_time_zone("America/New_York"),
        pl.Series([START.isoformat()]),
        pl.Series(["2013-03-10 06:54:00"]),
    ]
    for form in forms:
        assert time_span(pl.DataFrame({"event_timestamp": form}), "event_timestamp") == (START, START), form.dtype


def test_the_moment_is_the_only_datetime_column_or_has_the_name() -> None:
    assert event_timestamp_of(pl.DataFrame({"k": [1], "asked": [START]})) == "asked"
    assert event_timestamp_of(pl.DataFrame({"asked": [START], "event_timestamp": [START]})) == "event_timestamp"
    with pytest.raises(EntityFrameMismatch, match="datetime columns: one, two"):
        event_timestamp_of(pl.DataFrame({"one": [START], "two": [START]}))
