"""Daily files are written and read: real files, broken as real files are."""

import csv
import io
import os
import re
import tracemalloc
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlops_assets.ingestion.csv_lines import WHOLE_FILE
from mlops_assets.ingestion.landing import BrokenDelivery, Landing, MissingDelivery
from mlops_assets.spec.contract import Column, Contract

DAY = date(2013, 7, 1)
FLIGHTS = Contract(
    table="flights",
    description="Flights.",
    columns=tuple(Column(name=name, dtype="string", description=name) for name in ("carrier", "flight", "note", "distance")),
    unique=("carrier", "flight"),
)
HEADER = b"carrier,flight,note,distance\n"


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path)


def land(landing: Landing, content: bytes, day: date = DAY) -> Path:
    path = landing.path("demo", "flights", day)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def read(landing: Landing, *days: date, required: bool = True) -> pl.DataFrame:
    return landing.read("demo", FLIGHTS, days or (DAY,), required=required)


def read_file(landing: Landing) -> pl.DataFrame:
    return landing.read_file(landing.path("demo", "flights", DAY), FLIGHTS, DAY)


def test_a_line_is_read_as_text_exactly_as_landed_with_its_place(landing: Landing) -> None:
    land(landing, HEADER + b"UA,0017,, 1400.0\n")
    assert read(landing).row(0, named=True) == {
        "carrier": "UA", "flight": "0017", "note": "", "distance": " 1400.0", "day": DAY,
        "source_file": "demo/flights/2013-07-01.csv", "source_line": 2, "problem": None,
        "source_digest": landing.digests("demo", "flights")["2013-07-01"],
    }  # fmt: skip


def test_columns_in_another_order_are_read_by_name(landing: Landing) -> None:
    land(landing, b"distance,note,flight,carrier\r\n1400,,17,UA\r\n")
    assert read(landing).select(FLIGHTS.names).row(0) == ("UA", "17", "", "1400")


def test_a_byte_order_mark_and_blank_lines_are_skipped(landing: Landing) -> None:
    land(landing, b"\xef\xbb\xbf" + HEADER + b"\nUA,17,,1400\n\r\nAA,9,,300\n\n")
    assert read(landing)["source_line"].to_list() == [3, 5]


def test_quoted_values_contain_commas_quotes_and_line_ends(landing: Landing) -> None:
    land(landing, HEADER + b'UA,17,"a, ""b""\nc",1400\nAA,9,,300\n')
    rows = read(landing)
    assert rows["note"].to_list() == ['a, "b"\nc', ""]
    assert rows["source_line"].to_list() == [2, 4]
    assert rows["problem"].null_count() == 2


def test_landed_rows_are_read_back(landing: Landing) -> None:
    rows = pl.DataFrame({"carrier": ["UA", 'A"A'], "flight": [17, 9], "note": ["a,b", None], "distance": [1400.0, 0.1]})
    landing.put("demo", "flights", day=DAY, rows=rows)
    assert read(landing).select(FLIGHTS.names).rows() == [("UA", "17", "a,b", "1400.0"), ('A"A', "9", "", "0.1")]


def test_datetimes_are_put_as_utc(landing: Landing) -> None:
    moment = pl.Series([datetime(2013, 7, 1, 14, 5, tzinfo=UTC)])
    rows = pl.DataFrame({"utc": moment, "local": moment.dt.convert_time_zone("America/New_York")})
    landing.put("demo", "times", day=DAY, rows=rows)
    assert landing.path("demo", "times", DAY).read_text() == "utc,local\n2013-07-01T14:05:00Z,2013-07-01T14:05:00Z\n"


def test_a_day_put_twice_with_the_same_content_leaves_the_file_untouched(landing: Landing) -> None:
    rows = pl.DataFrame({"carrier": ["UA"], "flight": [17]})
    assert landing.put("demo", "flights", day=DAY, rows=rows) is True
    before, digest = os.stat(landing.path("demo", "flights", DAY)), landing.digests("demo", "flights")
    assert landing.put("demo", "flights", day=DAY, rows=rows) is False
    after = os.stat(landing.path("demo", "flights", DAY))
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert landing.digests("demo", "flights") == digest


def test_a_day_put_twice_with_corrected_content_replaces_it_and_changes_its_digest_alone(landing: Landing) -> None:
    other = DAY + timedelta(days=1)
    for day in (DAY, other):
        landing.put("demo", "flights", day=day, rows=pl.DataFrame({"carrier": ["UA"]}))
    before = landing.digests("demo", "flights")
    assert landing.put("demo", "flights", day=DAY, rows=pl.DataFrame({"carrier": ["AA"]})) is True
    after = landing.digests("demo", "flights")
    assert after[DAY.isoformat()] != before[DAY.isoformat()]
    assert after[other.isoformat()] == before[other.isoformat()]
    assert landing.path("demo", "flights", DAY).read_text() == "carrier\nAA\n"


