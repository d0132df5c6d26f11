"""Rows become lines that the platform reads back as they were, and files of a partition are merged by their keys."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.ingestion.pulling.rows import CannotPull, merge, row_builder
from mlops_assets.spec.contract import Contract
from tests.ingestion.pulling.shop import FIRST, ORDERS, SQL, Shop

BUILD = row_builder(ORDERS, "ordered_at")
AT = "2024-03-01T10:00:00Z"


def line(*values: Any, contract: Contract = ORDERS) -> tuple[str, ...]:
    row = row_builder(contract, "ordered_at")(values)
    return *row.values, row.problem


@pytest.mark.slow
@settings(max_examples=150)
@given(
    st.lists(
        st.text(st.characters(), max_size=30)
        | st.sampled_from(["\r", '"', ",", "\n" * 49, "\n" * 50, "\x00", "\ud800", "a\r\n"]),
        max_size=6,
    )
)
def test_every_text_is_accepted_as_it_is_or_quarantined_and_a_second_merge_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    shop = Shop(tmp_path_factory.mktemp("landing"), SQL, {})
    path, rows = (
        shop.landing.path("shop", "orders", FIRST),
        [line(number, 1.5, text, True, AT) for number, text in enumerate(texts)],
    )
    assert merge(path, ORDERS, rows, replaces=False)
    assert not merge(path, ORDERS, rows, replaces=False)
    split = shop.rows()
    accepted = dict(split.accepted.select("number", "note").iter_rows())
    is_holdable = [
        not (set(text) & {"\0"} or any("\ud800" <= one <= "\udfff" for one in text) or text.count("\n") >= 50) for text in texts
    ]
    assert {
        number: text or None for number, (text, holdable) in enumerate(zip(texts, is_holdable, strict=True)) if holdable
    } == accepted
    assert split.quarantined.height >= is_holdable.count(False)


def test_texts_of_one_moment_or_number_are_one_key(tmp_path: Path) -> None:
    contract = ORDERS.but(unique=("amount", "ordered_at"))
    path = tmp_path / "2024-03-01.csv"
    for number, (amount, moment) in enumerate([("1", AT), ("1.0", "2024-03-01 10:00"), ("1e0", "2024-03-01T12:00:00+02:00")]):
        merge(path, contract, [line(number, amount, "", True, moment, contract=contract)], replaces=False)
    assert path.read_text().splitlines()[1:] == ["2,1e0,,true,2024-03-01T12:00:00+02:00"]


def test_rows_without_a_whole_key_are_no_versions_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "2024-03-01.csv"
    rows = [line(None, amount, "", True, AT) for amount in (1, 2, 2)]
    merge(path, ORDERS, rows, replaces=False)
    assert path.read_text().splitlines()[1:] == [f",1,,true,{AT}", f",2,,true,{AT}"]


def test_versions_are_compared_by_their_type(tmp_path: Path) -> None:
    for version, texts, highest in [
        ("amount", ["9", "10", "nan", "x", ""], "10"),
        ("ordered_at", ["2024-03-01T10:00:00Z", "2024-03-01T11:00:00+02:00", "20240399"], "2024-03-01T10:00:00Z"),
    ]:
        path = tmp_path / version
        at = ORDERS.names.index(version)
        for text in texts:
            row = [*line(1, 1, "", True, AT)]
            row[at] = text
            merge(path, ORDERS, [(*row,)], replaces=False, version=version)
        assert path.read_text().splitlines()[1].split(",")[at] == highest


@pytest.mark.parametrize(
    "content", [b'number,amount,note,paid,ordered_at\n1,"2', b"number,amount,note,paid,ordered_at\n1,2\n", b"number\n\xff\n"]
)
def test_a_damaged_file_is_named_and_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "2024-03-01.csv"
    path.write_bytes(content)
    with pytest.raises(
        CannotPull,
        match="2024-03-01.csv · new rows cannot be added to it: .* Correct the file, or delete it and pull from the start.",
    ):
        merge(path, ORDERS, [line(1, 1, "", True, AT)], replaces=False)
    assert path.read_bytes() == content
