"""Contracts: which rows are accepted, which are quarantined and why; no row is lost or doubled."""

import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.errors import SchemaErrors

from mlops_assets.foundation.calendars import Calendar, Days, Months, Weeks
from mlops_assets.ingestion.expectations import check_bad_share
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.validate import Split, contract_schema, split_rows
from mlops_assets.spec.contract import Column, Contract

DAY = date(2013, 7, 1)
FLIGHTS = Contract(
    table="flights",
    description="Flights.",
    columns=(
        Column(name="carrier", dtype="string", pattern=r"^[A-Z0-9]{2}$", description="Airline."),
        Column(name="flight", dtype="int", min=1, max=9999, description="Number."),
        Column(name="origin", dtype="string", allowed=("EWR", "JFK"), description="From."),
        Column(name="sched_dep", dtype="datetime", description="Departure."),
        Column(name="distance", dtype="float", nullable=True, min=0, description="Miles."),
        Column(name="cargo", dtype="bool", nullable=True, description="Freight?"),
    ),
    unique=("carrier", "flight", "origin", "sched_dep"),
    day="sched_dep",
    max_bad_share=0.25,
)
GOOD = {
    "carrier": "UA", "flight": "17", "origin": "EWR", "sched_dep": "2013-07-01T14:05:00Z", "distance": "1400.0", "cargo": "false",
}  # fmt: skip
PLACES = {"day": pl.Date(), "source_file": pl.String(), "source_line": pl.Int64(), "problem": pl.String()}
SCHEMA = pl.Schema({**dict.fromkeys(FLIGHTS.names, pl.String()), **PLACES})


def landed(*rows: dict[str, str | None], day: date = DAY) -> pl.DataFrame:
    """Rows as Landing reads them, by their differences from GOOD."""
    lines = [
        GOOD | {"day": day, "source_file": f"{day}.csv", "source_line": at + 2, "problem": None} | row
        for at, row in enumerate(rows)
    ]
    return pl.DataFrame(lines, schema=SCHEMA)


def reasons_for(**changed: str | None) -> str | None:
    """The reasons for the one changed row, or None when it is accepted."""
    split = split_rows(landed(changed), FLIGHTS)
    return split.quarantined["reasons"].to_list()[0] if split.quarantined.height else None


def test_a_good_row_is_accepted_with_its_types() -> None:
    split = split_rows(landed({}), FLIGHTS)
    assert split.accepted.row(0, named=True) == {
        "carrier": "UA", "flight": 17, "origin": "EWR", "sched_dep": datetime(2013, 7, 1, 14, 5, tzinfo=UTC),
        "distance": 1400.0, "cargo": False, "day": DAY,
    }  # fmt: skip
    assert split.quarantined.columns == [*FLIGHTS.names, "day", "source_file", "source_line", "reasons"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"distance": "-5"}, "distance: '-5' is below 0"),
        (
            {"sched_dep": "2013-07-01T25:10:00Z"},
            "sched_dep: '2013-07-01T25:10:00Z' is not a datetime such as 2013-07-01T14:05:00Z",
        ),
        ({"sched_dep": "2013-7-1T14:05:00Z"}, "sched_dep: '2013-7-1T14:05:00Z' is not a datetime such as 2013-07-01T14:05:00Z"),
        ({"sched_dep": "2013-07-02T00:05:00Z"}, "sched_dep: '2013-07-02T00:05:00Z' is not in the day of its file"),
        ({"carrier": ""}, "carrier: missing"),
        ({"carrier": None}, "carrier: missing"),
        ({"carrier": "United"}, "carrier: 'United' does not match ^[A-Z0-9]{2}$"),
        ({"carrier": "UA\n"}, "carrier: 'UA ' does not match ^[A-Z0-9]{2}$"),
        ({"origin": "BOS"}, "origin: 'BOS' is not one of EWR, JFK"),
        ({"flight": "17.0"}, "flight: '17.0' is not a whole number"),
        ({"flight": "1e3"}, "flight: '1e3' is not a whole number"),
        ({"flight": "99999999999999999999"}, "flight: '99999999999999999999' is not a whole number"),
        ({"flight": "10000"}, "flight: '10000' is above 9999"),
        ({"distance": "nan"}, "distance: 'nan' is not a finite number"),
        ({"distance": "inf"}, "distance: 'inf' is not a finite number"),
        ({"cargo": "maybe"}, "cargo: 'maybe' is not true or false"),
        ({"problem": "line has 2 of 6 fields", "origin": None}, "line has 2 of 6 fields"),
        (
            {"cargo": "x", "flight": "0", "carrier": ""},
            "carrier: missing; flight: '0' is below 1; cargo: 'x' is not true or false",
        ),
    ],
)
def test_a_row_that_breaks_the_contract_is_quarantined_with_its_reasons(changed: dict[str, str | None], reason: str) -> None:
    assert reasons_for(**changed) == reason


