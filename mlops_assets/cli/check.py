"""`mlops check`: every problem of every declaration, one line each, or the defaults that apply, and warnings about the data."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, cast

import typer

from mlops_assets.cli.arguments import FileOfRows, declared, environment, files_of
from mlops_assets.foundation.durations import in_words
from mlops_assets.foundation.wording import counted
from mlops_assets.spec.spec import Spec
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases import NOT_LOADED, USE_CASES

DERIVED = {"features": ("service", "request_table", "request", "numeric", "categorical"), "label": ("table", "key")}


def check(
    use_case: Annotated[
        str | None, typer.Argument(help="Also look at its data. Every use case, without data, when left out.")
    ] = None,
    *,
    file: FileOfRows,
) -> None:
    """Find what is illegal in declarations and in their transforms' columns; exit code 1 if anything is. List the defaults of
    what a legal declaration leaves out. Of one use case also warn of what is missing or suspicious in its data.
    """
    from mlops_assets.graph.check import find_problems

    named = [one for one in USE_CASES if use_case in (None, one.name)]
    not_loaded = [problem for problem in NOT_LOADED if use_case is None or use_case in re.split(r"[. ]", problem)]
    problems = [*not_loaded, *find_problems(named)]
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    for declaration in named or [declared(use_case or "")]:
        typer.echo(f"{declaration.name} is legal. Defaults of what it leaves out:")
        for field, value in _defaults(declaration):
            typer.echo(f"  {field}: {_describe(value)}")
        if use_case:
            _look_at_data(declaration, file)


def _look_at_data(use_case: UseCase, files: list[str]) -> None:
    from mlops_assets.evaluation.read_rows import NoRows, read_rows
    from mlops_assets.inspection.findings import find
    from mlops_assets.inspection.suspicious_columns import unread_identifiers

    home = environment(creates_home=True).home  # which none of this needs or changes
    try:
        data = read_rows(use_case, home=home, files=files_of(use_case, files), now=datetime.now(UTC))
    except NoRows as error:
        typer.echo(f"No data was looked at: {error}")
        return
    findings = find(data)
    typer.echo(f"Data: {data.describe()}")
    if identifiers := unread_identifiers(data):
        typer.echo(f"Identifiers, which are no inputs, as it should be: {', '.join(identifiers)}.")
    for finding in findings:
        typer.echo(f"  {finding}")
    typer.echo(f"{counted(len(findings), 'warning') if findings else 'No warnings'}.")


def _defaults(use_case: UseCase) -> Iterator[tuple[str, object]]:
    """The fields that are left out, and what features and label leave out that follows from other fields."""
    yield from _left_out(use_case)
    derived = {"features": use_case.features} if "features" in use_case.model_fields_set else {}
    for name, part in {**derived, "label": use_case.label}.items():
        yield from ((f"{name}.{field}", value) for field, value in _left_out(part) if field in DERIVED[name] and value)


def _left_out(declared: Spec) -> Iterator[tuple[str, object]]:
    fields = (field for field in type(declared).model_fields if field not in declared.model_fields_set)
    return ((field, getattr(declared, field)) for field in fields)


def _describe(value: object) -> str:
    """The value as in a declaration, with durations in words."""
    if isinstance(value, Spec):
        fields = ", ".join(f"{name}={_describe(getattr(value, name))}" for name in type(value).model_fields)
        return f"{type(value).__name__}({fields})"
    if isinstance(value, tuple):
        return ", ".join(map(_describe, cast(tuple[Any, ...], value))) or "none"
    return in_words(value) if isinstance(value, timedelta) else repr(value)
