"""A contract changes in the life of a table: files of every age are read, by a rule for each change."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.ingestion.landing import BrokenDelivery, Landing
from mlops_assets.ingestion.validate import Split, split_rows
from mlops_assets.spec.contract import Column, Contract
from mlops_assets.spec.spec import IllegalDeclaration

OLD, SINCE = date(2013, 6, 30), date(2013, 7, 1)
NUMBER = Column(name="number", dtype="int", description="x")
GATE = Column(name="gate", dtype="string", description="x", since=SINCE)


def contract(*columns: Column, **fields: Any) -> Contract:
    return Contract(table="flights", description="x", columns=(NUMBER, *columns), unique=("number",), **fields)


def split(root: Path, declared: Contract, day: date, content: str) -> Split:
    landing = Landing(root)
    path = landing.path("line", "flights", day)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return split_rows(landing.read_file(path, declared, day), declared)


def test_a_file_from_before_a_column_lacks_it(tmp_path: Path) -> None:
    assert split(tmp_path, contract(GATE), OLD, "number\n1\n").accepted.rows() == [(1, None, OLD)]
    assert split(tmp_path, contract(GATE), OLD, "number,gate\n1,B4\n2,\n").accepted["gate"].to_list() == ["B4", None]


def test_a_file_from_since_then_must_have_the_column_and_its_values(tmp_path: Path) -> None:
    with pytest.raises(BrokenDelivery, match="'gate' is missing"):
        split(tmp_path, contract(GATE), SINCE, "number\n1\n")
    late = split(tmp_path, contract(GATE), SINCE, "number,gate\n1,B4\n2,\n")
    assert (late.accepted["gate"].to_list(), late.quarantined["reasons"].to_list()) == (["B4"], ["gate: missing"])
    nullable = contract(GATE.but(nullable=True))
    assert split(tmp_path, nullable, SINCE, "number,gate\n2,\n").accepted.height == 1


def test_a_dropped_column_may_be_in_files_of_any_day_and_is_ignored(tmp_path: Path) -> None:
    declared = contract(dropped=("gate",))
    for content in ("gate,number\nB4,1\n", "number\n1\n"):
        assert split(tmp_path, declared, OLD, content).accepted.rows() == [(1, OLD)]
    with pytest.raises(BrokenDelivery, match="'gates' is unknown"):
        split(tmp_path, declared, OLD, "gates,number\nB4,1\n")


def test_a_renamed_column_is_read_by_either_name_but_not_by_both(tmp_path: Path) -> None:
    declared = contract(Column(name="stand", dtype="string", description="x", renamed_from="gate"))
    for header in ("number,gate", "number,stand"):
        assert split(tmp_path, declared, OLD, f"{header}\n1,B4\n").accepted["stand"].to_list() == ["B4"]
    with pytest.raises(BrokenDelivery, match="'stand' comes twice"):
        split(tmp_path, declared, OLD, "number,gate,stand\n1,B4,B5\n")


def test_a_row_of_a_file_with_fewer_columns_is_counted_by_its_own_header(tmp_path: Path) -> None:
    parts = split(tmp_path, contract(GATE), OLD, "number\n1\n2,B4\n")
    assert parts.accepted["number"].to_list() == [1]
    assert parts.quarantined["reasons"].to_list() == ["line has 2 of 1 fields; beyond the last: 'B4'"]


@pytest.mark.parametrize("fields", [{"dropped": ("number",)}, {"dropped": ("gate", "gate")}])
def test_a_former_column_that_is_declared_twice_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(IllegalDeclaration, match="Keep one"):
        contract(**fields)
