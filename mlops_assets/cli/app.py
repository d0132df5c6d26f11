"""The `mlops` command: arguments and what is printed. The work is in the packages that each command imports."""

import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from mlops_assets.cli import erasure as forget_cli
from mlops_assets.cli import keys as keys_cli
from mlops_assets.cli import ledger as ledger_cli
from mlops_assets.cli import promotion as promotion_cli
from mlops_assets.cli import provenance as explain_cli
from mlops_assets.cli import signing as signing_cli
from mlops_assets.cli.arguments import Commands, Name, declared, environment
from mlops_assets.use_cases import USE_CASES

app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
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
def main(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False) -> None:
    """Run and operate the platform: data, features, models and the prediction service."""


@app.command()
def land(
    first: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="First day.")],
    last: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="Last day.")],
) -> None:
    """Deliver the airlines' files of these days of 2013 to the landing folder."""
    from mlops_assets.ingestion.landing import Landing
    from mlops_assets.use_cases.flight_delay.airline import deliveries, package_folder

    landing = Landing(environment().home.landing)
    delivered = [*deliveries(package_folder(), first.date(), last.date())]
    new = sum(landing.put("flight_delay", each.table, day=each.day, rows=each.rows) for each in delivered)
    typer.echo(f"{len(delivered)} files, {new} of them new or changed. The landing sensor picks them up.")


@app.command()
def features(use_case: Annotated[str | None, typer.Argument(help="Every use case when left out.")] = None) -> None:
    """Every feature with its owner, readers, freshness and recent distribution."""
    from mlops_assets.features.catalogue import read_catalog
    from mlops_assets.foundation.page import number
    from mlops_assets.foundation.terminal import show, table
    from mlops_assets.resources import build_resources

    resources = build_resources(environment())
    tables, open_store, open_deployment = (
        resources["warehouse"].open(), resources["feature_store"].open, resources["deployment"].open
    )  # fmt: skip
    numbers = ("missing", "min", "median", "mean", "max", "distinct")
    for each in [declared(use_case)] if use_case else USE_CASES:
        store, deployment = open_store(each.features.service), open_deployment(each.name)
        catalog = read_catalog(each, store=store, tables=tables, champion=deployment.champion())
        views = table(("view", "owner", "entities", "expiry", "newest row"), ((view.name, *view.facts) for view in catalog.views))
        rows = (
            (
                *(row["view"], row["name"], row["type"], row["used_by"] or "no model"),
                *(number(row["missing"], ".1%"), *(number(row[name]) for name in numbers[1:])),
            )
            for row in catalog.rows()
        )
        heads = ("view", "feature", "type", "used by", *numbers)
        show(f"{each.name}: {catalog.summary}", "", views, "", table(heads, rows, numbers=numbers))


@app.command()
def push(
    use_case: Name,
    table: Annotated[str, typer.Argument(help="The table, such as outcomes.")],
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="<YYYY-MM-DD>.csv: all rows of that day so far.")],
    now: Annotated[datetime | None, typer.Option(help="UTC; later rows are ignored.")] = None,
) -> None:
    """Update the online features from new rows, before their day's file has landed."""
    from mlops_assets.features.push import push_file
    from mlops_assets.resources import build_resources

    resources, declaration = build_resources(environment()), declared(use_case)
    store, tables = resources["feature_store"].open(declaration.features.service), resources["warehouse"].open()
    pushed = push_file(declaration, table, file, now=(now or datetime.now(UTC)).replace(tzinfo=UTC), store=store, tables=tables)
    for row in pushed.refused.to_dicts():
        typer.echo(f"  refused · line {row['source_line']}: {row['reasons']}")
    typer.echo(f"{pushed.accepted} rows accepted · entities changed online: {pushed.entities or 'none'}")


@app.command()
def up() -> None:
    """Run web UI, daemon, prediction service and MLflow until Ctrl-C."""
    from mlops_assets.local.platform import running_platform

    typer.echo("Starting web UI, daemon, prediction service and MLflow …")
    with running_platform(environment(), everything=True) as addresses:
        for name, url in addresses.items():
            typer.echo(f"  {name:<10} {url}")
        typer.echo("Press Ctrl-C to end them all.")
        try:
            while True:
                signal.pause()
        except KeyboardInterrupt:
            typer.echo("Ending …")


@app.command()
def demo() -> None:
    """Play the whole loop on real flights: train, serve, drift, train again, replace."""
    from mlops_assets.local.demo.stage import run_demo

    run_demo(environment(), declared("flight_delay"), say=typer.echo)
