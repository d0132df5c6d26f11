"""The table of undocumented parts in docs/concepts.md lists every file that uses one, and no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mlops_assets.foundation.home import PROJECT
from tests.documentation.pages import read_page

OWN = {"mlops_assets", "deploy", "feature_repo"}
QUOTED = re.compile(r"`([^`]+)`")
# Documented in spite of the underscore: named tuples and enums of Python, error codes of confluent-kafka.
DOCUMENTED = re.compile(r"\w+\._(asdict|replace|value_)|KafkaError\._[A-Z_]+")


class Row(NamedTuple):
    """A row of the table; `symbols` are the names in its second column."""

    library: str
    symbols: tuple[str, ...]
    files: tuple[str, ...]
    tests: tuple[str, ...]


def table() -> list[Row]:
    section = read_page("docs/concepts.md").partition("## Undocumented parts of libraries\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| ")][1:]
    return [Row(library, *(tuple(QUOTED.findall(cell)) for cell in cells)) for library, *cells in rows]


def path_of(file: str) -> Path:
    return PROJECT / file if file.partition("/")[0] in OWN else PROJECT / "mlops_assets" / file


def parsed(path: Path) -> list[ast.AST]:
    return [*ast.walk(ast.parse(path.read_text()))]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def defined_in(nodes: list[ast.AST]) -> set[str]:
    """The names that a file defines or assigns."""
    names = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    names |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    return names | {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def private_parts(nodes: list[ast.AST]) -> Iterator[str]:
    """Imports of private modules and names of libraries, and their private attributes, also inherited ones."""
    defined = defined_in(nodes)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if any(map(is_private, alias.name.split("."))))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] not in OWN:
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            yield from [f"{node.module} import"] if any(map(is_private, names)) else []
        elif isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in defined:
            owner = node.value.id if isinstance(node.value, ast.Name) else "value"
            yield from [f"{owner}.{node.attr}"] if not DOCUMENTED.fullmatch(f"{owner}.{node.attr}") else []


def names_in(nodes: list[ast.AST]) -> set[str]:
    """What a file imports, reads or names in a text."""
    imported = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    methods = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    return imported | attributes | methods | {str(node.value) for node in nodes if isinstance(node, ast.Constant)}


def test_every_file_that_uses_a_private_part_of_a_library_is_in_the_table() -> None:
    listed = {path_of(file) for row in table() for file in row.files}
    others = {path for folder in OWN for path in (PROJECT / folder).rglob("*.py")} - listed
    unlisted = {str(path.relative_to(PROJECT)): [*private_parts(parsed(path))] for path in sorted(others)}
    assert {file: parts for file, parts in unlisted.items() if parts} == {}


@pytest.mark.parametrize("symbol", ["event_log_storage", "run_storage", "schedule_storage"])
def test_the_storages_of_dagster_are_read_in_the_listed_files_alone(symbol: str) -> None:
    listed = {path_of(file) for row in table() if row.library == "Dagster" for file in row.files}
    others = {path for folder in OWN for path in (PROJECT / folder).rglob("*.py")} - listed
    assert [path for path in others if symbol in names_in(parsed(path))] == []


@pytest.mark.parametrize("row", table(), ids=lambda row: f"{row.library} {row.files[0]}")
def test_every_file_of_a_row_uses_what_the_row_names_and_every_name_is_used(row: Row) -> None:
    used = {file: parsed(path_of(file)) for file in row.files}
    names = {file: names_in(nodes) & {*row.symbols} for file, nodes in used.items()}
    assert [file for file, nodes in used.items() if not names[file] and not any(private_parts(nodes))] == []
    assert set[str]().union(*names.values()) == {*row.symbols}


def test_the_table_has_at_most_ten_rows_and_every_row_has_tests_that_exist() -> None:
    assert 0 < len(table()) <= 10
    assert [row for row in table() if not row.tests or not all((PROJECT / test).is_file() for test in row.tests)] == []
