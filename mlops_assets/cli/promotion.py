"""`mlops status, approve, route, rollback, ledger mirror`: commands for the person on call."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer

from mlops_assets.cli.arguments import By, Name, account, declared, environment
from mlops_assets.cli.ledger import records_table
from mlops_assets.foundation.terminal import moment, one_line, show
from mlops_assets.promotion.deployment import Plan, Split, UnreadablePlan
from mlops_assets.promotion.ledger import LedgerDown
from mlops_assets.promotion.promotion_state import PromotionState, promotion_state_of
from mlops_assets.promotion.promotions import Cause, Promotions
from mlops_assets.spec.use_case import UseCase

Reason = Annotated[str, typer.Option(help="The reason, for the ledger.")]
SHOWN = 15


def status(use_case: Name = "flight_delay") -> None:
    """Show what serves and why, the newest records, and how to roll back."""
    from mlops_assets.serving.client import LiveService

    settings, promotions = environment(), open_promotions(use_case)
    records = promotions.ledger.records(use_case)
    state = promotion_state_of(use_case, records)
    for url in (settings.service_url, *settings.other_service_urls):
        with LiveService(url, settings.api_key) as service:
            typer.echo(_live(url, service.plan(), state.plan))
    show(*_serving(promotions.use_case, state))
    if newest := records[: -SHOWN - 1 : -1]:
        show(f"last {len(newest)} of {len(records)} records, newest first:", records_table(newest))
    if state.challenger_version is not None:
        typer.echo(f"to roll back: `mlops rollback {use_case}` ends the rollout of version {state.challenger_version}")
    elif state.previous_champion is not None:
        typer.echo(f"to roll back: `mlops rollback {use_case}` serves version {state.previous_champion} again")
    elif state.plan:
        typer.echo("to roll back: not possible yet, as there is no earlier champion")


def approve(
    use_case: Name,
    version: Annotated[int, typer.Argument(help="The blessed version.")],
    *,
    why: Annotated[str, typer.Option(help="The reason, after reading its evaluation.")],
    by: By = None,
) -> None:
    """Approve a version of a high-risk use case; its rollout then starts automatically."""
    open_promotions(use_case).approve(version, why=why, by=by or account(), at=datetime.now(UTC))
    typer.echo(f"{use_case}: version {version} is approved, with the model and evidence of its blessing.")


def rollback(use_case: Name, *, reason: Reason = "by hand", by: By = None) -> None:
    """Roll the challenger back, or without one return to the previous champion; its blessing is verified first."""
    promotions = open_promotions(use_case)
    plan = promotions.roll_back(reason=reason, by=by or account(), at=datetime.now(UTC))
    version = promotions.ledger.records(use_case, after=plan.number - 1)[0].body["version"]
    typer.echo(f"{use_case}: version {version} is rolled back; version {plan.champion} serves all requests (plan {plan.number}).")
    _mirror_to_mlflow(promotions)


def route(
    use_case: Name,
    *,
    challenger: Annotated[int | None, typer.Option(help="The version that serves a share of the requests.")] = None,
    share: Annotated[float, typer.Option(help="That share, from 0 to 1.")] = 0.0,
    split: Annotated[Split, typer.Option(help="canary: by prediction; ab: by the declared sticky key.")] = "canary",
    shadow: Annotated[int | None, typer.Option(help="A version that scores every request and serves none.")] = None,
    reason: Reason = "by hand",
    by: By = None,
) -> None:
    """Run a challenger or a shadow next to the champion, their blessings verified first; without options, end them."""
    promotions = open_promotions(use_case)
    cause = Cause(reason=f"route: {reason}", by=by or account(), at=datetime.now(UTC))
    plan = promotions.route(challenger=challenger, share=share, split=split, shadow=shadow, **cause)
    typer.echo(f"{use_case}: version {plan.champion} serves; {plan.rollout or 'no challenger, no shadow'} (plan {plan.number}).")
    _mirror_to_mlflow(promotions)


def mirror(use_case: Name) -> None:
    """List where servers and MLflow differ from the ledger, and write the ledger's plan, aliases and stages to them."""
    from mlops_assets.promotion.mlflow_aliases import differences
    from mlops_assets.promotion.mlflow_aliases import mirror as write_aliases
    from mlops_assets.training.model_registry import ModelRegistry

    promotions, registry = open_promotions(use_case), ModelRegistry(environment().home.mlflow)
    state = promotions.state()
    typer.echo("\n".join(differences(registry, state)) or "MLflow matches the ledger.")
    typer.echo(_plan_difference(promotions, state) or "Servers read the ledger's plan.")
    if state.plan:
        promotions.deployment.publish(state.plan)
    # A plan newer than the ledger is not overwritten: it can be the only trace of records that were cut off.
    if difference := _plan_difference(promotions, state):
        remedy = f"Run `mlops ledger verify {use_case}`; then remove that plan.json and run this again."
        typer.echo(f"{use_case} · {difference}. {remedy}", err=True)
        raise typer.Exit(1)
    write_aliases(registry, state)
    typer.echo("Servers and MLflow now match the ledger.")


