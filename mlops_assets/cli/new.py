"""`mlops new`: a use case from a file."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from mlops_assets.cli.arguments import account
from mlops_assets.use_cases import new_use_cases

if TYPE_CHECKING:
    from mlops_assets.inspection.finding import Finding
    from mlops_assets.inspection.new_use_case import NewUseCase
    from mlops_assets.inspection.proposal import Question


def new(
    name: Annotated[str, typer.Argument(help="The name of the new use case, such as churn.")],
    *,
    source: Annotated[str, typer.Option("--from", metavar="FILE_OR_URL", help="A table: CSV, Parquet, JSON lines or Excel.")],
    label: Annotated[str, typer.Option(metavar="COLUMN", help="What is to be predicted.")] = "",
    time: Annotated[str, typer.Option(metavar="COLUMN", help="When a row happens; none: rows have no time.")] = "",
    key: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="What identifies a row; may be repeated.")] = None,
    task: Annotated[str, typer.Option(help="binary, multiclass or regression.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: take what is likeliest.")] = False,
) -> None:
    """Write the declaration of a use case for a table, and its test. Asks only what the data do not show."""
    from mlops_assets.inspection.new_use_case import Target, download, make_use_case, require_free
    from mlops_assets.inspection.proposal import Wishes

    target = Target(*new_use_cases())
    require_free(name, target)
    path = download(source, Path.cwd()) if "://" in source else Path(source)
    made = make_use_case(
        name, path, owner=_owner(), wishes=Wishes(label, time, tuple(key or ()), task), target=target, folder=Path.cwd(),
        today=datetime.now(UTC).date(), ask=None if yes else _ask,
    )  # fmt: skip
    typer.echo(f"{made.rows - made.quarantined:,} of {made.rows:,} rows satisfy the contract. Written:")
    for file in made.files:
        typer.echo(f"  {file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}")
    typer.echo("Assumed:")
    for sentence in made.assumptions:
        typer.echo(f"  - {sentence}.")
    for leak in find_leaks_of(made):
        typer.echo(f"Suspicious: {leak}")
    file = shlex.quote(str(made.file))
    typer.echo(f"Next: mlops check {name} --file {file}, then mlops land {name} {file}")


def find_leaks_of(made: "NewUseCase") -> "Iterator[Finding]":
    """What the gate NoLeak would refuse: a model of it looks perfect, and is wrong once it serves."""
    from mlops_assets.evaluation.read_rows import inspect_tables
    from mlops_assets.inspection.leaks import find_leaks

    use_case = made.use_case
    data = inspect_tables(use_case, {use_case.contracts[0].table: made.accepted}, {}, now=datetime.now(UTC))
    return find_leaks(data)


def _ask(question: "Question", answers: Sequence[str]) -> str:
    """The first is the likeliest."""
    if not sys.stdin.isatty():
        options = ", ".join(answers)
        raise typer.BadParameter(
            f"{question.text}? It may be {options}. Name one with {question.option}, or use --yes for {answers[0]}."
        )
    return typer.prompt(question.text, default=answers[0], type=click.Choice(answers))


def _owner() -> str:
    word = "".join(character if character.isalnum() or character in "_-" else "-" for character in account())
    return f"team:{word}"
