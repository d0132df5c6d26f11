"""`mlops forget`: erase every row of one subject, such as a customer."""

from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli.arguments import By, Name, declared, environment, features_to_read, open_resources
from mlops_assets.foundation.home import Home
from mlops_assets.foundation.wording import some
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.erasure.stores import Stores


WAITING = "Waiting for runs and answers that began before, which may write rows again."
AGAIN = (
    "Run the same again once those runs have ended, and no client sends requests about the subject "
    "(a write that was interrupted counts as ended after an hour)."
)


def forget(
    use_case: Name,
    subject: Annotated[str, typer.Argument(metavar="COLUMN=VALUE", help="An identifying column and its value: customer_id=42.")],
    *,
    because: Annotated[str, typer.Option(help="The reason, for the ledger.")] = "on request",
    by: By,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait at most for runs and answers that began before.")] = 600,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only.")] = False,
) -> None:
    """Erase every row of one subject from tables, online stores, logs and landed files, and record it in the ledger."""
    from mlops_assets.erasure.forget import forget_subject, look_for
    from mlops_assets.erasure.subject import find_subject
    from mlops_assets.serving.log.keyed_hash import known_secret

    declaration, home = declared(use_case), environment().home
    identified = find_subject(declaration, subject, secret=known_secret(home.keys))
    waits = lru_cache(partial(typer.echo, WAITING, err=True))  # once
    done = None
    with _open_stores(declaration, home, dry_run=dry_run) as stores:
        if not dry_run:
            done = forget_subject(
                declaration, identified, stores,
                why=because, by=by, at=datetime.now(UTC), patience_s=wait, on_wait=waits,
            )  # fmt: skip
        found = done.found if done else look_for(declaration, identified, stores)
    if not (found.rows or (done and (done.still or not done.is_final))):
        for text in ("No row was found anywhere.", *(f"Left: {text}" for text in found.left)):
            typer.echo(text)
        return None
    typer.echo(f"{sum(found.rows.values())} rows {'erased' if done else 'would be erased'}:")
    for name, rows in found.rows.items():
        typer.echo(f"  {name:<{max(map(len, found.rows))}}  {rows:>7}")
    if found.trained_on:
        typer.echo(f"Trained on them: model version {some(found.trained_on)}.")
    if found.possibly_trained_on:
        typer.echo(f"Perhaps trained on them: {some(found.possibly_trained_on)}; their training tables can no longer be read.")
    for text in found.left:
        typer.echo(f"Left: {text}")
    if done is None:
        return typer.echo("Nothing was changed: --dry-run.")
    if done.record:
        typer.echo(f"Ledger record {done.record.number}. Older versions of tables that held the rows can no longer be read.")
    for name, rows in done.still.items():
        typer.echo(f"  {name}: {rows} rows are left, of a run that began before or a request that came since.")
    if not done.is_final:
        typer.echo(f"After {wait:g} s, a run or an answer that began before may not have ended. It may write rows again.")
    if done.still or not done.is_final:
        typer.echo(AGAIN)
        raise typer.Exit(1)


@contextmanager
def _open_stores(use_case: UseCase, home: Home, *, dry_run: bool) -> "Generator[Stores]":
    from mlops_assets.erasure.stores import Stores

    resources, service = open_resources(), use_case.features.service
    features = resources["feature_store"]
    with features_to_read(features, service) if dry_run else nullcontext(features.open(service)) as opened:
        yield Stores(home, opened, resources["registry"].open(), resources["ledger"].open())