def open_promotions(use_case: str) -> Promotions:
    from mlops_assets.resources import build_resources

    declaration, resources = declared(use_case), build_resources(environment())
    deployment, keys = resources["deployment"].open(use_case), resources["signing_keys"].open()
    return Promotions(declaration, resources["ledger"].open(), deployment, keys)


def _mirror_to_mlflow(promotions: Promotions) -> None:
    """Never fails: the change is in force whatever state MLflow is in."""
    from mlops_assets.promotion.mlflow_aliases import mirror
    from mlops_assets.training.model_registry import ModelRegistry, RegistryError

    try:
        mirror(ModelRegistry(environment().home.mlflow), promotions.state())
    except (RegistryError, OSError, LedgerDown) as error:
        remedy = f"`mlops ledger mirror {promotions.use_case.name}` tries again."
        typer.echo(f"It is in force; MLflow does not show it yet: {error}. {remedy}", err=True)


def _plan_difference(promotions: Promotions, state: PromotionState) -> str | None:
    """How the plan that servers read differs from the ledger's; None where it is the same."""
    try:
        published = promotions.deployment.plan()
    except UnreadablePlan as error:
        return str(error)
    same = published == state.plan
    return None if same else f"servers read {_named(published)}; in the ledger it is {_named(state.plan)}"


def _named(plan: Plan | None) -> str:
    return f"plan {plan.number} (version {plan.champion}{f'; {plan.rollout}' if plan.rollout else ''})" if plan else "no plan"


def _live(url: str, live: dict[str, object] | None, plan: Plan | None) -> str:
    if live is None:
        return f"live: no answer from {url} (set MLOPS_SERVICE_URL to use another address)"
    champion = "no version" if live["champion"] is None else f"version {live['champion']}"
    late = f", not yet plan {plan.number}" if plan and live["plan"] != plan.number else ""
    line = f"live: {champion} serves at {url} (plan {live['plan'] or 'none'}{late})"
    return f"{line}; {live['last_load_error']}" if live["last_load_error"] else line


def _serving(use_case: UseCase, state: PromotionState) -> Iterator[str]:
    plan, waiting = state.plan, state.waiting
    if plan:
        yield f"serving: version {plan.champion}{f' ({plan.rollout})' if plan.rollout else ''} since {moment(plan.at)}"
        yield f"why: {one_line(plan.reason)}"
    else:
        yield "nothing serves yet: the first version that passes its gates will (train one in the web UI of `mlops up`)"
    if waiting is not None:
        needs_approval = use_case.risk == "high" and waiting not in state.approvals
        command = f"waits for `mlops approve {use_case.name} {waiting} --why …`"
        yield f"waiting: version {waiting} {command if needs_approval else 'is blessed and its rollout has not started'}"
