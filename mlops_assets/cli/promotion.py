"""`mlops status, approve, route, rollback, ledger mirror`: commands for the person on call."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Annotated

import typer

from mlops_assets.cli.arguments import Name, account, declared, environment, told_plainly
from mlops_assets.cli.ledger import records_table
from mlops_assets.foundation.terminal import moment, one_line, show
from mlops_assets.promotion.deployment import IllegalRoute, Plan, Split, UnknownVersion, UnreadablePlan
from mlops_assets.promotion.ledger import ConcurrentWrite, IllegalAddress, LedgerDown, LedgerTruncated
from mlops_assets.promotion.ledger_chain import UnreadableRecord
from mlops_assets.promotion.promotion_state import PromotionState, promotion_state_of
from mlops_assets.promotion.promotions import NoPreviousChampion, NotApproved, NotBlessed, Promotions
from mlops_assets.promotion.signing_keys import UnreadableKey
from mlops_assets.spec.use_case import UseCase


def _printable(text: str | None) -> str | None:
    if text is not None and not text.isprintable():
        raise typer.BadParameter(f"found {text!r}; legal: printable text, on one line.")
    return text


By = Annotated[str | None, typer.Option(help="Who decides; by default the user who runs the command.", callback=_printable)]
Why = Annotated[str, typer.Option(help="The reason, for the ledger.")]
SHOWN = 15


def status(use_case: Name = "flight_delay") -> None:
    """Show what is serving and why, its history, and how to roll back."""
    from mlops_assets.serving.client import LiveService

    with _told():
        asked, promotions = environment(), open_promotions(use_case)
        records = promotions.ledger.records(use_case)
        standing = promotion_state_of(use_case, records)
    for url in (asked.service_url, *asked.other_service_urls):
        with LiveService(url, asked.api_key) as service:
            typer.echo(_live(url, service.plan(), standing.plan))
    show(*_serving(promotions.use_case, standing))
    if records:
        show(
            f"last {min(SHOWN, len(records))} of {len(records)} records, newest first:", records_table(records[: -SHOWN - 1 : -1])
        )
    for line in _way_back(use_case, standing):
        typer.echo(line)


def approve(
    use_case: Name,
    version: Annotated[int, typer.Argument(help="The blessed version.")],
    *,
    why: Annotated[str, typer.Option(help="The reason, after reading its evaluation.")],
    by: By = None,
) -> None:
    """Approve a version of a high-risk use case; its rollout then starts automatically."""
    with _told():
        open_promotions(use_case).approve(version, why=why, by=by or account(), at=datetime.now(UTC))
    typer.echo(f"{use_case}: version {version} is approved, with the model and evidence of its blessing.")


def rollback(use_case: Name, *, reason: Why = "by hand", by: By = None) -> None:
    """Roll the challenger back, or without one return to the previous champion; its blessing is verified first."""
    with _told():
        promotions = open_promotions(use_case)
        plan = promotions.roll_back(reason=reason, by=by or account(), at=datetime.now(UTC))
        (record, *_) = promotions.ledger.records(use_case, after=plan.number - 1)
    rolled_back = f"version {record.body['version']} is rolled back"
    typer.echo(f"{use_case}: {rolled_back}; version {plan.champion} serves all requests (plan {plan.number}).")
    _show_people(promotions)


def route(
    use_case: Name,
    *,
    challenger: Annotated[int | None, typer.Option(help="The version that serves a share of the requests.")] = None,
    share: Annotated[float, typer.Option(help="That share, from 0 to 1.")] = 0.0,
    split: Annotated[Split, typer.Option(help="canary: by prediction; ab: by the declared sticky key.")] = "canary",
    shadow: Annotated[int | None, typer.Option(help="A version that scores every request and serves none.")] = None,
    reason: Why = "by hand",
    by: By = None,
) -> None:
    """Run a challenger or a shadow next to the champion, their blessings verified first; without options, end them."""
    said, who = f"route: {reason}", by or account()
    with _told():
        promotions = open_promotions(use_case)
        plan = promotions.try_out(
            challenger=challenger, share=share, split=split, shadow=shadow, reason=said, by=who, at=datetime.now(UTC)
        )
    typer.echo(f"{use_case}: version {plan.champion} serves; {plan.rollout or 'no challenger, no shadow'} (plan {plan.number}).")
    _show_people(promotions)


def mirror(use_case: Name) -> None:
    """List where servers and MLflow differ from the ledger, and write the ledger's plan, aliases and stages to them."""
    from mlops_assets.promotion import mlflow_aliases as mirrors
    from mlops_assets.training.model_registry import ModelRegistry, RegistryError

    with _told(RegistryError):
        promotions, registry = open_promotions(use_case), ModelRegistry(environment().home.mlflow)
        standing = promotions.state()
        for line in mirrors.differences(registry, standing) or ["MLflow shows the ledger."]:
            typer.echo(line)
        typer.echo(_servers_see(promotions, standing) or "Servers see the ledger's plan.")
        _show_servers(promotions, standing)
        mirrors.mirror(registry, standing)
    typer.echo("Servers and MLflow now show the ledger.")


