"""`mlops`: a thin face over the same functions that the graph uses.

Belongs here: arguments and what is said about their effect. Not here: any work.
"""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from mlops_assets import keys_cli, names
from mlops_assets.ports.deployment import IllegalRoute, Split, UnknownVersion
from mlops_assets.ports.home import Environment, read_environment
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases import USE_CASES

PROJECT = Path(__file__).resolve().parent.parent
app = typer.Typer(no_args_is_help=True, add_completion=False)
app.add_typer(keys_cli.app, name="keys")
Name = Annotated[str, typer.Argument(help="The use case, such as flight_delay.")]


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

    landing = Landing(_environment().home.landing)
    delivered = [*deliveries(package_folder(), first.date(), last.date())]
    new = sum(landing.put("flight_delay", each.table, day=each.day, rows=each.rows) for each in delivered)
    typer.echo(f"{len(delivered)} files, {new} of them new or changed. The landing sensor takes them from here.")


@app.command()
def status(use_case: Name = "flight_delay") -> None:
    """What is serving, why, and what came before."""
    from mlops_assets.ports.deployment import Deployment
    from mlops_assets.ports.live_service import LiveService

    environment = _environment()
    deployment = Deployment(environment.home.deployments, _use_case(use_case).name)
    live = LiveService(environment.service_url, environment.api_key).plan()
    answers = f"version {live['champion']} answers" if live else "nobody answers"
    typer.echo(f"live: {answers} at {environment.service_url}{'' if live else ' (MLOPS_SERVICE_URL names another place)'}")
    for plan in reversed(deployment.history()):
        since = datetime.fromisoformat(plan.at).strftime("%Y-%m-%d %H:%M:%S UTC")
        beside = f" ({plan.rollout})" if plan.rollout else ""
        typer.echo(f"  plan {plan.number}: version {plan.champion}{beside} since {since} · {plan.reason}")


@app.command()
def features(use_case: Annotated[str | None, typer.Argument(help="Every use case when left out.")] = None) -> None:
    """Which features exist, whose they are, which model reads them, how fresh they are and how distributed."""
    from mlops_assets.feature_catalog import read_catalog
    from mlops_assets.resources import TABLES
    from mlops_assets.stages.catalog_page import as_text

    environment = _environment()
    opened = TABLES[environment.name]
    tables, open_store, open_deployment = (opened[key](environment) for key in ("warehouse", "feature_store", "deployment"))
    for declared in [_use_case(use_case)] if use_case else USE_CASES:
        store, deployment = open_store(declared.features.service), open_deployment(declared.name)
        typer.echo(as_text(read_catalog(declared, store=store, tables=tables, deployment=deployment)))


@app.command()
def rollback(use_case: Name, reason: Annotated[str, typer.Option(help="Why, for those who ask later.")] = "by hand") -> None:
    """Let the previous champion answer again; its blessing is verified first."""
    from mlops_assets.rollback import NothingBefore, roll_back

    environment = _environment()
    try:
        plan = roll_back(environment.home, _use_case(use_case).name, at=datetime.now(UTC), reason=reason)
    except NothingBefore as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(f"{use_case}: version {plan.champion} answers again (was {plan.previous}).")


@app.command()
def route(
    use_case: Name,
    *,
    challenger: Annotated[int | None, typer.Option(help="The version that answers a share of the requests.")] = None,
    share: Annotated[float, typer.Option(help="That share, from 0 to 1.")] = 0.0,
    split: Annotated[Split, typer.Option(help="canary: by prediction; ab: by the declared sticky key.")] = "canary",
    shadow: Annotated[int | None, typer.Option(help="A version that scores every request and answers none.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for those who ask later.")] = "by hand",
) -> None:
    """Let other versions run beside the champion, their blessings verified first; without options only the champion answers."""
    from mlops_assets.rollout import roll_out
    from mlops_assets.stages.bless import UnblessedModel

    home, declared, at = _environment().home, _use_case(use_case), datetime.now(UTC)
    try:
        plan = roll_out(home, declared.name, challenger=challenger, share=share, split=split, shadow=shadow, at=at, reason=reason)
    except (IllegalRoute, UnknownVersion, UnblessedModel) as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(f"{use_case}: version {plan.champion} answers; {plan.rollout or 'nothing runs beside it'} (plan {plan.number}).")


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

    environment, declared = _environment(), _use_case(use_case)
    opened = TABLES[environment.name]
    store, tables = opened["feature_store"](environment)(declared.features.service), opened["warehouse"](environment)
    try:
        pushed = push_file(declared, table, file, now=(now or datetime.now(UTC)).replace(tzinfo=UTC), store=store, tables=tables)
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
    with _told_plainly(), running_platform(_environment(), everything=True) as addresses:
        for name, url in addresses.items():
            typer.echo(f"  {name:<10} {url}")
        typer.echo("Ctrl-C ends them all.")
        _until_interrupted()


@app.command()
def demo() -> None:
    """Raw flights become a model that answers, drifts, is trained again and replaced."""
    from mlops_assets.demo.stage import run_demo

    with _told_plainly():
        run_demo(_environment(), _use_case("flight_delay"), say=typer.echo)


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


def _environment() -> Environment:
    return read_environment(os.environ, PROJECT)


def _use_case(name: str) -> UseCase:
    found = [use_case for use_case in USE_CASES if use_case.name == name]
    if not found:
        legal = ", ".join(names.registered_model(use_case.name) for use_case in USE_CASES)
        raise typer.BadParameter(f"use case {name!r} is not declared; declared: {legal}. Use one of these.")
    return found[0]
