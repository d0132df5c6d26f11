"""`mlops pause, resume`: mute what runs by itself for one use case, with an end and on record."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from mlops_assets.cli.arguments import By, Name, declared, open_resources, printable

Why = Annotated[str, typer.Option(help="The reason, for the ledger.", callback=printable)]


def pause(
    use_case: Name,
    *,
    until: Annotated[str, typer.Option(help="When it ends by itself, such as 2026-12-01T06:00, in UTC.")],
    why: Why,
    by: By,
) -> None:
    """Let nothing run by itself for a use case until then: no cascade, training or rollout step.

    Files are still reported, servers serve, rollouts are still rolled back, and commands work. What was missed follows then.
    """
    from mlops_assets.promotion import pauses

    declared(use_case)
    now, ledger = datetime.now(UTC), open_resources()["ledger"].open()
    typer.echo(f"{use_case}: {pauses.pause(use_case, until=pauses.parse_until(until), why=why, by=by, at=now, ledger=ledger)}")


def resume(use_case: Name, *, why: Why, by: By) -> None:
    """End a pause now; what was missed follows by itself."""
    from mlops_assets.promotion import pauses

    declared(use_case)
    ledger = open_resources()["ledger"].open()
    pauses.resume(use_case, why=why, by=by, at=datetime.now(UTC), ledger=ledger)
    typer.echo(f"{use_case}: {pauses.ENDED}")
