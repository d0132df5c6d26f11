"""Odd values in the tables of users: each is named in one sentence, and the declaration has the proposed treatment."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.foundation.calendars import WHOLE_TABLE, WholeTable
from mlops_assets.ingestion.landing import Landing
from mlops_assets.ingestion.validate import Split, split_rows
from mlops_assets.inspection.proposal import Proposal, Wishes, propose
from mlops_assets.inspection.sentinels import find_sentinels
from mlops_assets.inspection.table_file import read_table_file
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.form import Parquet
from tests.inspection.messy_tables import lines, place, text

Change = Callable[[dict[str, str]], str]


def proposed(folder: Path, content: bytes, name: str = "t.csv") -> Proposal:
    (folder / name).write_bytes(content)
    table, wishes = read_table_file(folder / name), Wishes(label="churn")
    return propose(table, name="model", table_name="t", owner="team:data", wishes=wishes, today=date(2013, 12, 1))


def changed(**columns: Change) -> bytes:
    """The clean table with these columns."""
    return text(lines(**columns)).encode()  # type: ignore[arg-type]


def every(step: int, value: str, column: str) -> Change:
    """This value in one of so many rows."""
    return lambda row: value if place(row) % step == 0 else row[column]


# A changed column, and the sentence about it.
NAMED: dict[str, tuple[str, Change, str]] = {
    "a category with blanks": ("colour", every(5, " red ", "colour"), "colour: ' red ' and 'red' are different values, although they differ by blanks alone. Deliver one spelling, without blanks at the ends"),
    "a category in two cases": ("colour", every(5, "RED", "colour"), "colour: 'RED' and 'red' are different values, although they differ by case alone. Deliver one spelling, without blanks at the ends"),
    "keys with blanks": ("id", lambda row: f" {row['id']} ", "id: it is read as text and not as int, as some of its values begin or end with a blank, which is a part of the value, such as ' 1000 '. Deliver one spelling, without blanks at the ends"),
    "a number for missing": ("amount", every(9, "-1", "amount"), "amount: -1 in 23 of 200 rows is apart from the other values, 19.08 to 76.39: if it means a missing value, deliver an empty value, or add '-1' to form.missing, which holds for every column"),
    "seconds": ("visited_at", lambda row: str(1_700_000_000 + 3600 * place(row)), "visited_at: its numbers are probably moments in Unix seconds, of 2023-11-14 to 2023-11-23, which no time is read from. Deliver them as text such as 2023-11-14T22:13:20Z to use them as a time"),
    "milliseconds": ("visited", lambda row: str(1_700_000_000_123 + 3_600_000 * place(row)), "visited: its numbers are probably moments in Unix milliseconds, of 2023-11-14 to 2023-11-23, which no time is read from. Deliver them as text such as 2023-11-14T22:13:20Z to use them as a time"),
    "nanoseconds": ("moment", lambda row: f"{row['moment']}:00.123456789", "moment: it is read as text, as its moments are finer than a microsecond. Deliver at most six digits of a second"),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMED)
def test_an_odd_value_is_named_in_one_sentence_and_nothing_is_declared_for_it(tmp_path: Path, case: str) -> None:
    column, change, sentence = NAMED[case]
    proposal = proposed(tmp_path, changed(**{column: change}))
    assert [one for one in proposal.assumptions if one.startswith(f"{column}: ")] == [sentence]
    assert proposal.use_case.sources[0].form.missing == ()


def test_ten_digits_are_a_moment_where_the_name_has_a_time_alone(tmp_path: Path) -> None:
    proposal = proposed(tmp_path, changed(phone=lambda row: str(1_700_000_000 + 7919 * place(row) % 10_007)))
    assert not [one for one in proposal.assumptions if "Unix" in one]


DAY = 86_400
LARGE_NUMBERS: dict[str, Callable[[int], int]] = {
    "customer_no_on_date": lambda row: 1_700_000_000 + DAY * row * 37 % (100 * DAY),
    "phone_at_day": lambda row: 1_700_000_000 + DAY * row * 37 % (100 * DAY),
    "order_number": lambda row: 1_700_000_000_000 + 1000 * DAY * row,
    "article": lambda row: 1_000_000_000_000 + 7_919_000_019 * row * 31 % 990_000_000_000,
    "parcel": lambda row: 1_700_000_000_000 + row,
}


@pytest.mark.parametrize("name", LARGE_NUMBERS)
def test_large_identifiers_are_no_moments(tmp_path: Path, name: str) -> None:
    def number(row: dict[str, str]) -> str:
        return str(LARGE_NUMBERS[name](place(row)))

    proposal = proposed(tmp_path, changed(**{name: number}))
    assert not [one for one in proposal.assumptions if "Unix" in one]
    assert proposal.use_case.contracts[0].day == "moment"


@pytest.mark.parametrize("word", ["-999", "9999", "-999.0"])
def test_a_number_that_is_no_value_of_any_column_is_proposed_as_missing(tmp_path: Path, word: str) -> None:
    proposal = proposed(tmp_path, changed(age=every(9, word, "age")))
    assert proposal.use_case.sources[0].form.missing == (word,)
    undone = "so it is read as missing: remove it from form.missing if it is a value"
    finding = f"age: {word} in 23 of 200 rows is apart from the other values, 18 to 89"
    assert f"{finding}, {undone}" in proposal.assumptions
    assert proposal.use_case.contracts[0].column("age").nullable


def test_a_number_that_another_column_has_as_a_value_stays_one(tmp_path: Path) -> None:
    proposal = proposed(tmp_path, changed(age=every(9, "9999", "age"), colour=every(50, "9999", "colour")))
    assert proposal.use_case.sources[0].form.missing == ()
    assert any("if it means a missing value" in one for one in proposal.assumptions)


@pytest.mark.parametrize("numbers", [
    [-1, 0, 1] * 50, [1, 2, 3, 4, 99] * 50, [*range(-50, 50), -1, -1, -1], [*range(0, 20_000, 7), 9999, 9999, 9999], [*range(100), 9999],
], ids=["codes", "few codes", "signed", "within", "two rows at most"])  # fmt: skip
def test_a_usual_number_is_not_proposed_as_missing(numbers: list[int]) -> None:
    assert find_sentinels(pl.Series(numbers)) == ()


@pytest.mark.parametrize(
    ("words", "yes", "no"),
    [
        (["Yes", "yes ", "Y", "no", "No", "N"], ("yes", "yes ", "y"), ("no", "n")),
        (["TRUE", "true", "1", "0", "false", "no"], ("true", "1"), ("no", "false", "0")),
        ([" ja", "Ja", "nein", "J", "N", "nein "], (" ja", "ja", "j"), ("nein", "nein ", "n")),
    ],
    ids=["english", "mixed", "german"],
)
def test_the_spellings_of_yes_and_no_are_words_of_one_bool(
    tmp_path: Path, words: list[str], yes: tuple[str, ...], no: tuple[str, ...]
) -> None:
    proposal = proposed(tmp_path, changed(churn=lambda row: words[place(row) % len(words)]))
    column = proposal.use_case.contracts[0].column("churn")
    assert (column.dtype, column.yes, column.no) == ("bool", yes, no)
    shown_yes, shown_no = (", ".join(map(repr, one)) for one in (yes, no))
    assert f"churn: {shown_yes} mean true and {shown_no} false, in any case: other words go to quarantine" in proposal.assumptions


MOMENT = datetime(2013, 1, 1, 6, 5, 0, 123456)


def landed(folder: Path, moments: pl.Series) -> Split:
    """A delivered Parquet file with these moments."""
    moment = Column(name="moment", dtype="datetime", description=".")
    contract = Contract(
        table="t", description=".", columns=(Column(name="id", dtype="int", description="."), moment), unique=("id",)
    )
    path, landing, calendar = folder / "model" / "t" / "snapshot.parquet", Landing(folder).of(Parquet()), WholeTable()
    path.parent.mkdir(parents=True)
    pl.DataFrame({"id": range(len(moments)), "moment": moments}).write_parquet(path)
    raw = landing.read("model", contract, [WHOLE_TABLE], required=True, calendar=calendar, max_bytes=10**6)
    return split_rows(raw, contract, Parquet(), calendar)


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_a_parquet_file_of_nanoseconds_lands_exactly(tmp_path: Path, zone: str | None) -> None:
    moments = pl.Series([MOMENT + timedelta(hours=17, microseconds=number) for number in range(50)], dtype=pl.Datetime("ns"))
    zoned = moments.dt.replace_time_zone(zone)
    split = landed(tmp_path, zoned)
    assert split.quarantined.is_empty()
    exact = zoned.dt.convert_time_zone("UTC") if zone else moments.dt.replace_time_zone("UTC")
    assert split.accepted["moment"].to_list() == exact.dt.cast_time_unit("us").to_list()


def test_a_part_of_a_microsecond_is_refused_by_the_name_of_its_column_and_with_a_remedy(tmp_path: Path) -> None:
    nanoseconds = int(MOMENT.replace(tzinfo=UTC).timestamp()) * 10**9 + 123_456_789
    split = landed(tmp_path, pl.Series([nanoseconds, nanoseconds - 789]).cast(pl.Datetime("ns")))
    assert split.accepted["id"].to_list() == [1]
    assert split.quarantined["reasons"].to_list() == [
        "moment: '2013-01-01T06:05:00.123456789' is finer than a microsecond; round it to at most six digits of a second"
    ]
