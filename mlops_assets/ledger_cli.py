"""`mlops ledger`: the record of every change to what serves, and its check.

Belongs here: arguments, and how a record is shown wherever `mlops` shows one. Not here: the ledger (ports/ledger.py), and
`mlops ledger mirror` (promotion_cli.py).
"""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from mlops_assets.cli_arguments import Name, environment
from mlops_assets.ports.deployment import Deployment, UnreadablePlan
from mlops_assets.ports.ledger import Ledger
from mlops_assets.ports.ledger_chain import Record
from mlops_assets.use_cases import USE_CASES

app = typer.Typer(no_args_is_help=True, help="Read and check the append-only record of every change to what serves.")


@app.command()
def show(
    use_case: Name,
    last: Annotated[int, typer.Option(min=1, help="How many records, from the newest back.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Whole records for programs, one JSON object a line.")] = False,
) -> None:
    """Show the newest records, oldest first, one per line."""
    ledger = Ledger(environment().ledger_url)
    records = ledger.records(use_case)
    if not records:
        _refuse(use_case, ledger.use_cases())
    for record in records[-last:]:
        typer.echo(json.dumps(asdict(record), ensure_ascii=False) if as_json else line_of(record))


@app.command()
def verify(use_case: Annotated[str | None, typer.Argument(help="Every use case when left out.")] = None) -> None:
    """Check for edits, gaps, forks and lost newest records; exit code 1 where there is one."""
    ledger = Ledger(environment().ledger_url)
    known = sorted({*ledger.use_cases(), *(each.name for each in USE_CASES)})
    if use_case and use_case not in known:
        _refuse(use_case, known)
    # A list, not a generator: every use case is reported, also after the first broken one.
    if not all([_report_problems(ledger, name) for name in ([use_case] if use_case else known)]):
        typer.echo("Compare the ledger with its newest backup, and ask who can write to the database.", err=True)
        raise typer.Exit(1)


def line_of(record: Record) -> str:
    """A record as people read it: number, when, what, by whom, and why where that is said."""
    version, why = record.body.get("version"), record.body.get("reason") or record.body.get("why")
    about = "" if version is None else f" version {version}"
    said = f" · {one_line(why)}" if why else ""
    return f"{record.number:>5}  {moment(record.at)}  {record.kind}{about} by {record.by}{said}"


def one_line(text: Any) -> str:
    """What others wrote, without line breaks and what else a terminal would obey."""
    return " ".join("".join(each if each.isprintable() else " " for each in str(text)).split())


def moment(at: str) -> str:
    """An ISO 8601 moment in UTC, to the second."""
    return f"{at[:19].replace('T', ' ')} UTC"


def _report_problems(ledger: Ledger, name: str) -> bool:
    problems = _problems(ledger, name)
    typer.echo("\n".join(problems) or f"{name} · whole: {len(ledger.records(name))} records.")
    return not problems


def _problems(ledger: Ledger, name: str) -> list[str]:
    """Servers see the newest record that changed what serves: by it records that were cut off are found."""
    try:
        plan = Deployment(environment().home.deployments, name).plan()
    except UnreadablePlan as error:
        return [*ledger.verify(name), f"{name} · {error}"]
    return ledger.verify(name, mirrored=(plan.number, plan.record) if plan and plan.record else None)


def _refuse(use_case: str, known: list[str]) -> None:
    typer.echo(f"{use_case} · the ledger holds no record of it; known: {', '.join(known) or 'none'}. Use one of these.", err=True)
    raise typer.Exit(1)
