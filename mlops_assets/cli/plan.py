"""`mlops plan`: what would run now or next, why, and about what it costs."""

import json
from dataclasses import asdict
from datetime import UTC, datetime

import typer

from mlops_assets.cli.arguments import Json, Name, declared, environment, open_resources
from mlops_assets.foundation.terminal import one_line, show, table


def plan(use_case: Name, *, as_json: Json = False) -> None:
    """Show what would run by itself now or next and why, what holds it up, and about what it costs. Starts nothing."""
    from mlops_assets.graph.plan import read_plan

    open_resources()["ledger"].open().require_if_trained()
    planned = read_plan(declared(use_case), environment(), now=datetime.now(UTC))
    if as_json:
        return typer.echo(json.dumps(asdict(planned), indent=1, ensure_ascii=False, default=str))
    for line in filter(None, [planned.held_up, planned.running and f"in progress: run {planned.running}"]):
        typer.echo(line)
    for line in planned.unread:
        typer.echo(f"data: {line}")
    if planned.tables:
        show(table(("table", "partitions", "why"), ((one.table, one.partitions, one.why) for one in planned.tables)))
        typer.echo(f"tables: {planned.tables_cost}")
    else:
        typer.echo("tables: every one is up to date, waits for a parent, or is being made")
    if planned.triggers:
        show(table(("trigger", "outlook"), planned.triggers.items()))
    due = f"due now: {planned.training}" if planned.training else planned.waiting or "none is due now"
    typer.echo(f"training: {one_line(due)}")
    typer.echo(f"training: {planned.training_cost}")
