"""A subject is found by the tags of the contracts, and its value is matched in rows, text and frames."""

import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.erasure.subject import Subject, UnknownSubject, find_subject
from mlops_assets.serving.log.keyed_hash import keyed_hash
from mlops_assets.spec.contract import Column
from mlops_assets.spec.request_feature import Renamed
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.erasure.shop import SHOP
from tests.erasure.subjects import build_subject

SECRET = b"s" * 32


def retagged(table: str, column_name: str, **tags: object) -> UseCase:
    contract = SHOP.contract(table)
    columns = tuple(column.but(**tags) if column.name == column_name else column for column in contract.columns)
    return SHOP.but(contracts=tuple(contract.but(columns=columns) if table is contract else table for table in SHOP.contracts))


def renamed(table: str, name: str) -> UseCase:
    """The customer's column of one table under another name."""
    contract = SHOP.contract(table)
    columns = tuple(column.but(name=name) if column.name == "customer_id" else column for column in contract.columns)
    unique = tuple(name if key == "customer_id" else key for key in contract.unique)
    return SHOP.but(
        contracts=tuple(contract.but(columns=columns, unique=unique) if table is contract else table for table in SHOP.contracts)
    )


def test_all_columns_that_identify_the_entity_are_matched() -> None:
    subject = find_subject(renamed("customers", "id"), "customer_id= cst-1 ", secret=SECRET)
    assert subject.columns == {"customer_id", "id", "customer"}
    assert (subject.tag, subject.entity, subject.text) == ("customer_id", "customer", "cst-1")
    assert subject.hashed == keyed_hash("cst-1", SECRET) != subject.digest
    assert find_subject(renamed("customers", "id"), "id=cst-1", secret=SECRET).digest == subject.digest
    assert find_subject(SHOP, "customer_id=cst-1", secret=b"t" * 32).digest != subject.digest


def test_an_entity_that_renames_an_identifying_column_is_matched() -> None:
    words = (
        Renamed(name="buyer", column="customer_id"),
        Renamed(name="payer", column="buyer"),
        Renamed(name="place", column="city"),
    )
    shop = SHOP.but(features=SHOP.features.but(request_features=words))
    assert find_subject(shop, "customer_id=cst-1", secret=SECRET).columns == {"customer_id", "customer", "buyer", "payer"}


def test_a_value_may_contain_an_equals_sign() -> None:
    assert find_subject(SHOP, "customer_id=a=b", secret=SECRET).text == "a=b"


@given(number=st.integers())
def test_a_value_of_an_int_column_is_parsed_as_a_number(number: int) -> None:
    shop = SHOP
    for contract_name in ("orders", "returns", "customers"):
        contract = shop.contract(contract_name)
        columns = tuple(
            column.but(dtype="int", pattern=None) if column.name == "customer_id" else column for column in contract.columns
        )
        shop = shop.but(
            contracts=tuple(contract.but(columns=columns) if table is contract else table for table in shop.contracts)
        )
    matcher = find_subject(shop, f"customer_id={number:+}", secret=SECRET)
    assert (matcher.text, matcher.is_number) == (str(number), True)
    with pytest.raises(UnknownSubject, match="found 'seven'; legal: a whole number"):
        find_subject(shop, "customer_id=seven", secret=SECRET)


@pytest.mark.parametrize("request_text", ["city=Ulm", "nonsense=1", "customer_id", "=cst-1", "", "amount=1", "day=2024-03-01"])
def test_a_column_that_identifies_nothing_is_refused_with_those_that_do(request_text: str) -> None:
    legal = re.escape("legal: customer_id=<customer>")
    with pytest.raises(UnknownSubject, match=legal):
        find_subject(SHOP, request_text, secret=SECRET)


@pytest.mark.parametrize("request_text", ["customer_id=", "customer_id= "])
def test_a_missing_value_is_refused_and_matches_no_null(request_text: str) -> None:
    with pytest.raises(UnknownSubject, match="the value is missing"):
        find_subject(SHOP, request_text, secret=SECRET)


def test_without_any_tag_the_message_contains_the_remedy() -> None:
    columns = [column for contract in USE_CASE.contracts for column in contract.columns]
    untagged = USE_CASE.but(
        contracts=tuple(
            contract.but(columns=tuple(column.but(identifies=None) for column in contract.columns))
            for contract in USE_CASE.contracts
        )
    )
    assert columns
    with pytest.raises(
        UnknownSubject, match=re.escape("'tailnum' identifies nothing; legal: none. Tag the column: Column(identifies=...)")
    ):
        find_subject(untagged, "tailnum=N1", secret=SECRET)


