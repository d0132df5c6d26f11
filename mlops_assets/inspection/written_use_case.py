"""Writes a proposed use case: its declaration, and a test with a sample of its rows."""

import textwrap
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined

import mlops_assets
from mlops_assets.foundation.atomic_file import replace_file
from mlops_assets.inspection.proposal import Proposal
from mlops_assets.inspection.source_code import INDENT, WIDTH, classes_in, to_code, wrap
from mlops_assets.spec.use_case import UseCase

ANY_DAY = datetime(2000, 1, 1)
CONTRACT_HEAD = ("table", "description", "columns")


@dataclass(frozen=True)
class Target:
    """Where use cases are: `folder` has one folder for each, which are the modules of `package`; `tests` has one for the tests of
    each.
    """

    folder: Path
    package: str
    tests: Path


def write_use_case(proposal: Proposal, sample: pl.DataFrame, origin: str, target: Target) -> tuple[Path, ...]:
    """`sample`: text by the names of the columns, of rows that the contract accepts; personal data is replaced. Returns the
    files, of which the declaration is written last: with it the use case is there.
    """
    name, module = proposal.use_case.name, f"{target.package}.{proposal.use_case.name}"
    tests, declaration = target.tests / name, target.folder / name / "__init__.py"
    test, rows = tests / f"test_{name}.py", tests / "sample.csv"
    contents = {
        rows: _without_personal_data(sample, proposal.use_case).write_csv(quote_style="necessary"),
        test: _template("test").render(name=name, module=module),
        declaration: declaration_source(proposal, origin),
    }
    for path, text in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())
    return declaration, test, rows


def declaration_source(proposal: Proposal, origin: str) -> str:
    use_case, contract = proposal.use_case, proposal.use_case.contracts[0]
    constant = contract.table.upper()
    names = [name for name in type(contract).model_fields if name in contract.model_fields_set and name not in CONTRACT_HEAD]
    comments = {name: _comment_lines(proposal.comments.get(name, ""), 2) for name in contract.names}
    return _template("use_case").render(
        question=use_case.question, origin=origin, imports=_imports(use_case), constant=constant, contract=contract,
        comments=comments, rest=[wrap(getattr(contract, name), f"{name}=") for name in names], fields=_fields(proposal, constant),
    )  # fmt: skip


def _fields(proposal: Proposal, constant: str) -> Iterator[str]:
    use_case = proposal.use_case
    for name in (name for name in type(use_case).model_fields if name in use_case.model_fields_set):
        yield from (f"# {line}" for line in _comment_lines(proposal.notes.get(name, ""), 1))
        yield f"contracts=({constant},)," if name == "contracts" else f"{wrap(getattr(use_case, name), f'{name}=')},"


def _comment_lines(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, WIDTH - len(INDENT) * indent - len("# "))


def _imports(use_case: UseCase) -> str:
    modules = defaultdict[str, set[str]](set)
    for one in classes_in(use_case):
        modules["mlops_assets" if one.__name__ in mlops_assets.__all__ else one.__module__].add(one.__name__)
    lines = {module: _import(module, sorted(names)) for module, names in modules.items()}
    standard = lines.pop("datetime", "")
    return "\n".join([*([standard, ""] if standard else []), *(lines[module] for module in sorted(lines)), ""])


def _import(module: str, names: list[str]) -> str:
    line = f"from {module} import {', '.join(names)}"
    return line if len(line) <= WIDTH else "\n".join([f"from {module} import (", *(f"{INDENT}{name}," for name in names), ")"])


def _without_personal_data(sample: pl.DataFrame, use_case: UseCase) -> pl.DataFrame:
    """The sample is committed with the code."""
    form = use_case.sources[0].form
    days = {"date": form.date_format or "%Y-%m-%d", "datetime": form.datetime_format or "%Y-%m-%d %H:%M"}
    columns = [column for column in use_case.contracts[0].columns if column.pii]
    made = {
        column.name: pl.lit(ANY_DAY.strftime(days[column.dtype]))
        if column.dtype in days
        else pl.format("{}", pl.int_range(1, pl.len() + 1))
        for column in columns
    }
    return sample.with_columns(**made)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mlops_assets.inspection"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"code": to_code, "wrap": wrap}
    return environment


def _template(name: str) -> Any:
    return _environment().get_template(f"{name}.py.jinja")
