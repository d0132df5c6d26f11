"""`mlops plan`: what would run now or next, why, and about what it costs."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli.arguments import Json, declared, environment, open_resources, selected
from mlops_assets.foundation.terminal import one_line, show, table

if TYPE_CHECKING:
    from mlops_assets.graph.plan import Plan


def plan(
    use_case: Annotated[str | None, typer.Argument(help="The use case; without one, all.")] = None, *, as_json: Json = False
) -> None:
    """Show what would run by itself now or next and why, what holds it up, and about what it costs. Starts nothing."""
    from mlops_assets.graph.plan import read_plan

    open_resources()["ledger"].open().require_if_trained()
    now, use_cases = datetime.now(UTC), [declared(name) for name in ([use_case] if use_case else selected())]
    plans = [read_plan(one, environment(), now=now) for one in use_cases]
    if as_json:
        content = [asdict(one) for one in plans]
        return typer.echo(json.dumps(content[0] if use_case else content, indent=1, ensure_ascii=False, default=str))
    for planned in plans:
        if len(plans) > 1:
            typer.echo(f"{planned.use_case}:")
        _show(planned)


def _show(planned: "Plan") -> None:
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