def test_digests_cover_complete_day_files_only(landing: Landing) -> None:
    assert landing.digests("demo", "flights") == {}
    folder = land(landing, HEADER).parent
    for name in (".2013-07-02.csv.77.part", "2013-07-02.csv.bak", "readme.txt"):
        (folder / name).write_bytes(b"half a fi")
    assert list(landing.digests("demo", "flights")) == ["2013-07-01"]


def test_a_missing_file_is_an_error_where_it_is_required_and_no_rows_where_it_is_not(landing: Landing) -> None:
    land(landing, HEADER + b"UA,17,,1400\n")
    with pytest.raises(
        MissingDelivery, match=r"demo · flights · 2013-07-02: no file has landed; expected demo/flights/2013-07-02.csv"
    ):
        read(landing, DAY, DAY + timedelta(days=1))
    assert read(landing, DAY, DAY + timedelta(days=1), required=False)["day"].to_list() == [DAY]
    nothing = read(landing, DAY + timedelta(days=1), required=False)
    assert (nothing.height, nothing.schema) == (0, read(landing).schema)


def test_an_unreadable_file_is_one_row_with_its_problem_and_affects_no_other_day(landing: Landing) -> None:
    land(landing, HEADER + b"UA,17,,1400\n")
    land(landing, b"carrier;flight\nUA;17\n", DAY + timedelta(days=1))
    sound, broken = read(landing, DAY, DAY + timedelta(days=1)).to_dicts()
    assert sound == read(landing).row(0, named=True)
    assert (broken["day"], broken["source_line"], broken["flight"]) == (DAY + timedelta(days=1), WHOLE_FILE, None)
    assert broken["problem"].startswith("demo/flights/2013-07-02.csv · the columns are separated by a semicolon; legal: a comma")


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_file_is_a_broken_delivery(landing: Landing, content: bytes) -> None:
    land(landing, content)
    with pytest.raises(
        BrokenDelivery, match=r"demo/flights/2013-07-01.csv · the file is empty; expected .* carrier, flight, note, distance"
    ):
        read_file(landing)


def test_a_file_with_a_header_alone_has_no_rows(landing: Landing) -> None:
    land(landing, HEADER)
    assert read(landing).height == 0


def test_a_renamed_column_is_named(landing: Landing) -> None:
    land(landing, b"carrier,flight,note,dist\nUA,17,,1400\n")
    with pytest.raises(BrokenDelivery) as error:
        read_file(landing)
    assert str(error.value) == (
        "demo/flights/2013-07-01.csv · 'distance' is missing (renamed to 'dist'?); 'dist' is unknown; found the columns "
        "carrier, flight, note, dist; expected carrier, flight, note, distance. "
        "Correct the file and land it again, or change the contract."
    )


@pytest.mark.parametrize(("separator", "name"), [(";", "a semicolon"), ("\t", "a tab"), ("|", "a vertical bar")])
@pytest.mark.parametrize("quote", ["", '"'])
def test_another_separator_is_named_and_not_every_column_as_missing(
    landing: Landing, separator: str, name: str, quote: str
) -> None:
    header = separator.join(f"{quote}{column}{quote}" for column in ("carrier", "flight", "note", "distance"))
    land(landing, f"{header}\n{separator.join(['UA', '17', '', '1400,5'])}\n".encode())
    with pytest.raises(BrokenDelivery, match=f"the columns are separated by {re.escape(name)}; legal: a comma; found") as error:
        read_file(landing)
    assert "missing" not in str(error.value) and "expected carrier, flight, note, distance" in str(error.value)


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"carrier,flight,note\n", "'distance' is missing; found"),
        (b"carrier,flight,note,distance,gate\n", "'gate' is unknown; found"),
        (b"carrier,flight,note,note,distance\n", "'note' comes twice; found"),
        (b"carrier,fl\xffght,note,distance\n", r"'flight' is missing \(renamed to 'fl\\\\xffght'\?\)"),
        (b"\x00\x01\x02" * 10_000 + b"\n", "'carrier' is missing"),
    ],
)
def test_columns_other_than_the_contracts_are_a_broken_delivery(landing: Landing, header: bytes, problem: str) -> None:
    land(landing, header + b"UA,17,,1400\n")
    with pytest.raises(BrokenDelivery, match=problem) as error:
        read_file(landing)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"UA,17\n", "line has 2 of 4 fields"),
        (b"UA,17,,1400,x,y\n", "line has 6 of 4 fields; beyond the last: 'x, y'"),
        (b"UA,17,caf\xe9,1400\n", "line holds bytes that are not UTF-8 text"),
        (b"UA,17,\x00,1400\n", "line holds bytes that are not UTF-8 text"),
        (b'UA,17,"abc,1400\n', "line has a quote that does not close a value"),
        (b'UA,17,"a"bc,1400\n', "line has a quote that does not close a value"),
        (b"\xff\xfe\x80garbage,\x01\n", "line has 2 of 4 fields"),
    ],
)
def test_a_line_that_cannot_be_parsed_has_a_problem_and_its_neighbours_have_none(
    landing: Landing, line: bytes, problem: str
) -> None:
    land(landing, HEADER + b"AA,1,,300\n" + line + b'AA,2,"x",300\n')
    assert read(landing)["problem"].to_list() == [None, problem, None]
    assert read(landing)["flight"].to_list()[::2] == ["1", "2"]


