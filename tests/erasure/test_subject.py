"""Who may be asked for: what the contracts tag, and nothing else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.erasure.subject import UnknownSubject, find_subject
from mlops_assets.serving.log.prediction_log import keyed_hash
from mlops_assets.spec.contract import Column
from mlops_assets.spec.spec import IllegalDeclaration
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.erasure.shop import SHOP

SECRET = b"s" * 32


def retagged(table: str, column_name: str, **tags: object) -> UseCase:
    contract = SHOP.contract(table)
    columns = tuple(column.but(**tags) if column.name == column_name else column for column in contract.columns)
    return SHOP.but(contracts=tuple(contract.but(columns=columns) if each is contract else each for each in SHOP.contracts))


def renamed(table: str, name: str) -> UseCase:
    """The customer's column of one table under another name."""
    contract = SHOP.contract(table)
    columns = tuple(column.but(name=name) if column.name == "customer_id" else column for column in contract.columns)
    unique = tuple(name if each == "customer_id" else each for each in contract.unique)
    return SHOP.but(
        contracts=tuple(contract.but(columns=columns, unique=unique) if each is contract else each for each in SHOP.contracts)
    )


def test_all_columns_that_identify_the_same_are_sought_with_their_entity() -> None:
    subject = find_subject(renamed("customers", "id"), "customer_id= cst-1 ", secret=SECRET)
    assert subject.matcher.columns == {"customer_id", "id", "customer"}
    assert (subject.tag, subject.entity, subject.matcher.text) == ("customer_id", "customer", "cst-1")
    assert subject.matcher.hashed == keyed_hash("cst-1", SECRET) != subject.digest
    assert find_subject(renamed("customers", "id"), "id=cst-1", secret=SECRET).digest == subject.digest
    assert find_subject(SHOP, "customer_id=cst-1", secret=b"t" * 32).digest != subject.digest


def test_a_value_may_hold_the_sign_of_equality() -> None:
    assert find_subject(SHOP, "customer_id=a=b", secret=SECRET).matcher.text == "a=b"


@given(number=st.integers())
def test_numbers_are_read_as_numbers(number: int) -> None:
    shop = SHOP
    for table in ("orders", "returns", "customers"):
        contract = shop.contract(table)
        columns = tuple(each.but(dtype="int", pattern=None) if each.name == "customer_id" else each for each in contract.columns)
        shop = shop.but(contracts=tuple(contract.but(columns=columns) if each is contract else each for each in shop.contracts))
    sought = find_subject(shop, f"customer_id={number:+}", secret=SECRET).matcher
    assert (sought.text, sought.is_number) == (str(number), True)
    with pytest.raises(UnknownSubject, match="found 'seven'; legal: a whole number"):
        find_subject(shop, "customer_id=seven", secret=SECRET)


@pytest.mark.parametrize("said", ["city=Ulm", "nonsense=1", "customer_id", "=cst-1", "", "amount=1", "day=2024-03-01"])
def test_what_identifies_nobody_is_refused_with_what_does(said: str) -> None:
    legal = re.escape("legal: customer_id=<customer>")
    with pytest.raises(UnknownSubject, match=legal):
        find_subject(SHOP, said, secret=SECRET)


@pytest.mark.parametrize("said", ["customer_id=", "customer_id= "])
def test_no_value_is_refused_rather_than_taken_for_all_who_have_none(said: str) -> None:
    with pytest.raises(UnknownSubject, match="the value is missing"):
        find_subject(SHOP, said, secret=SECRET)


def test_without_any_tag_the_remedy_is_told() -> None:
    columns = [column for contract in USE_CASE.contracts for column in contract.columns]
    untagged = USE_CASE.but(
        contracts=tuple(
            contract.but(columns=tuple(each.but(identifies=None) for each in contract.columns)) for contract in USE_CASE.contracts
        )
    )
    assert columns
    with pytest.raises(
        UnknownSubject, match=re.escape("'tailnum' identifies nothing; legal: none. Tag the column: Column(identifies=...)")
    ):
        find_subject(untagged, "tailnum=N1", secret=SECRET)


@pytest.mark.parametrize(
    ("use_case", "found"),
    [
        (
            retagged("returns", "customer_id", identifies=None),
            "contracts[returns] · 'customer_id' is a string that identifies nothing",
        ),
        (retagged("returns", "customer_id", identifies="agent"), "'customer_id' is a string that identifies"),
        (retagged("customers", "city", name="customer"), "contracts[customers] · 'customer' is a string that identifies nothing"),
    ],
)
def test_a_name_that_is_somebody_elses_in_another_table_is_refused(use_case: UseCase, found: str) -> None:
    with pytest.raises(UnknownSubject, match=re.escape(found)):
        find_subject(use_case, "customer_id=cst-1", secret=SECRET)


@pytest.mark.parametrize("dtype", ["float", "datetime", "bool"])
def test_only_what_tells_exactly_can_identify(dtype: str) -> None:
    with pytest.raises(IllegalDeclaration, match=f"'who' is a {dtype} and is to identify a customer; legal: string, int"):
        Column(name="who", dtype=dtype, description="Who.", identifies="customer")  # type: ignore[arg-type]
