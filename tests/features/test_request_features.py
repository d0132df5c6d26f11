"""Every request feature has equal values in Polars and in plain Python, whatever the values of a row."""

import math
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlops_assets.features.request_features import entity_columns, entity_rows, expression, scalar
from mlops_assets.foundation.conversions import TYPES
from mlops_assets.foundation.local_time import local_time
from mlops_assets.spec.column_type import DType
from mlops_assets.spec.contract import Column
from mlops_assets.spec.request_feature import (
    ANY,
    Bucket,
    Difference,
    HashedWords,
    Hour,
    HoursBetween,
    IsMissing,
    Log,
    MinuteOfDay,
    Month,
    OfLocalTime,
    PredictionMoment,
    Ratio,
    Renamed,
    RequestFeature,
    TextLength,
    Weekday,
    hashed_words,
)
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import LOANS, application_rows

# With half an hour of summer time, a clock that was set by seconds, a day that never was, summer time that ends for a month,
# and two where Polars' own database differs today.
ZONES = (
    "UTC",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Monrovia",
    "Pacific/Apia",
    "Africa/Casablanca",
    "WET",
    "EST5EDT",
)
CLOCK_CHANGES = tuple(
    datetime.fromisoformat(text)
    for text in (
        "2013-03-10T07:00Z", "2013-11-03T06:00Z", "2150-03-08T07:00Z", "1972-01-07T00:44:30Z", "2011-12-30T10:00Z",
        "2024-02-29T00:00Z", "2024-12-31T23:59:59.999999Z", "1900-01-01T00:00Z", "2199-12-31T23:59:59.999999Z",
    )
)  # fmt: skip
moments = st.one_of(
    st.builds(lambda change, us: change + timedelta(microseconds=us), st.sampled_from(CLOCK_CHANGES[:-2]), st.integers(-9, 9)),
    st.sampled_from(CLOCK_CHANGES),
    st.datetimes(datetime(1900, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC)),
)
VALUES: dict[DType, st.SearchStrategy[Any]] = {
    "string": st.one_of(st.text(), st.sampled_from(["nan", "", "e\u0301", "👩‍👩‍👧", "\x00"])),
    "int": st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, 1, -1, 2**53 + 1, -(2**63), 2**63 - 1])),
    "float": st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 5e-324, 1.7976931348623157e308, -1.0])),
    "datetime": moments,
    "bool": st.booleans(),
    "category": st.text(),
    "decimal": st.decimals(min_value=-(10**16), max_value=10**16, places=4),
    "date": st.dates(date(1900, 1, 1), date(2199, 12, 31)),
}
STORED = TYPES | {"decimal": pl.Decimal(38, 4)}
bounds = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4, unique=True).map(sorted).map(tuple)
WORDS: dict[type[RequestFeature], st.SearchStrategy[RequestFeature]] = {
    PredictionMoment: st.builds(
        PredictionMoment, column=st.just("a"), before=st.timedeltas(timedelta(days=-3653), timedelta(days=3653))
    ),
    HoursBetween: st.just(HoursBetween(name="x", column="a", since="b")),
    Difference: st.just(Difference(name="x", column="a", minus="b")),
    Ratio: st.just(Ratio(name="x", column="a", by="b")),
    Log: st.builds(Log, name=st.just("x"), column=st.just("a"), plus=st.sampled_from([0.0, 1.0, 0.1])),
    Bucket: st.builds(Bucket, name=st.just("x"), column=st.just("a"), bounds=bounds),
    TextLength: st.just(TextLength(name="x", column="a")),
    HashedWords: st.sampled_from(hashed_words("a", 3)),
    IsMissing: st.just(IsMissing(name="x", column="a")),
    Renamed: st.just(Renamed(name="x", column="a")),
    **{
        kind: st.builds(kind, name=st.just("x"), column=st.just("a"), zone=st.sampled_from(ZONES))
        for kind in (MinuteOfDay, Hour, Weekday, Month)
    },
}
PROPERTY = settings(max_examples=150, deadline=None)


def words_of(base: type[RequestFeature]) -> set[type[RequestFeature]]:
    return {leaf for kind in base.__subclasses__() for leaf in (words_of(kind) or {kind})}


def exact(values: list[Any]) -> list[Any]:
    """-0.0 differs from 0.0, and 1 from 1.0; moments are compared as moments."""
    return [value if isinstance(value, datetime) else repr(value) for value in values]