@pytest.mark.parametrize(
    "changed",
    [{"distance": ""}, {"distance": None}, {"cargo": "TRUE"}, {"distance": "0"}, {"flight": "9999"}, {"flight": "0017"}],
)
def test_rows_that_the_contract_allows_are_accepted(changed: dict[str, str | None]) -> None:
    assert reasons_for(**changed) is None


def test_a_quarantined_row_keeps_its_text_and_its_place() -> None:
    row = split_rows(landed({}, {"distance": "-5", "flight": "007"}), FLIGHTS).quarantined.row(0, named=True)
    assert (row["distance"], row["flight"], row["sched_dep"]) == ("-5", "007", GOOD["sched_dep"])
    assert (row["day"], row["source_file"], row["source_line"]) == (DAY, "2013-07-01.csv", 3)


def test_the_first_row_of_a_key_is_kept_whatever_the_order_of_the_frame() -> None:
    raw = landed({"distance": "1"}, {"distance": "2"}, {"distance": "3"})
    for shuffled in (raw, raw.reverse()):
        split = split_rows(shuffled, FLIGHTS)
        assert split.accepted["distance"].to_list() == [1.0]
        assert split.quarantined["distance"].to_list() == ["2", "3"]
        assert set(split.quarantined["reasons"]) == {"duplicate of key (carrier, flight, origin, sched_dep)"}


def test_a_bad_row_does_not_displace_a_good_one_with_its_key() -> None:
    split = split_rows(landed({"distance": "-1"}, {"distance": "2"}), FLIGHTS)
    assert split.accepted["distance"].to_list() == [2.0]
    assert split.quarantined["reasons"].to_list() == ["distance: '-1' is below 0"]


def test_the_same_key_on_two_days_is_a_change_and_not_a_duplicate() -> None:
    planes = Contract(
        table="planes", description="x", columns=(Column(name="tailnum", dtype="string", description="x"),), unique=("tailnum",)
    )
    raw = landed({}, {}).select(pl.lit("N1").alias("tailnum"), pl.Series("day", [DAY, DAY + timedelta(1)]), *list(PLACES)[1:])
    assert split_rows(raw, planes).accepted.height == 2


def test_many_days_are_split_in_parts_with_the_same_result() -> None:
    days = [DAY + timedelta(days=number) for number in range(3)]
    changes: list[dict[str, str | None]] = [{}, {"flight": "x"}, {}, {"flight": "18"}]
    at = [{**change, "sched_dep": f"{day}T14:05:00Z"} for day in days for change in changes]
    rows = pl.concat([landed(*at[4 * number : 4 * number + 4], day=day) for number, day in enumerate(days)][::-1])
    whole = split_rows(rows, FLIGHTS)
    assert (whole.accepted.height, whole.quarantined.height) == (6, 6)
    for max_rows in (1, 5, 8):
        parts = split_rows(rows, FLIGHTS, max_rows=max_rows)
        assert parts.accepted.equals(whole.accepted) and parts.quarantined.equals(whole.quarantined)


def test_a_file_without_rows_splits_into_nothing_of_the_right_types() -> None:
    some, none = split_rows(landed({}), FLIGHTS), split_rows(landed(), FLIGHTS)
    assert (none.accepted.height, none.quarantined.height) == (0, 0)
    assert none.accepted.schema == some.accepted.schema
    assert none.quarantined.schema == some.quarantined.schema
    assert check_bad_share(none, FLIGHTS).passed


def test_a_column_may_have_a_name_that_the_validation_uses_itself() -> None:
    names = ("row", "column", "check", "index", "place", "reason")
    columns = tuple(Column(name=name, dtype="int", min=0, description=name) for name in names)
    contract = Contract(table="t", description="x", unique=("row",), columns=columns)
    raw = landed({}, {}).select(*(pl.Series(n, ["1", "-1"]) for n in names), *PLACES)
    split = split_rows(raw, contract)
    assert split.accepted.height == 1
    assert split.quarantined["reasons"].to_list() == ["; ".join(f"{n}: '-1' is below 0" for n in names)]