def open_promotions(use_case: str) -> Promotions:
    """As the graph opens them."""
    from mlops_assets.resources import build_resources

    found, opened = declared(use_case), build_resources(environment())
    return Promotions(found, opened["ledger"].open(), opened["deployment"].open(found.name), opened["signing_keys"].open())


def _show_people(promotions: Promotions) -> None:
    """What was done is done, and servers know it, whatever state MLflow is in."""
    from mlops_assets.promotion.mlflow_aliases import mirror
    from mlops_assets.training.model_registry import ModelRegistry, RegistryError

    try:
        mirror(ModelRegistry(environment().home.mlflow), promotions.state())
    except (RegistryError, OSError, LedgerDown) as error:
        name = promotions.use_case.name
        typer.echo(f"It is in force; MLflow does not show it yet: {error}. `mlops ledger mirror {name}` tries again.", err=True)


def _show_servers(promotions: Promotions, standing: PromotionState) -> None:
    """A plan that is newer than the ledger stays: it can be the only trace of records that were cut off."""
    if standing.plan:
        promotions.show(standing)
    if difference := _servers_see(promotions, standing):
        where = f"{promotions.use_case.name} · {difference}"
        typer.echo(f"{where}. Run `mlops ledger verify`; then remove that plan.json and run this again.", err=True)
        raise typer.Exit(1)


def _servers_see(promotions: Promotions, standing: PromotionState) -> str | None:
    """How the plan that servers read differs from the ledger's; None where it is the same."""
    try:
        published = promotions.deployment.plan()
    except UnreadablePlan as error:
        return str(error)
    same = published == standing.plan
    return None if same else f"servers see {_named(published)}; in the ledger it is {_named(standing.plan)}"


def _named(plan: Plan | None) -> str:
    return f"plan {plan.number} (version {plan.champion}{f'; {plan.rollout}' if plan.rollout else ''})" if plan else "no plan"


def _told(*more: type[Exception]) -> AbstractContextManager[None]:
    from mlops_assets.promotion.blessing import UnblessedModel

    known = (NoPreviousChampion, NotApproved, NotBlessed, UnblessedModel, UnknownVersion, IllegalRoute)
    unknown = (ConcurrentWrite, LedgerTruncated, LedgerDown, UnreadableRecord, IllegalAddress, UnreadableKey)
    return told_plainly(*known, *unknown, *more)


def _live(url: str, live: dict[str, object] | None, plan: Plan | None) -> str:
    if live is None:
        return f"live: no answer from {url} (set MLOPS_SERVICE_URL to use another address)"
    who = "no version" if live["champion"] is None else f"version {live['champion']}"
    late = f", not yet plan {plan.number}" if plan and live["plan"] != plan.number else ""
    said = f"live: {who} serves at {url} (plan {live['plan'] or 'none'}{late})"
    return f"{said}; {live['last_load_error']}" if live["last_load_error"] else said


def _serving(use_case: UseCase, standing: PromotionState) -> Iterator[str]:
    plan, waiting = standing.plan, standing.waiting
    if plan:
        yield f"serving: version {plan.champion}{f' ({plan.rollout})' if plan.rollout else ''} since {moment(plan.at)}"
        yield f"why: {one_line(plan.reason)}"
    else:
        yield "nothing serves yet"
    if waiting is not None:
        needs = use_case.risk == "high" and waiting not in standing.approvals
        said = (
            f"waits for `mlops approve {use_case.name} {waiting} --why …`"
            if needs
            else "is blessed and its rollout has not started"
        )
        yield f"waiting: version {waiting} {said}"


def _way_back(use_case: str, standing: PromotionState) -> Iterator[str]:
    if standing.trial is not None:
        yield f"to roll back: `mlops rollback {use_case}` ends the rollout of version {standing.trial}"
    elif standing.previous is not None:
        yield f"to roll back: `mlops rollback {use_case}` serves version {standing.previous} again"