def test_the_hashed_words_of_a_text_are_counted_once_and_stay_the_same() -> None:
    text = "Zug fällt aus. Zug FÄLLT aus, wieder!"
    frame = pl.DataFrame({"note": [text, None, "", "..."]})
    counts = [[scalar(feature)(value) for feature in hashed_words("note", 4)] for value in frame["note"]]
    assert counts == [[4.0, 1.0, 0.0, 2.0], [None] * 4, [0.0] * 4, [0.0] * 4]
    assert frame.select(expression(feature).alias(feature.name) for feature in hashed_words("note", 4)).rows() == [
        *map(tuple, counts)
    ]


def test_every_kind_of_request_feature_is_tested() -> None:
    assert words_of(RequestFeature) - {OfLocalTime} == WORDS.keys()


@st.composite
def features_with_values(draw: st.DrawFn, kind: type[RequestFeature]) -> tuple[RequestFeature, DType, list[tuple[Any, ...]]]:
    feature, dtype = draw(WORDS[kind]), draw(st.sampled_from(kind.READS))
    value = st.none() | VALUES[dtype]
    rows = draw(st.lists(st.tuples(*(value for _ in feature.columns)), min_size=1, max_size=20))
    return feature, dtype, rows


@pytest.mark.parametrize("kind", WORDS, ids=[kind.__name__ for kind in WORDS])
def test_the_value_of_a_row_equals_that_of_a_table(kind: type[RequestFeature]) -> None:
    @PROPERTY
    @given(features_with_values(kind))
    def check(case: tuple[RequestFeature, DType, list[tuple[Any, ...]]]) -> None:
        feature, dtype, rows = case
        frame = pl.DataFrame(rows, schema=dict.fromkeys(feature.columns, STORED[dtype]), orient="row")
        batch = frame.lazy().select(x=expression(feature)).collect()["x"]
        assert batch.dtype == STORED[feature.dtype(dict.fromkeys(feature.columns, dtype))]
        compute = scalar(feature)
        assert exact([compute(*row) for row in rows]) == exact(batch.to_list())
        assert not any(isinstance(value, float) and not math.isfinite(value) for value in batch if kind is not Renamed)

    check()


@pytest.mark.parametrize(
    ("feature", "row", "value"),
    [
        (PredictionMoment(column="a", before=timedelta(hours=2)), (CLOCK_CHANGES[0],), datetime(2013, 3, 10, 5, tzinfo=UTC)),
        (MinuteOfDay(name="x", column="a", zone="America/New_York"), (CLOCK_CHANGES[0],), 180.0),
        (Hour(name="x", column="a", zone="America/New_York"), (CLOCK_CHANGES[2],), 3.0),
        (Weekday(name="x", column="a"), (datetime(2024, 2, 29, tzinfo=UTC),), "Thu"),
        (Month(name="x", column="a", zone="America/New_York"), (datetime(2024, 3, 1, tzinfo=UTC),), 2.0),
        (Weekday(name="x", column="a"), (date(2024, 2, 29),), "Thu"),
        (Month(name="x", column="a"), (date(2024, 3, 1),), 3.0),
        (HoursBetween(name="x", column="a", since="b"), (date(2024, 3, 1), date(2024, 2, 28)), 48.0),
        (HoursBetween(name="x", column="a", since="b"), (CLOCK_CHANGES[1], CLOCK_CHANGES[0]), 5711.0),
        (Difference(name="x", column="a", minus="b"), (3, 5), -2.0),
        (Difference(name="x", column="a", minus="b"), (1e308, -1e308), None),
        (Ratio(name="x", column="a", by="b"), (1, 4), 0.25),
        (Ratio(name="x", column="a", by="b"), (1.0, 0.0), None),
        (Log(name="x", column="a"), (0.0,), None),
        (Log(name="x", column="a", plus=1), (0.0,), 0.0),
        (Bucket(name="x", column="a", bounds=(10, 20.5)), (9,), "below 10"),
        (Bucket(name="x", column="a", bounds=(10, 20.5)), (10,), "10 to 20.5"),
        (Bucket(name="x", column="a", bounds=(10, 20.5)), (20.5,), "20.5 or more"),
        (Bucket(name="x", column="a", bounds=(10,)), (math.nan,), None),
        (TextLength(name="x", column="a"), ("Zürich",), 6.0),
        (IsMissing(name="x", column="a"), (math.nan,), 1.0),
        (IsMissing(name="x", column="a"), ("nan",), 0.0),
        (Renamed(name="x", column="a"), (7,), 7),
    ],
)
def test_a_word_means_what_it_says(feature: RequestFeature, row: tuple[Any, ...], value: Any) -> None:
    assert exact([scalar(feature)(*row)]) == exact([value])