def test_data_checks_run_even_where_the_environment_switches_them_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from pandera.config import ValidationDepth, config_context

    monkeypatch.setenv("PANDERA_VALIDATION_ENABLED", "False")
    with config_context(validation_enabled=False, validation_depth=ValidationDepth.SCHEMA_ONLY):
        assert reasons_for(distance="-5") == "distance: '-5' is below 0"


def test_the_schema_alone_finds_bad_values_in_an_eager_frame() -> None:
    typed = split_rows(landed({}), FLIGHTS).accepted
    contract_schema(FLIGHTS).validate(typed, lazy=True)
    for broken in (typed.with_columns(distance=-5.0), typed.with_columns(day=DAY + timedelta(1))):
        with pytest.raises(SchemaErrors):
            contract_schema(FLIGHTS).validate(broken, lazy=True)


def test_pandera_still_misses_bad_values_in_a_lazy_frame() -> None:
    """The reason to validate eager frames. If this fails, pandera checks lazy ones and they can be used."""
    schema = pa.DataFrameSchema({"distance": pa.Column(pl.Float64, pa.Check.ge(0))})
    assert schema.validate(pl.LazyFrame({"distance": [-5.0]}), lazy=True).collect().height == 1


def test_a_day_landed_twice_is_split_as_if_it_had_landed_once(tmp_path: Path) -> None:
    landing = Landing(tmp_path)

    def split_again(*distances: float) -> Split:
        rows = pl.DataFrame([GOOD | {"flight": at + 1, "distance": distance} for at, distance in enumerate(distances)])
        landing.put("demo", "flights", day=DAY, rows=rows)
        return split_rows(landing.read("demo", FLIGHTS, [DAY], required=True), FLIGHTS)

    first, same, corrected = split_again(1.0, -2.0), split_again(1.0, -2.0), split_again(1.0, 2.0)
    assert first.accepted.equals(same.accepted) and first.quarantined.equals(same.quarantined)
    assert (corrected.accepted["distance"].to_list(), corrected.quarantined.height) == ([1.0, 2.0], 0)


def test_a_truncated_file_loses_no_line(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    landing.put("demo", "flights", day=DAY, rows=pl.DataFrame([GOOD | {"flight": at} for at in range(1, 101)]))
    path = landing.path("demo", "flights", DAY)
    path.write_bytes(path.read_bytes()[:-25])
    split = split_rows(landing.read("demo", FLIGHTS, [DAY], required=True), FLIGHTS)
    assert (split.accepted.height, split.quarantined["reasons"].to_list()) == (99, ["line has 4 of 6 fields"])


def test_the_worst_day_is_compared_with_the_bound_and_its_commonest_reasons_are_named() -> None:
    bad = [{"flight": str(at), "distance": f"-{at}"} for at in range(1, 3)]
    good = [{"flight": str(at)} for at in range(10, 14)]
    other_day = landed({"sched_dep": "2013-07-02T10:00:00Z"}, day=DAY + timedelta(1))
    finding = check_bad_share(split_rows(pl.concat([landed(*bad, {"origin": "?"}, *good), other_day]), FLIGHTS), FLIGHTS)
    assert not finding.passed
    assert finding.measured == pytest.approx(3 / 7)
    assert finding.message.startswith(
        "flights · bad_share · 2013-07-01: 3 of 7 rows (42.9%) break the contract; bound: at most 25.0%. "
        "Commonest: distance is below 0 (2), origin is not one of EWR, JFK (1). "
    )


def test_a_share_of_bad_rows_within_the_bound_passes() -> None:
    rows = landed({"distance": "-1"}, *({"flight": str(at)} for at in range(1, 4)))
    finding = check_bad_share(split_rows(rows, FLIGHTS), FLIGHTS)
    assert (finding.passed, finding.measured) == (True, 0.25)


VALUES = {
    "carrier": st.sampled_from(["UA", "AA", "", "united", None]),
    "flight": st.sampled_from(["1", "2", "0", "x", ""]),
    "origin": st.sampled_from(["EWR", "JFK", "?"]),
    "sched_dep": st.sampled_from([GOOD["sched_dep"], "2013-07-02T01:00:00Z", "2013-07-01T25:10:00Z", ""]),
    "distance": st.sampled_from(["1", "-1", "nan", "", None]) | st.text(max_size=4),
    "cargo": st.just("true"),
    "problem": st.sampled_from([None, None, None, "line has 2 of 6 fields"]),
}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.fixed_dictionaries(VALUES), max_size=20))
def test_every_row_is_either_accepted_or_quarantined_once(rows: list[dict[str, str | None]]) -> None:
    raw = landed(*rows).with_columns(cargo=pl.int_range(pl.len()).cast(pl.String()))
    contract = FLIGHTS.but(columns=(*FLIGHTS.columns[:-1], Column(name="cargo", dtype="int", description="A row's own number.")))
    split = split_rows(raw, contract)
    numbers = Counter(split.accepted["cargo"].cast(pl.String())) + Counter(split.quarantined["cargo"])
    assert numbers == Counter(raw["cargo"])
    assert split.quarantined["reasons"].str.len_chars().gt(0).all()
    kept = raw.join(split.quarantined, on="cargo", how="semi").select(contract.names)
    assert kept.equals(split.quarantined.select(contract.names))
    contract_schema(contract).validate(split.accepted, lazy=True)
    assert split.accepted.select(*contract.unique, "day").is_unique().all()