def test_bytes_that_are_not_text_stay_readable(landing: Landing) -> None:
    land(landing, HEADER + "UA,17,café,1400\n".encode("latin-1") + "UA,18,café,1400\n".encode())
    assert read(landing)["note"].to_list() == ["caf\\xe9", "café"]


def test_a_quote_that_never_closes_does_not_swallow_the_lines_after_it(landing: Landing) -> None:
    good = b"".join(b"AA,%d,,300\n" % number for number in range(200))
    land(landing, HEADER + b'UA,17,"abc,1400\n' + good + b'UA,18,"abc,1400\n')
    rows = read(landing)
    assert rows["source_line"].to_list() == list(range(2, 204))
    assert rows.filter(pl.col("problem").is_not_null())["carrier"].to_list() == ["UA", "UA"]


WHOLE = HEADER + b'UA,17,"a, b",1400\nAA,9,caf\xc3\xa9,300\nB6,35,,1028\n'


@pytest.mark.parametrize("length", range(len(HEADER), len(WHOLE)))
def test_a_file_cut_at_any_byte_yields_only_whole_lines_as_good(landing: Landing, length: int) -> None:
    land(landing, WHOLE)
    whole = read(landing).select(FLIGHTS.names).rows()
    land(landing, WHOLE[:length])
    rows = read(landing)
    good = rows.filter(pl.col("problem").is_null()).select(FLIGHTS.names).rows()
    assert good == whole[: len(good)]
    assert rows.height == len(good) + (WHOLE[length - 1 : length] != b"\n")


TOKENS = [b",", b'"', b"\n", b"\r", b"a", b"\xff", b'","', b"UA,17,,1400\n"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=400) | st.lists(st.sampled_from(TOKENS)).map(b"".join))
@example(body=b'UA,1,"\nUA,2,",3\n"')
def test_no_line_of_arbitrary_bytes_is_lost(landing: Landing, body: bytes) -> None:
    """Every line that is not blank belongs to exactly one row, and a row without a problem has all its fields."""
    land(landing, HEADER + body)
    rows = read(landing)
    lines = re.split(rb"\r\n|\r|\n", body)
    inner_ends = pl.concat_str(FLIGHTS.names, ignore_nulls=True).str.count_matches(r"\r\n|\r|\n")
    spans = rows.select(start=pl.col("source_line") - 2, end=pl.col("source_line") - 1 + inner_ends).rows()
    taken = [at for start, end in spans for at in range(start, end)]
    assert len(taken) == len(set(taken))
    assert {at for at, line in enumerate(lines) if line} <= set(taken)
    good = rows.filter(pl.col("problem").is_null()).select(FLIGHTS.names)
    assert good.null_count().sum_horizontal().sum() == 0


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.lists(st.text(st.sampled_from('",\n\r a\ufeff\u00e9\x0b\u2028'), max_size=5), min_size=4, max_size=4), max_size=8
    ),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_a_good_file_is_read_as_pythons_csv_reads_it(landing: Landing, rows: list[list[str]], end: str, mark: bytes) -> None:
    text = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if end == "\n" else csv.QUOTE_MINIMAL  # which leaves a lone \r unquoted before Python 3.13
    csv.writer(text, lineterminator=end, quoting=quoting).writerows([FLIGHTS.names, *rows])
    land(landing, mark + text.getvalue().encode())
    table = read(landing)
    assert table["problem"].null_count() == table.height
    assert table.select(FLIGHTS.names).rows() == [tuple(row) for row in csv.reader(io.StringIO(text.getvalue(), newline=""))][1:]


def test_a_line_of_many_megabytes_is_one_row_with_a_problem_and_is_not_held_in_memory(landing: Landing) -> None:
    land(landing, HEADER + b"x" * 30_000_000 + b"\nUA,17,,1400\n")
    tracemalloc.start()
    try:
        rows = read(landing)
        assert tracemalloc.get_traced_memory()[1] < 15_000_000
    finally:
        tracemalloc.stop()
    assert rows["problem"].to_list() == ["line has 1,000,000 characters or more; shown are the first", None]
    assert rows["source_line"].to_list() == [2, 3]


@pytest.mark.slow
def test_a_file_is_parsed_in_parts(landing: Landing) -> None:
    land(landing, HEADER + b"UA,17,,1400\n" * 200_000)
    tracemalloc.start()
    try:
        assert len(read(landing)) == 200_000
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()
