"""`mlops check`: every problem of every declaration, one line each."""

import typer

from mlops_assets.cli.arguments import environment
from mlops_assets.use_cases import NOT_LOADED, USE_CASES


def check() -> None:
    """Find what is illegal in declarations, in their transforms' columns and Feast services; exit code 1 if anything is."""
    from mlops_assets.graph.check import find_problems

    problems = [*NOT_LOADED, *find_problems(USE_CASES, environment(creates_home=True).project / "feature_repo")]
    for problem in problems:
        typer.echo(problem)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{len(USE_CASES)} use cases are legal.")