MEASURE = """
import polars as pl
from datetime import date
from mlops_assets.ingestion.validate import split_rows
from mlops_assets.spec.contract import Column, Contract
from tests.peak_memory import peak_bytes
count, names = 400_000, [f"x{n}" for n in range(10)]
number = pl.int_range(count, eager=True)
text = {name: (number % 997).cast(pl.String) + ".25 and a longer text" for name in names}
place = {"day": [date(2024, 3, 1)] * count, "source_file": ["f.csv"] * count, "source_line": number + 2}
raw = pl.DataFrame({"number": number.cast(pl.String), **text, **place, "problem": pl.Series([None] * count, dtype=pl.String)})
columns = (Column(name="number", dtype="int", description="x"), *(Column(name=n, dtype="string", description="x") for n in names))
contract = Contract(table="t", description="x", columns=columns, unique=("number",))
split_rows(raw.head(10), contract)
before = peak_bytes()
assert split_rows(raw, contract).accepted.height == count
print((peak_bytes() - before) / raw.estimated_size())
"""


def test_a_split_takes_less_memory_than_its_rows_once_more() -> None:
    """A sort, two filters, two joins and a hash table of the keys took more than twice that."""
    result = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert float(result.stdout) < 1


def test_of_unsorted_rows_with_one_key_the_first_by_place_is_accepted_and_zero_is_one_key() -> None:
    contract = Contract(table="t", description="x", columns=(Column(name="k", dtype="float", description="x"),), unique=("k",))
    days = [date(2024, 3, day) for day in (2, 1, 2, 1, 2)]
    raw = pl.DataFrame(
        {"k": ["0", "-0.0", "-0", "0.0", "1"], "day": days, "source_file": ["f"] * 5, "source_line": [4, 3, 2, 2, 9]}
    ).with_columns(problem=pl.lit(None, pl.String()))
    split = split_rows(raw, contract)
    assert split.accepted.rows() == [(0.0, days[1]), (0.0, days[0]), (1.0, days[0])]
    assert split.quarantined.select("k", "day", "source_line").rows() == [("-0.0", days[1], 3), ("0", days[0], 4)]


DATED = FLIGHTS.but(columns=(*FLIGHTS.columns, Column(name="on", dtype="date", description="Day.")), day="on")


@pytest.mark.parametrize(
    ("calendar", "day", "reasons"),
    [
        (Days(), date(2013, 7, 3), []),
        (Days("America/New_York"), date(2013, 7, 3), []),  # a date is that of the file, whatever the zone
        (Weeks(), date(2013, 7, 1), []),
        (Months(), date(2013, 7, 1), []),
        (Days(), date(2013, 7, 4), ["on: '2013-07-03' is not in the day of its file"]),
        (Months(), date(2013, 6, 1), ["on: '2013-07-03' is not in the month of its file"]),
    ],
)
def test_a_date_must_be_in_the_partition_of_its_file(calendar: Calendar, day: date, reasons: list[str]) -> None:
    raw = landed({}, day=day).with_columns(on=pl.lit("2013-07-03"))
    assert split_rows(raw, DATED, calendar=calendar).quarantined["reasons"].to_list() == reasons
