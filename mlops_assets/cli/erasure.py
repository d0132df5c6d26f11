"""`mlops forget`: erase every row of one subject, such as a customer."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer

from mlops_assets.cli.arguments import By, Name, account, declared, environment
from mlops_assets.erasure.forget import Forgotten, Found, Stores, forget_subject, look_for
from mlops_assets.erasure.subject import find_subject
from mlops_assets.foundation.home import Environment
from mlops_assets.serving.log.log_secret import log_secret
from mlops_assets.spec.use_case import UseCase


def forget(
    use_case: Name,
    subject: Annotated[str, typer.Argument(metavar="COLUMN=VALUE", help="An identifying column and its value: customer_id=42.")],
    *,
    because: Annotated[str, typer.Option(help="The reason, for the ledger.")] = "on request",
    by: By = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only.")] = False,
) -> None:
    """Erase every row of one subject from tables, online stores, logs and landed files, and record it in the ledger."""
    declaration, settings = declared(use_case), environment()
    identified = find_subject(declaration, subject, secret=log_secret(settings.home.keys))
    stores = open_stores(settings, declaration)
    if dry_run:
        report = _report(look_for(declaration, identified, stores), "would be erased")
        return typer.echo("\n".join([*report, "Nothing was changed: --dry-run."]))
    done = forget_subject(declaration, identified, stores, why=because, by=by or account(), at=datetime.now(UTC))
    typer.echo("\n".join([*_report(done.found, "erased"), *_outcome(done)]))
    if done.still:
        raise typer.Exit(1)


def open_stores(settings: Environment, use_case: UseCase) -> Stores:
    from mlops_assets.resources import build_resources

    resources = build_resources(settings)
    features = resources["feature_store"].open(use_case.features.service)
    landing, tables = resources["landing"].open(), resources["warehouse"].open()
    return Stores(settings.home, landing, tables, features, resources["registry"].open(), resources["ledger"].open())


def _report(found: Found, effect: str) -> Iterator[str]:
    if not found.rows:
        yield "No row was found anywhere."
        return
    yield f"{sum(found.rows.values())} rows {effect}:"
    width = max(map(len, found.rows))
    yield from (f"  {name:<{width}}  {rows:>7}" for name, rows in found.rows.items())
    if found.trained_on:
        yield f"Trained on them: model version {', '.join(map(str, found.trained_on))}."
    if found.possibly_trained_on:
        versions = ", ".join(map(str, found.possibly_trained_on))
        yield f"Perhaps trained on them: {versions}; their training tables can no longer be read."
    yield from (f"Left: {text}" for text in found.left)


def _outcome(done: Forgotten) -> Iterator[str]:
    if done.record:
        yield f"Ledger record {done.record.number}. Older versions of tables that held the rows can no longer be read."
    yield from (f"  {name}: {rows} rows are left, of a run or an answer that began before." for name, rows in done.still.items())
    if done.still:
        yield "Run the same again once those runs have ended (a write that was interrupted counts as ended after an hour)."