@pytest.mark.parametrize(
    ("use_case", "problem"),
    [
        (
            retagged("returns", "customer_id", identifies=None),
            "contracts[returns] · 'customer_id' is a string that identifies nothing",
        ),
        (retagged("returns", "customer_id", identifies="agent"), "'customer_id' is a string that identifies"),
        (retagged("customers", "city", name="customer"), "contracts[customers] · 'customer' is a string that identifies nothing"),
    ],
)
def test_a_column_name_with_another_meaning_in_another_table_is_refused(use_case: UseCase, problem: str) -> None:
    with pytest.raises(UnknownSubject, match=re.escape(problem)):
        find_subject(use_case, "customer_id=cst-1", secret=SECRET)


@pytest.mark.parametrize("dtype", ["float", "datetime", "bool"])
def test_only_strings_and_ints_can_identify(dtype: str) -> None:
    with pytest.raises(IllegalDeclaration, match=f"'who' identifies a customer and is a {dtype}; legal: string, int"):
        Column(name="who", dtype=dtype, description="Who.", identifies="customer")  # type: ignore[arg-type]


HASH = "0123456789abcdef0123456789abcdef"
TEXTS = st.text(st.sampled_from("aB7.*[ -+\\'é\""), min_size=1, max_size=5).filter(lambda text: text == text.strip())


def build_matcher(text: str, *, number: bool = False) -> Subject:
    return build_subject(text, "who", hashed=HASH, number=number)


@given(text=TEXTS, content=TEXTS | st.none() | st.just(HASH), blanks=st.sampled_from(["", " ", "\t", "  "]))
def test_text_matches_as_a_whole_in_clear_or_hashed(text: str, content: str | None, blanks: str) -> None:
    value = None if content is None else blanks + content + blanks
    expected = content is not None and content in (text, HASH)
    assert build_matcher(text).is_value(value) is expected
    frame = pl.DataFrame({"who": [value]}, schema={"who": pl.String})
    assert frame.select(build_matcher(text).is_in_rows(frame.schema)).item() is expected


@given(number=st.integers(-30, 30), content=st.from_regex(r"\A[+-]?[0-3]{0,2}[0-9]{1,2}(\.0{0,2})?\Z"))
def test_numbers_match_by_value(number: int, content: str) -> None:
    expected = float(content) == number and not (number == 0 and content.startswith("-"))
    assert build_matcher(str(number), number=True).is_value(content) is expected
    frame = pl.DataFrame({"who": [content]})
    assert frame.select(build_matcher(str(number), number=True).is_in_rows(frame.schema)).item() is expected


@given(numbers=st.lists(st.integers(-(2**63), 2**63 - 1)), chosen=st.integers(0, 5))
def test_typed_numbers_match_in_rows_and_frames(numbers: list[int], chosen: int) -> None:
    number = numbers[chosen] if chosen < len(numbers) else 7
    one = build_matcher(str(number), number=True)
    rows = one.is_in_rows(pl.Schema({"who": pl.Int64}))
    assert pl.DataFrame({"who": numbers}, schema={"who": pl.Int64}).filter(rows)["who"].to_list() == [
        value for value in numbers if value == number
    ]
    assert [value for value in numbers if one.is_in({"who": value, "other": number})] == [
        value for value in numbers if value == number
    ]


@given(text=TEXTS, line=st.text(st.sampled_from("aB7.,-"), max_size=20))
def test_in_text_the_value_matches_as_a_separate_word(text: str, line: str) -> None:
    places = [match.start() for match in re.finditer(f"(?={re.escape(text)})", line)]
    alone = any(
        (at == 0 or not line[at - 1].isalnum()) and (at + len(text) == len(line) or not line[at + len(text)].isalnum())
        for at in places
    )
    assert build_matcher(text).is_in_text(line) is alone


def test_a_table_without_the_column_contains_no_row() -> None:
    other = pl.DataFrame({"other": ["a"]})
    assert other.filter(build_matcher("a").is_in_rows(other.schema)).is_empty()
    assert build_matcher("a").is_in({"other": "a"}) is False


@pytest.mark.parametrize("column", ["problem", "reasons"])
def test_a_line_that_cannot_be_parsed_is_searched_as_text(column: str) -> None:
    rows = pl.DataFrame(
        {
            "who": ["a", "b", "b", "b", None, "b"],
            "what": ["x", "a", "a", "ab", None, "x"],
            "source_file": ["a"] * 6,
            column: [
                None,
                None,
                "line has 3 of 2 fields; beyond the last: 'c'",
                "line is cut off",
                "line has 1 of 2 fields: 'a'",
                "what: 'a' is not",
            ],
        }
    )
    assert rows.select(build_matcher("a").is_in_rows(rows.schema)).to_series().to_list() == [
        True,
        False,
        True,
        False,
        True,
        False,
    ]
