"""The log outlives the declaration that its lines were written by: each line is read exactly, or named; none hides another."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.serving.http.request import BadRequest, RequestParser
from mlops_assets.serving.log.log_reader import scan
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.spec.column_type import DType
from mlops_assets.spec.use_case import UseCase
from tests.cli.loans import APPLICATIONS, LOANS


def declared(dtype: DType, *, numeric: bool = False, categorical: bool = False, **fields: Any) -> UseCase:
    """The loans, whose request column `amount` has another type or name, and is an input as well or not."""
    digits = {"precision": 10, "scale": 2} if dtype == "decimal" else {}
    amount = APPLICATIONS.column("amount").but(dtype=dtype, min=None, max=None, **digits, **fields)
    columns = tuple(amount if column.name == "amount" else column for column in APPLICATIONS.columns)
    name = amount.name
    features = LOANS.features.but(
        request=("number", "customer", name, "purpose", "applied_at"),
        numeric=(*((name,) if numeric else ()), "last_paid"),
        categorical=(*((name,) if categorical else ()), "purpose"),
    )
    return LOANS.but(contracts=(APPLICATIONS.but(columns=columns), *LOANS.contracts[1:]), features=features)


def write(folder: Path, use_case: UseCase, *values: Any, name: str = "amount") -> None:
    log = PredictionLog(folder, use_case)
    first = sum(log.segments().values())
    log.append([{**dict.fromkeys(log.schema), "prediction_id": f"{first}-{n}", name: v} for n, v in enumerate(values)])


@pytest.mark.parametrize(
    ("before", "after", "values", "kept"),
    [
        ("int", "float", [5, -7, None], [5.0, -7.0, None]),
        ("float", "int", [5.0, 12.5, -0.0], [5, 0]),
        ("float", "int", [2.537728283941277e16, 1e18, -(2.0**63), 1e19], [25377282839412768, 10**18, -(2**63)]),
        ("bool", "float", [True, False], [1.0, 0.0]),
        ("bool", "int", [True, False], [1, 0]),
        ("int", "bool", [1, 0, 2], [True, False]),
        ("bool", "string", [True, False], ["true", "false"]),
        ("string", "bool", ["true", "FALSE", "maybe"], [True, False]),
        ("string", "int", ["12", "9007199254740993", "x"], [12, 2**53 + 1]),
        ("int", "string", [12], ["12"]),
        ("float", "string", [0.1], ["0.1"]),
        ("string", "float", ["0.30000000000000004", "NA"], [0.1 + 0.2]),
        ("date", "string", [date(2024, 2, 29)], ["2024-02-29"]),
        ("string", "date", ["2024-02-29", "2024-02-30"], [date(2024, 2, 29)]),
        ("decimal", "string", [Decimal("12.50")], ["12.50"]),
        ("string", "decimal", ["12.5", "12.505"], [Decimal("12.50")]),
        ("float", "decimal", [12.5, 12.505], [Decimal("12.50")]),
    ],
)
def test_lines_of_another_type_are_read_exactly_or_named(
    tmp_path: Path, before: DType, after: DType, values: list[Any], kept: list[Any]
) -> None:
    write(tmp_path, declared(before), *values)
    write(tmp_path, declared(after), kept[0])
    logged = scan(PredictionLog(tmp_path, declared(after)))
    assert logged.rows["amount"].to_list() == [*kept, kept[0]]
    assert len(logged.faults) == len(values) - len(kept)
    assert all(fault.startswith("000001.jsonl · answer 0-") for fault in logged.faults)
    assert (logged.unreadable_share > 0) == bool(logged.faults)


def test_a_renamed_request_column_keeps_its_logged_values(tmp_path: Path) -> None:
    write(tmp_path, declared("float"), 5.0)
    renamed = declared("float", name="sum", renamed_from="amount")
    write(tmp_path, renamed, 6.0, name="sum")
    assert PredictionLog(tmp_path, renamed).read()[0]["sum"].to_list() == [5.0, 6.0]


@pytest.mark.parametrize("broken", [b"{", b"5", b"\x00" * 9, b'{"amount":"\xff"}', b'{"feature_age_s":7}', b'{"amount":1e400}'])
def test_a_broken_line_is_named_and_hides_no_other(tmp_path: Path, broken: bytes) -> None:
    use_case = declared("float")
    write(tmp_path, use_case, 1.0, 2.0)
    segment = tmp_path / "loans" / "000001.jsonl"
    first, second = segment.read_bytes().splitlines()
    segment.write_bytes(b"\n".join([first, broken, broken, second, b""]))
    rows, progress, faults, _, share = scan(PredictionLog(tmp_path, use_case))
    assert rows["amount"].to_list() == [1.0, 2.0]
    assert [*faults] == [f"000001.jsonl · a line of {len(broken)} bytes that names no answer"] * 2
    assert 0 < share < 0.5 and progress.segments["000001.jsonl"].read == segment.stat().st_size


def test_a_segment_that_cannot_be_opened_is_named_and_read_later(tmp_path: Path) -> None:
    use_case = declared("float")
    write(tmp_path, use_case, 1.0)
    write(tmp_path, use_case, 2.0)
    segment = tmp_path / "loans" / "000001.jsonl"
    aside = segment.rename(tmp_path / "aside")
    segment.mkdir()
    log = PredictionLog(tmp_path, use_case)
    rows, progress, faults, _, share = scan(log)
    assert (rows["amount"].to_list(), [*faults]) == ([2.0], ["000001.jsonl cannot be read: Is a directory"])
    assert share > 0.5
    segment.rmdir()
    aside.rename(segment)
    assert scan(log, progress).rows["amount"].to_list() == [1.0]


@pytest.mark.parametrize(
    ("dtype", "part", "legal", "illegal"),
    [
        ("bool", "categorical", ["true", None], ["maybe", "TRUE", True]),
        ("int", "categorical", ["12", "-1", None], ["12.5", "x", 12]),
        ("int", "numeric", [12, None], [12.5, "12", True]),
        ("bool", "numeric", [True, None], [1.5, 1, "true"]),
        ("float", "numeric", [12.5, 12, None], ["x"]),
        ("decimal", "numeric", ["12.50", None], ["12.505", 12.5, "x"]),
    ],
)
def test_what_is_accepted_as_a_feature_is_a_value_of_the_request_column_too(
    tmp_path: Path, dtype: DType, part: str, legal: list[Any], illegal: list[Any]
) -> None:
    use_case = declared(dtype, **{part: True})
    parse = RequestParser(use_case)

    def send(value: Any) -> None:
        features = {"amount": value, "last_paid": 1.0, "purpose": "car"}
        parse(json.dumps({"features": [{name: features[name] for name in use_case.features.inputs}]}).encode())

    for value in legal:
        send(value)
        write(tmp_path, use_case, value)
    assert not scan(PredictionLog(tmp_path, use_case)).faults
    for value in illegal:
        with pytest.raises(BadRequest):
            send(value)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.text()),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["int", "float", "bool", "string"]),
)
def test_every_line_of_any_mixture_is_a_row_or_a_fault(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], dtype: DType
) -> None:
    folder = tmp_path_factory.mktemp("log")
    write(folder, declared("string"), *values)
    logged = scan(PredictionLog(folder, declared(dtype)))
    assert logged.rows.height + len(logged.faults) == len(values)
    assert logged.rows.schema == PredictionLog(folder, declared(dtype)).schema
    if dtype in ("int", "bool"):
        written = {f"0-{n}": value for n, value in enumerate(values) if not isinstance(value, str)}
        for row in logged.rows.filter(pl.col("prediction_id").is_in([*written])).iter_rows(named=True):
            assert row["amount"] == written[row["prediction_id"]]
