"""`mlops forget`: every row of one person, or of whatever a column identifies, is erased.

Belongs here: arguments and what is said about their effect. Not here: any work (erasure/).
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer

from mlops_assets.cli_arguments import Name, account, declared, environment
from mlops_assets.erasure.forget import Forgotten, Found, forget_subject, look_for
from mlops_assets.erasure.places import Stores
from mlops_assets.erasure.subject import find_subject
from mlops_assets.ports.home import Environment
from mlops_assets.ports.log_secret import log_secret
from mlops_assets.spec.use_case import UseCase


def forget(
    use_case: Name,
    whom: Annotated[str, typer.Argument(metavar="COLUMN=VALUE", help="An identifying column and its value: customer_id=42.")],
    *,
    because: Annotated[str, typer.Option(help="The reason, for the ledger.")] = "on request",
    by: Annotated[str | None, typer.Option(help="Who decides; by default the user who runs the command.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only.")] = False,
) -> None:
    """Erase every row of one subject from tables, online stores, logs and landed files, and record it in the ledger."""
    chosen, asked, at = declared(use_case), environment(), datetime.now(UTC)
    subject = find_subject(chosen, whom, secret=log_secret(asked.home.keys))
    stores = open_stores(asked, chosen)
    if dry_run:
        return _say([*_told(look_for(chosen, subject, stores, at=at), "would be erased"), "Nothing was changed: --dry-run."])
    done = forget_subject(chosen, subject, stores, why=because, by=by or account(), at=at)
    _say([*_told(done.found, "erased"), *_ending(done)])
    if done.still:
        raise typer.Exit(1)


def open_stores(asked: Environment, use_case: UseCase) -> Stores:
    """As the graph opens them."""
    from mlops_assets.resources import TABLES

    opened = TABLES[asked.name]
    landing, tables, registry, ledger = (opened[key](asked) for key in ("landing", "warehouse", "registry", "ledger"))
    features = opened["feature_store"](asked)(use_case.features.service)
    return Stores(asked.home, landing, tables, features, registry, ledger)


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)


def _told(found: Found, effect: str) -> Iterator[str]:
    if not found.rows:
        yield "No row was found anywhere."
        return
    yield f"{sum(found.rows.values())} rows {effect}:"
    width = max(map(len, found.rows))
    yield from (f"  {name:<{width}}  {rows:>7}" for name, rows in found.rows.items())
    if found.trained_on:
        yield f"Trained on them: model version {_listed(found.trained_on)}."
    if found.possibly_trained_on:
        yield f"Perhaps trained on them: {_listed(found.possibly_trained_on)}; their training tables cannot be read any more."
    yield from (f"Left: {each}" for each in found.left)


def _ending(done: Forgotten) -> Iterator[str]:
    if done.record:
        yield f"Ledger record {done.record.number}. Older versions of tables that held the rows cannot be read any more."
    for name, rows in done.still.items():
        yield f"  {name}: {rows} rows came meanwhile, from a run or an answer that had begun before."
    if done.still:
        yield "Run the same again once those runs have ended (a write that was cut short counts as ended after an hour)."


def _listed(versions: list[int]) -> str:
    return ", ".join(map(str, versions))
