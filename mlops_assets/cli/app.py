"""The `mlops` command: arguments and what is printed. The work is in the packages that the commands import."""

import shlex
import signal
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from mlops_assets.cli import erasure, keys, ledger, promotion, provenance, trial
from mlops_assets.cli.alerts import alerts
from mlops_assets.cli.arguments import By, Commands, Name, declared, environment, features_to_read, open_resources
from mlops_assets.cli.backtest import backtest
from mlops_assets.cli.check import check
from mlops_assets.cli.land import land
from mlops_assets.cli.new import new
from mlops_assets.cli.observability import observability
from mlops_assets.cli.pause import pause, resume
from mlops_assets.cli.plan import plan
from mlops_assets.cli.predict import predict
from mlops_assets.cli.run import run
from mlops_assets.cli.status import status, status_pages
from mlops_assets.cli.train import train
from mlops_assets.cli.transfer import export, import_
from mlops_assets.foundation.home_lock import reading, reserved_home
from mlops_assets.foundation.interrupt import interrupted_at_once
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases import USE_CASES

# Click suggests commands by itself.
app = typer.Typer(
    cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, suggest_commands=False
)


@app.callback()
def main(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    """Run and operate the platform: data, features, models and the prediction service."""


def features(use_case: Annotated[str | None, typer.Argument(help="Every use case when left out.")] = None) -> None:
    """List every feature with its owner, readers, freshness and recent distribution."""
    for declaration in [declared(use_case)] if use_case else USE_CASES:
        _show_features(declaration)


def _show_features(use_case: UseCase) -> None:
    from mlops_assets.features.catalogue import read_catalog
    from mlops_assets.foundation.page import number
    from mlops_assets.foundation.terminal import show, table

    resources, statistics = open_resources(), ("missing", "min", "median", "mean", "max", "distinct")
    if not use_case.features.views:
        return show(f"{use_case.name}: no feature views; everything that the model reads is in the request.", "")
    heads = ("view", "feature", "type", "used by", *statistics)
    champion = resources["deployment"].open(use_case.name).champion()
    with features_to_read(resources["feature_store"], use_case.features.service) as store:
        catalog = read_catalog(use_case, store=store, tables=resources["warehouse"].open(), champion=champion)
    views = table(("view", "owner", "entities", "expiry", "newest row"), ((view.name, *view.facts) for view in catalog.views))
    rows = [
        (row["view"], row["name"], row["type"], row["used_by"] or "no model",
         number(row["missing"], ".1%"), *(number(row[name]) for name in statistics[1:]))
        for row in catalog.rows()
    ]  # fmt: skip
    show(f"{use_case.name}: {catalog.summary}", "", views, "", table(heads, rows, numbers=statistics), "")


def push(
    use_case: Name,
    table: Annotated[str, typer.Argument(help="The table, such as outcomes.")],
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="Named like a landed file, such as <YYYY-MM-DD>.csv: all its rows so far."
        ),
    ],
    now: Annotated[datetime | None, typer.Option(help="UTC; later rows are ignored. By default the current time.")] = None,
) -> None:
    """Update the online features from new rows, before their file has landed."""
    from mlops_assets.features.push import push_file

    declaration, resources, until = declared(use_case), open_resources(), now or datetime.now(UTC)
    store, tables = resources["feature_store"].open(declaration.features.service), resources["warehouse"].open()
    with reading(environment().home.root):  # an erasure waits for it
        pushed = push_file(declaration, table, file, now=until.replace(tzinfo=UTC), store=store, tables=tables)
    for row in pushed.refused.to_dicts():
        typer.echo(f"  refused · line {row['source_line']}: {row['reasons']}")
    typer.echo(f"{pushed.accepted} rows accepted · entities changed online: {pushed.entities or 'none'}")


def waive(
    use_case: Name,
    table: Annotated[str, typer.Argument(help="The table, such as outcomes.")],
    partition: Annotated[str, typer.Argument(help="The day, hour, week, month or snapshot, as `mlops status` shows it.")],
    *,
    why: Annotated[str, typer.Option(help="The reason, for the ledger.")],
    by: By,
) -> None:
    """Use a landed file although its checks fail, or go on without one that does not come, until it is delivered."""
    from mlops_assets.ingestion.refusals import Waiver
    from mlops_assets.promotion.waivers import IllegalWaiver, waive

    declaration, resources, at = declared(use_case), open_resources(), datetime.now(UTC)
    landing, ledger, waiver = resources["landing"].open(), resources["ledger"].open(), Waiver(why, by, at.isoformat())
    try:
        typer.echo(waive(declaration, table, partition, waiver, landing=landing, ledger=ledger, at=at))
    except IllegalWaiver as error:
        raise typer.BadParameter(str(error)) from None


