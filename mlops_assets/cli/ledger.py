"""`mlops ledger`: shows the record of everything that changed what serves, and verifies it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import RenderableType

from mlops_assets.cli.arguments import Json, Name, environment
from mlops_assets.foundation.terminal import moment, table
from mlops_assets.foundation.terminal import show as show_parts
from mlops_assets.promotion.deployment import Deployment, UnreadablePlan
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.ledger_chain import Record
from mlops_assets.use_cases import USE_CASES

app = typer.Typer(no_args_is_help=True, help="Read and verify the append-only record of every change to what serves.")


@app.command()
def show(
    use_case: Name,
    last: Annotated[int, typer.Option(min=1, help="How many records, from the newest back.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the newest records, oldest first, one per line."""
    ledger = Ledger(environment().ledger_url)
    records = ledger.records(use_case)[-last:]
    if not records:
        _refuse(use_case, ledger.use_cases())
    if as_json:
        typer.echo("\n".join(json.dumps(asdict(record), ensure_ascii=False) for record in records))
    else:
        show_parts(records_table(records))


@app.command()
def verify(use_case: Annotated[str | None, typer.Argument(help="Every use case when left out.")] = None) -> None:
    """Check for edits, gaps, forks and lost newest records; exit code 1 where there is one."""
    ledger = Ledger(environment().ledger_url)
    known = sorted({*ledger.use_cases(), *(use_case.name for use_case in USE_CASES)})
    if use_case and use_case not in known:
        _refuse(use_case, known)
    faults = {name: _faults(ledger, name) for name in ([use_case] if use_case else known)}
    for name, lines in faults.items():
        typer.echo("\n".join(lines) or f"{name} · intact: {len(ledger.records(name))} records.")
    if any(faults.values()):
        typer.echo("Compare the ledger with its newest backup, and ask who can write to the database.", err=True)
        raise typer.Exit(1)


def records_table(records: Sequence[Record], title: str = "") -> RenderableType:
    """One line per record: number, moment, kind, version, author, reason."""
    reasons = [record.body.get("reason") or record.body.get("why", "") for record in records]
    rows = [
        (record.number, moment(record.at), record.kind, record.body.get("version", ""), record.by, reason)
        for record, reason in zip(records, reasons, strict=True)
    ]
    return table(("record", "at", "kind", "version", "by", "reason"), rows, title=title, numbers=("record", "version"))


def _faults(ledger: Ledger, name: str) -> list[str]:
    # The servers' plan names the newest record that changed it, which shows when newest records were cut off.
    try:
        plan = Deployment(environment().home.deployments, name).plan()
    except UnreadablePlan as error:
        return [*ledger.verify(name), f"{name} · {error}"]
    return ledger.verify(name, mirrored=(plan.number, plan.record) if plan and plan.record else None)


def _refuse(use_case: str, known: list[str]) -> None:
    remedy = "Use one of these." if known else "The first blessing or refusal writes one."
    typer.echo(f"{use_case} · the ledger has no record of it; known: {', '.join(known) or 'none'}. {remedy}", err=True)
    raise typer.Exit(1)