@PROPERTY
@given(st.lists(moments, max_size=30), st.sampled_from(ZONES))
@example([*CLOCK_CHANGES], "Pacific/Apia")
def test_the_clock_of_a_column_is_that_of_python(values: list[datetime], zone: str) -> None:
    frame = pl.DataFrame({"a": values}, schema={"a": TYPES["datetime"]})
    local = frame.lazy().select(local_time(pl.col("a"), zone)).collect()["a"].to_list()
    assert local == [value.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for value in values]


CHAIN = (
    PredictionMoment(column="applied_at", before=timedelta(hours=1)),
    Renamed(name="client", column="customer"),
    Log(name="log_amount", column="amount", plus=1),
    Bucket(name="size", column="log_amount", bounds=(1, 5)),
    Hour(name="hour", column="event_timestamp", zone="Europe/Berlin"),
)


def loans(**fields: Any) -> UseCase:
    return LOANS.but(features=LOANS.features.but(**fields))


@PROPERTY
@given(
    st.lists(st.tuples(*(st.none() | VALUES[dtype] for dtype in ("int", "string", "float", "string", "datetime"))), min_size=1)
)
def test_the_rows_of_a_request_become_what_the_table_becomes(rows: list[tuple[Any, ...]]) -> None:
    def unchanged(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame

    use_case = loans(request_features=CHAIN, entity_rows=None)
    schema = {column.name: TYPES[column.dtype] for name in use_case.features.request for column in [_column(use_case, name)]}
    table = entity_rows(use_case.features, pl.LazyFrame(rows, schema=schema, orient="row")).collect().to_dict(as_series=False)
    by_row = entity_columns(use_case)(rows)
    by_frame = entity_columns(loans(request_features=CHAIN, entity_rows=unchanged))(rows)
    assert [*by_row] == [*table] == [*by_frame]
    assert all(exact([*by_row[name]]) == exact(table[name]) == exact([*by_frame[name]]) for name in table)


def _column(use_case: UseCase, name: str) -> Column:
    return use_case.contract(use_case.features.request_table).column(name)


def test_a_transform_adds_to_the_request_features() -> None:
    def doubled(frame: pl.LazyFrame) -> pl.LazyFrame:
        return application_rows(frame).with_columns(double=pl.col("log_amount") * 2)

    row = (1, "c1", math.e - 1, "car", CLOCK_CHANGES[0])
    columns = entity_columns(loans(request_features=CHAIN, entity_rows=doubled))([row])
    assert columns["double"] == [2.0] and columns["event_timestamp"] == [CLOCK_CHANGES[0]]


def test_any_type_can_be_renamed_or_missing() -> None:
    assert set(ANY) == TYPES.keys()


def born(*features: RequestFeature) -> UseCase:
    """The loans with a date of birth in the request."""
    applications, payments = LOANS.contracts
    contract = applications.but(
        columns=(*applications.columns, Column(name="born", dtype="date", description="Of the customer."))
    )
    words = (*LOANS.features.request_features, *features)
    declared = LOANS.features.but(request=(*LOANS.features.request, "born"), request_features=words)
    return LOANS.but(contracts=(contract, payments), features=declared)


def test_features_of_a_date_are_the_same_in_training_and_in_the_service() -> None:
    features = (Month(name="month", column="born"), Weekday(name="weekday", column="born"))
    use_case = born(*features)
    row = (7, "c1", 9.5, "car", datetime(2024, 3, 1, 9, tzinfo=UTC), date(1990, 2, 3))
    served = entity_columns(use_case)([row])
    schema = {name: TYPES[use_case.contract("applications").column(name).dtype] for name in use_case.features.request}
    trained = entity_rows(use_case.features, pl.LazyFrame([row], schema=schema, orient="row")).collect()
    assert [served["month"], served["weekday"]] == [[2.0], ["Sat"]]
    assert trained.select("month", "weekday").row(0) == (2.0, "Sat")


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (Hour(name="hour", column="born"), "'born' is of type date; Hour reads: datetime. Use another column or word."),
        (Month(name="month", column="born", zone="Asia/Tokyo"), "zone · 'born' is a date, which has no time zone. Leave it out."),
        (
            HoursBetween(name="age", column="applied_at", since="born"),
            "'born' is a date, and 'applied_at' a datetime; legal: two of one type. Use another column.",
        ),
    ],
)
def test_a_date_where_a_datetime_is_needed_is_refused(feature: RequestFeature, message: str) -> None:
    with pytest.raises(IllegalDeclaration) as caught:
        born(feature)
    assert f"features.request_features[{feature.name}] · {message}" in str(caught.value)
