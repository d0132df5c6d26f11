"""`mlops`: a thin face over the same functions that the graph uses.

Belongs here: arguments and what is said about their effect. Not here: any work.
"""

import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from mlops_assets import explain_cli, forget_cli, keys_cli, ledger_cli, promotion_cli, signing_cli
from mlops_assets.cli_arguments import Name, declared, environment
from mlops_assets.use_cases import USE_CASES

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.add_typer(keys_cli.app, name="keys")
app.add_typer(ledger_cli.app, name="ledger")
app.add_typer(signing_cli.app, name="signing")
ledger_cli.app.command()(promotion_cli.mirror)
for command in (
    promotion_cli.status, promotion_cli.approve, promotion_cli.route, promotion_cli.rollback,
    explain_cli.why, explain_cli.replay, explain_cli.reproduce, forget_cli.forget,
):  # fmt: skip
    app.command()(command)


@app.callback()
def main() -> None:
    """Data in, models out, and what serves now."""


@app.command()
def land(
    first: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="First day.")],
    last: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="Last day.")],
) -> None:
    """Lay down the files that the airlines delivered on these days of 2013."""
    from mlops_assets.ports.landing import Landing
    from mlops_assets.use_cases.airline import deliveries, package_folder

    landing = Landing(environment().home.landing)
    delivered = [*deliveries(package_folder(), first.date(), last.date())]
    new = sum(landing.put("flight_delay", each.table, day=each.day, rows=each.rows) for each in delivered)
    typer.echo(f"{len(delivered)} files, {new} of them new or changed. The landing sensor takes them from here.")


@app.command()
def features(use_case: Annotated[str | None, typer.Argument(help="Every use case when left out.")] = None) -> None:
    """Which features exist, whose they are, which model reads them, how fresh they are and how distributed."""
    from mlops_assets.feature_catalog import read_catalog
    from mlops_assets.resources import TABLES
    from mlops_assets.stages.catalog_page import as_text

    asked = environment()
    opened = TABLES[asked.name]
    tables, open_store, open_deployment = (opened[key](asked) for key in ("warehouse", "feature_store", "deployment"))
    for each in [declared(use_case)] if use_case else USE_CASES:
        store, deployment = open_store(each.features.service), open_deployment(each.name)
        typer.echo(as_text(read_catalog(each, store=store, tables=tables, deployment=deployment)))


@app.command()
def push(
    use_case: Name,
    table: Annotated[str, typer.Argument(help="The table of the facts, such as outcomes.")],
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="<YYYY-MM-DD>.csv: all of that day so far.")],
    now: Annotated[datetime | None, typer.Option(help="UTC; what is known after this moment is left for later.")] = None,
) -> None:
    """Let fresh facts change the features at once, before their day has landed."""
    from mlops_assets.push import push_file
    from mlops_assets.resources import TABLES

    asked, found = environment(), declared(use_case)
    opened = TABLES[asked.name]
    store, tables = opened["feature_store"](asked)(found.features.service), opened["warehouse"](asked)
    try:
        pushed = push_file(found, table, file, now=(now or datetime.now(UTC)).replace(tzinfo=UTC), store=store, tables=tables)
    except (ValueError, LookupError) as error:
        raise typer.BadParameter(str(error)) from None
    for row in pushed.refused.to_dicts():
        typer.echo(f"  refused · line {row['source_line']}: {row['reasons']}")
    typer.echo(f"{pushed.accepted} facts · entities changed online: {pushed.entities or 'none'}")


@app.command()
def up() -> None:
    """Web UI, daemon, prediction service and MLflow, until Ctrl-C."""
    from mlops_assets.platform import running_platform

    typer.echo("Starting web UI, daemon, prediction service and MLflow …")
    with _told_plainly(), running_platform(environment(), everything=True) as addresses:
        for name, url in addresses.items():
            typer.echo(f"  {name:<10} {url}")
        typer.echo("Ctrl-C ends them all.")
        _until_interrupted()


@app.command()
def demo() -> None:
    """Raw flights become a model that answers, drifts, is trained again and replaced."""
    from mlops_assets.demo.stage import run_demo

    with _told_plainly():
        run_demo(environment(), declared("flight_delay"), say=typer.echo)


@contextmanager
def _told_plainly() -> Generator[None]:
    """Errors with a remedy reach people as one message, without a traceback."""
    from mlops_assets.demo.watching import StillWaiting
    from mlops_assets.platform import AlreadyRunning
    from mlops_assets.ports.processes import NotStarted

    try:
        yield
    except (AlreadyRunning, NotStarted, StillWaiting) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("Ended.", err=True)
        raise typer.Exit(130) from None


def _until_interrupted() -> None:
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        typer.echo("Ending.")
