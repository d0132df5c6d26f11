"""`mlops ledger`: reads and verifies the record of every change to what serves, and lets servers and MLflow follow it."""

import json
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli.arguments import Json, Name, open_resources
from mlops_assets.cli.promotion import conclude, open_placed_versions, open_promotions, records_table
from mlops_assets.foundation import names
from mlops_assets.foundation.terminal import show
from mlops_assets.promotion.blessing import UnblessedModel
from mlops_assets.promotion.ledger import Ledger
from mlops_assets.promotion.ledger_chain import DamagedLedger
from mlops_assets.promotion.replaced_plan import reporting_replaced
from mlops_assets.use_cases import USE_CASES

if TYPE_CHECKING:
    from mlops_assets.training.model_registry import ModelRegistry

app = typer.Typer(no_args_is_help=True, help="Read and verify the append-only record of every change to what serves.")


@app.command("show")
def show_records(
    use_case: Name,
    last: Annotated[int, typer.Option(min=1, help="How many records, from the newest back.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the newest records, oldest first, one per line."""
    ledger = _open_ledger()
    records = ledger.records(use_case)[-last:]
    if not records:
        _refuse(use_case, ledger.use_cases())
    if as_json:
        typer.echo("\n".join(json.dumps(asdict(record), ensure_ascii=False) for record in records))
    else:
        show(records_table(records))


@app.command()
def verify(use_case: Annotated[str | None, typer.Argument(help="Every use case when left out.")] = None) -> None:
    """Check for edits, gaps, forks and lost newest records; exit code 1 where there is one."""
    ledger = _open_ledger()
    known = sorted({*ledger.use_cases(), *(use_case.name for use_case in USE_CASES)})
    if use_case and use_case not in known:
        _refuse(use_case, known)
    faults = {name: open_placed_versions(name).faults() for name in ([use_case] if use_case else known)}
    for name, lines in faults.items():
        typer.echo("\n".join(lines) or f"{name} · intact: {len(ledger.records(name))} records.")
    if any(open_placed_versions(name).chain_faults() for name in faults):
        typer.echo("Compare the ledger with its newest backup, and ask who can write to the database.", err=True)
    if any(faults.values()):
        raise typer.Exit(1)


@app.command()
def mirror(
    use_case: Name,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also a plan newer than the ledger's, and go on without lost records.")
    ] = False,
) -> None:
    """List where servers and MLflow differ from the ledger, and write its plan, models, aliases and stages to them."""
    from mlops_assets.promotion.mlflow_aliases import differences
    from mlops_assets.promotion.mlflow_aliases import mirror as write_aliases

    promotions, registry = open_promotions(use_case), open_resources()["registry"].open()
    promotions.ledger.create()
    try:
        promotions.ledger.require_whole(use_case)
    except DamagedLedger as error:
        if not replace:
            raise
        typer.echo(error)
        promotions.ledger.accept(use_case)
    state = promotions.state()
    typer.echo("\n".join(differences(registry, state)) or "MLflow matches the ledger.")
    typer.echo(promotions.difference() or "Servers read the ledger's plan.")
    is_restored = _restore_models(use_case, registry)
    if state.plan:
        # A newer plan is replaced on demand only: it can be the only trace of records that were cut off.
        with reporting_replaced(promotions, partial(typer.echo, err=True)):
            promotions.deployment.publish(state.plan, replace_newer=replace)
    if difference := promotions.difference():
        typer.echo(f"{use_case} · {difference}", err=True)
        raise typer.Exit(1)
    write_aliases(registry, state)
    conclude(promotions, "Servers and MLflow now match the ledger.", before=state.head)
    if not is_restored:
        raise typer.Exit(1)


def _restore_models(use_case: str, registry: "ModelRegistry") -> bool:
    """Places what the ledger blessed and servers lack, from the registry; whether all of it is there now."""
    from mlops_assets.training.model_registry import ModelAltered, NotRegistered, RegistryError

    placed, problems = open_placed_versions(use_case), 0
    for version in placed.misplaced():
        try:
            placed.restore(version, registry.load(names.registered_model(use_case), version))
            typer.echo(f"Version {version} is placed again, as it was blessed.")
        except (RegistryError, NotRegistered, ModelAltered, UnblessedModel, OSError) as error:
            problems += 1
            remedy = f"Restore deployments/{use_case}/models/{version} of the home from a backup"
            typer.echo(f"{use_case} · version {version} cannot be placed again: {error} {remedy}.", err=True)
    return not problems


def _open_ledger() -> Ledger:
    ledger = open_resources()["ledger"].open()
    ledger.require_if_trained()
    return ledger


def _refuse(use_case: str, known: list[str]) -> None:
    remedy = "Use one of these." if known else "The first blessing or refusal writes one."
    typer.echo(f"{use_case} · the ledger has no record of it; known: {', '.join(known) or 'none'}. {remedy}", err=True)
    raise typer.Exit(1)
