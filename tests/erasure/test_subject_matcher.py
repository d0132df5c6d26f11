"""How one value is told in rows, text and frames, against a slow reading of the same rule."""

import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.erasure.subject_matcher import SubjectMatcher

HASH = "0123456789abcdef0123456789abcdef"
TEXTS = st.text(st.sampled_from("aB7.*[ -+\\'é\""), min_size=1, max_size=5).filter(lambda text: text == text.strip())


def sought(text: str, *columns: str, number: bool = False) -> SubjectMatcher:
    return SubjectMatcher(columns=frozenset(columns or ["who"]), text=text, hashed=HASH, is_number=number)


@given(text=TEXTS, found=TEXTS | st.none() | st.just(HASH), blanks=st.sampled_from(["", " ", "\t", "  "]))
def test_text_is_told_whole_as_it_is_or_as_its_hash(text: str, found: str | None, blanks: str) -> None:
    value = None if found is None else blanks + found + blanks
    expected = found is not None and found in (text, HASH)
    assert sought(text).is_value(value) is expected
    frame = pl.DataFrame({"who": [value]}, schema={"who": pl.String})
    assert frame.select(sought(text).in_column("who")).item() is expected


@given(number=st.integers(-30, 30), found=st.from_regex(r"\A[+-]?[0-3]{0,2}[0-9]{1,2}(\.0{0,2})?\Z"))
def test_numbers_are_told_by_what_they_are_worth(number: int, found: str) -> None:
    worth = float(found) == number and not (number == 0 and found.startswith("-"))
    assert sought(str(number), number=True).is_value(found) is worth
    assert pl.DataFrame({"who": [found]}).select(sought(str(number), number=True).in_column("who")).item() is worth


@given(numbers=st.lists(st.integers(-(2**63), 2**63 - 1)), chosen=st.integers(0, 5))
def test_typed_numbers_are_told_in_rows_and_frames(numbers: list[int], chosen: int) -> None:
    number = numbers[chosen] if chosen < len(numbers) else 7
    one = sought(str(number), number=True)
    rows = one.in_rows(pl.Schema({"who": pl.Int64}))
    assert rows is not None
    assert pl.DataFrame({"who": numbers}, schema={"who": pl.Int64}).filter(rows)["who"].to_list() == [
        each for each in numbers if each == number
    ]
    assert [each for each in numbers if one.is_in({"who": each, "other": number})] == [each for each in numbers if each == number]


@given(text=TEXTS, line=st.text(st.sampled_from("aB7.,-"), max_size=20))
def test_in_a_text_it_stands_as_a_word_of_its_own(text: str, line: str) -> None:
    places = [match.start() for match in re.finditer(f"(?={re.escape(text)})", line)]
    alone = any(
        (at == 0 or not line[at - 1].isalnum()) and (at + len(text) == len(line) or not line[at + len(text)].isalnum())
        for at in places
    )
    assert sought(text).is_in_text(line) is alone


def test_a_table_without_such_a_column_holds_nobody() -> None:
    assert sought("a").in_rows(pl.Schema({"other": pl.String})) is None
    assert sought("a").is_in({"other": "a"}) is False


@pytest.mark.parametrize("told", ["problem", "reasons"])
def test_a_line_that_nobody_can_tell_apart_is_anybodys_in_it(told: str) -> None:
    rows = pl.DataFrame(
        {
            "who": ["a", "b", "b", "b", None, "b"],
            "what": ["x", "a", "a", "ab", None, "x"],
            "source_file": ["a"] * 6,
            told: [
                None,
                None,
                "line has 3 of 2 fields; beyond the last: 'c'",
                "line is cut off",
                "line has 1 of 2 fields: 'a'",
                "what: 'a' is not",
            ],
        }
    )
    theirs = sought("a").in_rows(rows.schema)
    assert theirs is not None
    assert rows.select(theirs).to_series().to_list() == [True, False, True, False, True, False]
