"""`mlops check`: every problem of every declaration, one line each, or the defaults that apply."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import typer

from mlops_assets.foundation.durations import in_words
from mlops_assets.spec.spec import Spec
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases import NOT_LOADED, USE_CASES

DERIVED = {"features": ("service", "request_table", "request", "numeric", "categorical"), "label": ("table", "key")}


def check() -> None:
    """Find what is illegal in declarations and in their transforms' columns; exit code 1 if anything is. List the defaults of
    what a legal declaration leaves out.
    """
    from mlops_assets.graph.check import find_problems

    problems = [*NOT_LOADED, *find_problems(USE_CASES)]
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    for use_case in USE_CASES:
        typer.echo(f"{use_case.name} is legal. Defaults of what it leaves out:")
        for field, value in _defaults(use_case):
            typer.echo(f"  {field}: {_describe(value)}")


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
