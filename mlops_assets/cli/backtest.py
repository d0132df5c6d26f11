"""`mlops backtest`: how a use case would have done, replayed over its past."""

import re
import sys
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import typer

from mlops_assets.cli.arguments import Name, declared, environment

FirstDay = Annotated[str, typer.Option("--from", metavar="DAY", help="The first day; the first model is trained at its start.")]
LastDay = Annotated[str, typer.Option("--to", metavar="DAY", help="The last day, included.")]


def backtest(
    use_case: Name,
    *,
    first: FirstDay,
    last: LastDay,
    step_days: Annotated[int, typer.Option(min=1, help="After so many days files land, monitors look and triggers fire.")] = 7,
    training_cost: Annotated[float, typer.Option(min=0, help="What a training costs, in a unit of your choice.")] = 1.0,
    point_cost: Annotated[float, typer.Option(min=0, help="What a step costs in which the metric is a point worse.")] = 1.0,
    report: Annotated[Path | None, typer.Option(help="The page to write; by default backtest-<use case>.html here.")] = None,
    keep: Annotated[
        Path | None, typer.Option(file_okay=False, help="Keep its home in this folder, and go on there where it ended early.")
    ] = None,
) -> None:
    """Replay the past through the real graph and service; compare what would have served with a frozen and a retrained model."""
    from mlops_assets.backtest.report import to_html, verdict_of
    from mlops_assets.backtest.run import Backtest
    from mlops_assets.backtest.schedules import Cost
    from mlops_assets.backtest.settings import Settings

    cost = Cost(training_cost, point_cost)
    settings = Settings(declared(use_case), _day("--from", first), _day("--to", last), timedelta(days=step_days), cost)
    page = report or Path(f"backtest-{use_case}.html")
    with warnings.catch_warnings(), _progress(len(settings.steps)) as show:
        warnings.showwarning = _ignore  # not a filter: libraries set their own when they load
        results = Backtest(settings, environment(creates_home=True), show).run(keep)
    page.write_text(to_html(results))
    verdict = verdict_of(results)
    typer.echo(f"{verdict.title}\n{verdict.text}")
    typer.echo(f"Regret over the best schedule in hindsight: {results.costs.regret:.1f}. The page: {page}")


def _ignore(*_warning: object, **_options: object) -> None:
    pass


def _day(option: str, text: str) -> date:
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return date.fromisoformat(text)
        problem = "legal: a day as YYYY-MM-DD"
    except ValueError as error:
        problem = str(error)
    raise typer.BadParameter(f"{option} · found {text!r}; {problem}. Correct it.")


@contextmanager
def _progress(steps: int) -> Generator[Callable[[str, float], None]]:
    """A bar on a terminal, else a line for each step."""
    if not sys.stderr.isatty():
        yield _Lines(steps).show
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<34}"), BarColumn(), TextColumn("{task.completed:.0f} of {task.total:.0f} steps"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=steps)
        yield lambda text, done: progress.update(task, description=text, completed=done)


class _Lines:
    """Plain progress, where programs read."""

    def __init__(self, steps: int) -> None:
        self.steps, self.shown = steps, -1

    def show(self, text: str, done: float) -> None:
        if int(done) > self.shown or done == 0:
            typer.echo(f"step {int(done) + 1} of {self.steps}: {text}", err=True)
            self.shown = int(done)
