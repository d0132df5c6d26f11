"""`mlops status, approve, route, rollback`: for the person on call."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import RenderableType

from mlops_assets.cli.arguments import By, Name, declared, open_resources
from mlops_assets.foundation.moments import to_second
from mlops_assets.foundation.terminal import table
from mlops_assets.promotion.deployment import Plan, Split
from mlops_assets.promotion.ledger import LedgerDown
from mlops_assets.promotion.ledger_chain import Record
from mlops_assets.promotion.placed_versions import PlacedVersions
from mlops_assets.promotion.promotions import Cause, Promotions
from mlops_assets.promotion.replaced_plan import reporting_replaced
from mlops_assets.serving.client import Served, confirm

Why = Annotated[str, typer.Option(help="The reason, for the ledger.")]


def approve(
    use_case: Name,
    version: Annotated[int, typer.Argument(help="The blessed version.")],
    *,
    why: Annotated[str, typer.Option(help="The reason, after reading its evaluation.")],
    by: By,
) -> None:
    """Approve a version of a high-risk use case; its rollout then starts automatically."""
    promotions = open_promotions(use_case)
    before = promotions.state().head
    promotions.approve(version, why=why, by=by, at=datetime.now(UTC))
    done = f"version {version} is approved, with the model and evidence of its blessing"
    conclude(promotions, f"{use_case}: {done}.", before=before)


def promote(
    use_case: Name,
    version: Annotated[int, typer.Argument(help="The blessed version, approved where the risk is high.")],
    *,
    why: Annotated[str, typer.Option(help="The reason why its rollout is not awaited.")],
    by: By,
) -> None:
    """Let a blessed version serve all requests now, without its rollout."""
    promotions = open_promotions(use_case)
    before = promotions.state().head
    with reporting_replaced(promotions, _warn):
        plan = promotions.promote(version, reason=why, by=by, at=datetime.now(UTC))
    _mirror_to_mlflow(promotions)
    conclude(
        promotions,
        f"{use_case}: version {plan.champion} serves all requests (plan {plan.number}{_unchanged(promotions, before)}).",
        before=before,
    )


def rollback(use_case: Name, *, why: Why = "by hand", by: By) -> None:
    """Roll the challenger back, or without one return to the previous champion; its blessing is verified first.

    Until `mlops route --hand-over`, or the approval or promotion of a version, nothing is trained or rolled out by itself.
    """
    promotions = open_promotions(use_case)
    before = promotions.state().head
    with reporting_replaced(promotions, _warn):
        plan = promotions.roll_back(by_hand=True, reason=why, by=by, at=datetime.now(UTC))
    version = promotions.ledger.records(use_case, after=plan.number - 1)[0].body["version"]
    _mirror_to_mlflow(promotions)
    done = f"version {version} is rolled back; version {plan.champion} serves all requests (plan {plan.number})"
    conclude(promotions, f"{use_case}: {done}.", before=before)


def route(
    use_case: Name,
    *,
    challenger: Annotated[int | None, typer.Option(help="The version that serves a share of the requests.")] = None,
    share: Annotated[float, typer.Option(help="That share, from 0 to 1.")] = 0.0,
    split: Annotated[Split, typer.Option(help="canary: by prediction; ab: by the declared sticky key.")] = "canary",
    shadow: Annotated[int | None, typer.Option(help="A version that scores every request and serves none.")] = None,
    hand_over: Annotated[
        bool, typer.Option("--hand-over", help="Let the declared rollout start anew; after a rollback, the triggers go on too.")
    ] = False,
    why: Why = "by hand",
    by: By,
) -> None:
    """Run a challenger or a shadow next to the champion, their blessings verified first; without options, end them.

    No rollout changes what was set by hand until it is handed over.
    """
    promotions, at = open_promotions(use_case), datetime.now(UTC)
    before = promotions.state().head
    if hand_over and (challenger, share, shadow) != (None, 0.0, None):
        raise typer.BadParameter("--hand-over is there with a version or a share; legal: alone. Set a route, or hand it over.")
    if hand_over:
        from mlops_assets.graph.rollout import open_rollouts

        rollouts = open_rollouts(promotions.use_case, open_resources()["rollout_stores"])
        with reporting_replaced(promotions, _warn):
            plan = rollouts.hand_over(by=by, at=at, why=why)
    else:
        cause = Cause(reason=f"route: {why}", by=by, at=at)
        with reporting_replaced(promotions, _warn):
            plan = promotions.route(challenger=challenger, share=share, split=split, shadow=shadow, **cause)
    _mirror_to_mlflow(promotions)
    serves = f"version {plan.champion} serves; {plan.rollout or 'no challenger, no shadow'}"
    in_force = f"plan {plan.number}{_unchanged(promotions, before)}"
    conclude(promotions, f"{use_case}: {serves} ({in_force}).", before=before)


def _unchanged(promotions: Promotions, before: int) -> str:
    """Words for a command that wrote no record after `before`; empty otherwise."""
    return "" if promotions.state().head > before else ", as before: nothing has changed"


def _warn(message: str) -> None:
    typer.echo(message, err=True)


def open_promotions(use_case: str, *, creates_home: bool = False) -> Promotions:
    declaration, resources = declared(use_case), open_resources(creates_home=creates_home)
    ledger, deployment = resources["ledger"].open(), resources["deployment"].open(use_case)
    ledger.require_if_trained()
    return Promotions(declaration, ledger, deployment, resources["signing_keys"].open())


def open_placed_versions(use_case: str) -> PlacedVersions:
    """Of a use case of any code location."""
    resources = open_resources()
    deployment, keys = resources["deployment"].open(use_case), resources["signing_keys"].open()
    return PlacedVersions(use_case, resources["ledger"].open(), deployment, keys)


def conclude(promotions: Promotions, message: str, *, before: int) -> None:
    """Shows what each server serves now, then `message`; exit code 1 where servers do not follow the ledger. `before` is the
    number of its newest record before the command.
    """
    services = open_resources()["live_services"].open(promotions.use_case.name)
    servers, problem = confirm(promotions, services, before=before)
    for server in servers:
        typer.echo(describe_live(server, promotions.state().plan))
    if problem:
        typer.echo(problem, err=True)
        raise typer.Exit(1)
    typer.echo(message)


def _mirror_to_mlflow(promotions: Promotions) -> None:
    """Never fails: the change is in force whatever state MLflow is in."""
    from mlops_assets.promotion.mlflow_aliases import mirror
    from mlops_assets.training.model_registry import RegistryError

    try:
        mirror(open_resources()["registry"].open(), promotions.state())
    except (RegistryError, OSError, LedgerDown) as error:
        remedy = f"`mlops ledger mirror {promotions.use_case.name}` tries again."
        typer.echo(f"The ledger has the change; MLflow does not show it yet: {error}. {remedy}", err=True)


def describe_live(server: Served, plan: Plan | None) -> str:
    live, another = server.reported, "(set MLOPS_SERVICE_URL to use another address)"
    if live is None:
        return f"live: no answer from {server.url} {another}"
    if server.is_of_another:
        return f"live: the server at {server.url} serves {live['use_case']}, not {server.use_case} {another}"
    champion = "no version" if live["champion"] is None else f"version {live['champion']}"
    number, late = plan.number if plan else 0, ""
    if not server.in_force:
        late = f", not yet plan {number}" if (live["plan"] or 0) < number else ", which is not the ledger's"
    line = f"live: {champion} serves at {server.url} (plan {live['plan'] or 'none'}{late})"
    # Servers of earlier releases lack the others.
    problems = filter(None, (live["last_load_error"], live.get("admission_error"), live.get("log_error")))
    return "; ".join([line, *map(str, problems)])


def records_table(records: Sequence[Record], title: str = "") -> RenderableType:
    """One line per record: number, moment, kind, version, author, reason."""
    rows = ((one.number, to_second(one.at), one.kind, one.version or "", one.by, one.reason) for one in records)
    return table(("record", "at", "kind", "version", "by", "reason"), rows, title=title, numbers=("record", "version"))
