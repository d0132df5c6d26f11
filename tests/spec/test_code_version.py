"""The code version of an asset changes with the code and values that it depends on, and with nothing else."""

import importlib
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlops_assets.spec.code_version import FORM, code_version, feature_code, is_outdated, raw_code, text_of, validated_code
from mlops_assets.spec.contract import RowCountBand
from mlops_assets.spec.form import Csv
from tests.cli.loans import APPLICATIONS, LOANS, VIEW

TRANSFORMS = '''
"""Transforms."""
import polars as pl
from acme.money import euros as as_euros, UNUSED
from . import rates

HOURS, DAYS = 24, 7
WINDOWS = {}
WINDOWS["week"] = DAYS

def paid(tables, start, end):
    """What was paid."""
    from acme.late import is_late
    rows = tables["payments"]  # of all customers
    return _within(as_euros(rows), WINDOWS["week"], rates.of("car"), is_late)

def _within(rows, *values):
    return rows

def other(tables, start, end):
    return HOURS
'''
MODULES = {
    "__init__": "", "transforms": TRANSFORMS, "money": "def euros(rows):\n    return _round(rows)\ndef _round(rows):\n    return rows\nUNUSED = 1\n",
    "rates": "def of(kind):\n    return 1\n", "late": "def is_late(row):\n    return False\n", "unread": "X = 1\n",
}  # fmt: skip


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "acme"
    folder.mkdir()
    for name, text in MODULES.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme"]:
        del sys.modules[name]


def edited(folder: Path, module: str, old: str, new: str) -> tuple[str, str]:
    """The version of `paid` before and after an edit."""
    loaded: ModuleType = importlib.import_module("acme.transforms")
    before, file = code_version(loaded.paid), folder / f"{module}.py"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    return before, code_version(loaded.paid)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("transforms", 'tables["payments"]', 'tables["loans"]'),
        ("transforms", "def _within(rows, *values):\n    return rows", "def _within(rows, *values):\n    return rows[1:]"),
        ("transforms", "HOURS, DAYS = 24, 7", "HOURS, DAYS = 24, 8"),
        ("transforms", '["week"] = DAYS', '["week"] = 2 * DAYS'),
        ("transforms", "euros as as_euros", "UNUSED as as_euros"),
        ("money", "return _round(rows)", "return rows"),
        ("money", "def _round(rows):\n    return rows", "def _round(rows):\n    return rows.round()"),
        ("rates", "return 1", "return 2"),
        ("late", "return False", "return True"),
    ],
)
def test_a_code_version_changes_with_the_function_and_with_what_it_uses_of_its_package(
    acme: Path, module: str, old: str, new: str
) -> None:
    before, after = edited(acme, module, old, new)
    assert before != after


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("transforms", '"""What was paid."""', '"""What customers have paid."""'),
        ("transforms", "# of all customers", "# of customers"),
        ("transforms", "return HOURS", "return 2 * HOURS"),
        ("transforms", '"""Transforms."""', '"""All transforms."""\n\n'),
        ("transforms", "def other", "def newer(tables, start, end): ...\n\ndef other"),
        ("money", "UNUSED = 1", "UNUSED = 2"),
        ("unread", "X = 1", "X = 2"),
    ],
)
def test_a_code_version_does_not_change_with_prose_or_with_unused_code(acme: Path, module: str, old: str, new: str) -> None:
    before, after = edited(acme, module, old, new)
    assert before == after


def test_a_code_version_is_the_same_in_another_process(acme: Path) -> None:
    """Neither addresses nor the order of a set are part of it."""
    values: list[Any] = [{"b", "a"}, frozenset({2, 1}), {"y": 1, "x": 2}, partial(int, base=2), LOANS, len, object()]
    assert "0x" not in "".join(map(text_of, values))
    assert text_of({"b", "a"}) == text_of({"a", "b"}) and text_of({"y": 1, "x": 2}) == text_of({"x": 2, "y": 1})


def _captured(column: str) -> Any:
    return lambda tables, start, end: tables[column]


def test_a_code_version_changes_with_the_values_that_a_function_has_captured() -> None:
    assert code_version(_captured("paid")) == code_version(_captured("paid")) != code_version(_captured("owed"))
    assert code_version(partial(_captured, "paid")) != code_version(partial(_captured, "owed"))


PAYMENTS_SOURCE, COLUMNS = LOANS.source("payments"), APPLICATIONS.columns
AMOUNT = APPLICATIONS.column("amount")


@pytest.mark.parametrize(
    ("fields", "is_read_again", "is_validated_again"),
    [
        ({"description": "Loans."}, False, False),
        ({"columns": (*COLUMNS[:-1], COLUMNS[-1].but(description="Not paid back."))}, False, False),
        ({"columns": (*COLUMNS[:-1], COLUMNS[-1].but(min=0, max=1))}, False, True),
        ({"columns": COLUMNS[:-1]}, True, True),
        ({"columns": (*COLUMNS[:-1], COLUMNS[-1].but(source="default"))}, True, True),
        ({"max_bad_share": 0.5}, False, True),
        ({"expectations": (RowCountBand(min_ratio=0),)}, False, True),
    ],
)
def test_a_contract_changes_what_is_made_from_it(fields: dict[str, Any], is_read_again: bool, is_validated_again: bool) -> None:
    source, after = LOANS.source("applications"), APPLICATIONS.but(**fields)
    assert (raw_code(source, after) != raw_code(source, APPLICATIONS)) is is_read_again
    assert (validated_code(source, after) != validated_code(source, APPLICATIONS)) is is_validated_again
    other_form = source.but(form=Csv(decimal=",", delimiter=";"))
    assert validated_code(other_form, APPLICATIONS) != validated_code(source, APPLICATIONS)


@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        ({"description": "Paid."}, False),
        ({"descriptions": {"last_paid": "Euros."}}, False),
        ({"ttl": timedelta(days=3)}, False),
        ({"lookback": timedelta(days=3)}, True),
        ({"entity": ("customer", "number")}, True),
        ({"transform": _captured("payments")}, True),
    ],
)
def test_a_view_changes_what_is_made_from_it(fields: dict[str, Any], changes: bool) -> None:
    assert (feature_code(VIEW.but(**fields)) != feature_code(VIEW)) is changes


def test_a_version_that_another_release_has_built_otherwise_is_not_outdated() -> None:
    assert is_outdated(f"{FORM}1", f"{FORM}2")
    assert (
        not is_outdated("0123456789ab", f"{FORM}2")
        and not is_outdated(None, f"{FORM}2")
        and not is_outdated(f"{FORM}2", f"{FORM}2")
    )