def migrate(
    use_case: Name, *, apply: Annotated[bool, typer.Option("--apply", help="Do it. Without this, only print it.")] = False
) -> None:
    """Convert stored tables to the declared names and types of their columns; exit code 1 if that would lose a value."""
    from mlops_assets.features.migration import apply_changes, find_changes, require_lossless

    with reserved_home(environment().home.root) if apply else nullcontext():
        tables = open_resources()["warehouse"].open()
        changes = find_changes(declared(use_case), tables)
        for change in changes:
            typer.echo(f"  {change}")
        if apply:
            apply_changes(changes, tables)
            _let_follow(use_case)
        if not changes:
            return typer.echo("Every stored table has the declared columns.")
        if apply:
            return typer.echo(f"{len(changes)} columns were converted. What waits for them is made once a platform runs.")
        require_lossless(changes)
    typer.echo(f"{len(changes)} columns would be converted. Nothing was changed: repeat with --apply, while no platform runs.")


def _let_follow(use_case: str) -> None:
    """What failed as a table was not migrated is tried again, also after a migration that was killed after its last table."""
    from mlops_assets.graph.history import readable_event_log
    from mlops_assets.graph.kernel.dagster_runs import record_correction

    with readable_event_log(environment().home) as (instance, problems):
        for problem in problems:
            typer.echo(f"{use_case}: {problem}. Materialize again what has failed there.", err=True)
        if instance:
            record_correction(instance, use_case)


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the project, new or with other files.")],
    package: Annotated[str | None, typer.Option(help="The name of its Python package; by default that of the folder.")] = None,
) -> None:
    """Write a small project with a use case of its own, which depends on this package as it is installed."""
    from mlops_assets.local.new_project import write_project

    for path in write_project(folder, package):
        typer.echo(f"  {path.relative_to(folder.resolve())}")
    typer.echo(f"A project of its own in {folder}: its README has the next commands.")


def up() -> None:
    """Run web UI, daemon, prediction service, MLflow and Evidently until Ctrl-C."""
    with interrupted_at_once():
        _run_platform()


def _run_platform() -> None:
    from mlops_assets.local.damage import find_unservable
    from mlops_assets.local.platform import running_platform
    from mlops_assets.local.web_page import served_page

    settings, warn = environment(creates_home=True), partial(typer.echo, err=True)
    typer.echo("Starting web UI, daemon, prediction service, MLflow and Evidently …")
    with (
        running_platform(settings, everything=True, on_restart=warn) as addresses,
        served_page(addresses["status"], *status_pages(settings, addresses)),
    ):
        for name, url in addresses.items():
            typer.echo(f"  {name:<10} {url}")
        for line in find_unservable(settings):
            warn(line)
        if (port := urlsplit(settings.service_url).port) not in (None, urlsplit(addresses["service"]).port):
            urls = settings.with_service_url(addresses["service"])
            reason = f"Another program uses port {port}" if port else "Port 0 is any free one"
            warn(f"{reason}. For other commands set MLOPS_SERVICE_URL={shlex.quote(urls)}.")
        try:
            typer.echo("Press Ctrl-C to stop them all.")
            while True:
                signal.pause()
        except KeyboardInterrupt:
            typer.echo("Stopping …")


def demo() -> None:
    """Run the whole loop on real flights: train, serve, drift, train again, replace."""
    with interrupted_at_once():
        from mlops_assets.local.demo.story import run_demo

        run_demo(environment(creates_home=True))


PANELS = {
    "Run": (up, run, demo, plan, pause, resume, alerts, observability),
    "Your own model": (init, new, check, trial.try_, train, predict, backtest),
    "Data and features": (land, push, waive, features, migrate),
    "Promotion": (status, promotion.approve, promotion.promote, promotion.route, promotion.rollback, export, import_),
    "Provenance and erasure": (provenance.why, provenance.replay, provenance.reproduce, erasure.forget),
}
for _panel, _commands in PANELS.items():
    for _command in _commands:
        app.command(_command.__name__.rstrip("_"), rich_help_panel=_panel)(_command)  # try and import are keywords
for _name, _group in {"ledger": ledger.app, "keys": keys.app, "signing": keys.signing}.items():
    app.add_typer(_group, name=_name, rich_help_panel="Administration")
