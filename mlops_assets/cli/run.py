"""`mlops run`: use cases from landed files to served champions, on a platform that it starts where none runs."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from mlops_assets.cli.arguments import account, declared, environment, selected
from mlops_assets.foundation.home import Environment
from mlops_assets.foundation.interrupt import interrupted_at_once
from mlops_assets.foundation.wording import counted
from mlops_assets.spec.pulled_source import PulledSource
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases import NOT_LOADED


def run(
    use_case: Annotated[str, typer.Argument(help="The name of the use case.")] = "",
    *,
    every: Annotated[bool, typer.Option("--all", help="Run every use case that loads.")] = False,
) -> None:
    """Materialize a use case until a model serves. Where nothing has landed, its example files are landed first.

    Exit code 0: it serves, or waits for an approval; 3: refused by its gates; 1: something else stopped it, also where others
    are refused.
    """
    if bool(use_case) == every:
        raise typer.BadParameter("found a name with --all, or neither; legal: the name of a use case, or --all. Use one of them.")
    for problem in NOT_LOADED:
        typer.echo(f"not loaded: {problem}", err=True)
    began = time.monotonic()
    with interrupted_at_once():
        codes = _run([declared(name) for name in (selected() if every else [use_case])])
    typer.echo(f"Took {time.monotonic() - began:.0f} s.")
    raise typer.Exit(exit_code_of(codes))


def exit_code_of(codes: Sequence[int]) -> int:
    """Of a command over several use cases: what could not be done goes before what was refused."""
    return next((code for code in (1, 3) if code in codes), 0)


def _run(use_cases: Sequence[UseCase]) -> list[int]:
    """The exit code of each."""
    from mlops_assets.graph.first_champion import await_champions
    from mlops_assets.local.platform import any_platform

    began, settings, width = time.time(), environment(creates_home=True), max(len(use_case.name) for use_case in use_cases)

    def report(name: str, line: str) -> None:
        typer.echo(f"{name:<{width}}{line}" if name else line)

    ready = [use_case for use_case in use_cases if _land_first(use_case, settings)]
    codes = [1] * (len(use_cases) - len(ready))
    if not ready:
        return codes
    typer.echo("Starting daemon and prediction service, or using those that run …")
    wanted = replace(settings, use_cases=tuple(use_case.name for use_case in ready))
    with any_platform(wanted) as (running, is_ours):
        outcomes = await_champions(ready, running, report=report, began=began, by=account(), is_new=is_ours, pause=time.sleep)
    if is_ours:
        typer.echo("The platform has stopped again, so nothing serves now. `mlops up` runs it, with its web pages, until Ctrl-C.")
    return codes + [outcome.exit_code for outcome in outcomes]


def _land_first(use_case: UseCase, settings: Environment) -> bool:
    """Whether there is anything to read: what has landed, example files, or a source that is read. Entries that no table reads
    are named; no examples land next to them.
    """
    from mlops_assets.graph.landing import has_landed, read_misplaced
    from mlops_assets.ingestion.examples import example_days, land_example
    from mlops_assets.ingestion.landing import Landing

    name, misplaced = use_case.name, [*read_misplaced(use_case, settings.home.landing)]
    for one in misplaced:
        typer.echo(f"{name}: {one.sentence}.", err=True)
    if has_landed(use_case, settings.home.landing) or any(isinstance(one, PulledSource) for one in use_case.sources):
        return True
    if misplaced:
        return False
    if not use_case.example:
        problem = f"nothing has landed, and it declares no example. Put files into landing/{name}/TABLE/ of {settings.home.root}"
        typer.echo(f"{name}: {problem}, or `mlops land {name} FILE`.", err=True)
        return False
    first, last = example_days(use_case)
    landed = land_example(use_case, Landing(settings.home.landing), first, last)
    verb = "lands" if landed.files == 1 else "land"
    typer.echo(f"{name}: nothing had landed; {counted(landed.files, 'example file')} {verb}.")
    return True
