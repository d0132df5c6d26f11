"""`mlops status, approve, route, rollback`, and `mlops ledger`, the record of their changes: for the person on call."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from mlops_assets.cli.arguments import By, DefaultName, Json, Name, declared, environment, open_resources
from mlops_assets.foundation.terminal import moment, one_line, show, table
from mlops_assets.promotion.deployment import Deployment, Split, UnreadablePlan
from mlops_assets.promotion.ledger import Ledger, LedgerDown
from mlops_assets.promotion.ledger_chain import Record
from mlops_assets.promotion.placed_versions import PlacedVersions
from mlops_assets.promotion.promotion_state import PromotionState, promotion_state_of
from mlops_assets.promotion.promotions import Cause, Promotions
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases import NOT_LOADED, USE_CASES

if TYPE_CHECKING:
    from mlops_assets.rollout.rollouts import Rollouts
    from mlops_assets.serving.client import Served

ledger_app = typer.Typer(no_args_is_help=True, help="Read and verify the append-only record of every change to what serves.")
Reason = Annotated[str, typer.Option(help="The reason, for the ledger.")]
SHOWN = 15
TAKE_OVER_S = 10.0  # a server reads the plan four times a second, and loads a model within a few seconds


def status(use_case: DefaultName) -> None:
    """Show what serves and why, the newest records, and how to roll back."""
    from mlops_assets.graph.compile import compile_use_cases
    from mlops_assets.graph.operations import describe_operations

    promotions = open_promotions(use_case)
    records = promotions.ledger.records(use_case)
    state = promotion_state_of(use_case, records)
    for problem in [*NOT_LOADED, *compile_use_cases(USE_CASES)[1]]:
        typer.echo(f"not loaded: {problem}")
    for service in open_resources()["live_services"].open():
        with service:
            typer.echo(_live(service.url, service.plan(), state))
    if difference := promotions.difference():
        typer.echo(f"plan and ledger disagree: {difference}")
    for line in describe_operations(promotions.use_case, environment().home, state, datetime.now(UTC)):
        typer.echo(line)
    if plan := state.plan:
        typer.echo(f"serving: version {plan.champion}{f' ({plan.rollout})' if plan.rollout else ''} since {moment(plan.at)}")
        typer.echo(f"why: {one_line(plan.reason)}")
        if state.by_hand:
            command = f"mlops route {use_case}"
            typer.echo(f"by hand: no rollout changes this until `{command} --hand-over` hands it over; `{command}` ends it")
    else:
        typer.echo("nothing serves yet: the first version that passes its gates will (train one in the web UI of `mlops up`)")
    if (waiting := state.waiting) is not None:
        needs_approval = promotions.use_case.risk == "high" and waiting not in state.approvals
        command = f"waits for `mlops approve {use_case} {waiting} --why …`"
        typer.echo(f"waiting: version {waiting} {command if needs_approval else 'is blessed and its rollout has not started'}")
    failed = [*_failed_days(promotions.use_case)]
    for line in [*failed[:SHOWN], *[f"data: {len(failed) - SHOWN} more days failed"] * (len(failed) > SHOWN)]:
        typer.echo(line)
    if newest := records[: -SHOWN - 1 : -1]:
        show(f"last {len(newest)} of {len(records)} records, newest first:", records_table(newest))
    if plan:
        typer.echo(f"to roll back: {_describe_rollback(use_case, state)}")


def _describe_rollback(use_case: str, state: PromotionState) -> str:
    if state.challenger_version is not None:
        return f"`mlops rollback {use_case}` ends the rollout of version {state.challenger_version}"
    if state.previous_champion is not None:
        return f"`mlops rollback {use_case}` serves version {state.previous_champion} again"
    return "not possible yet, as there is no earlier champion"


def _failed_days(use_case: UseCase) -> Iterator[str]:
    """A line for each landed day that failed a check, and for each entry of the landing folder that is not read, or gone."""
    from mlops_assets.graph.triggers import scan_landed

    resources = open_resources()
    landing, tables = resources["landing"].open(), resources["warehouse"].open()
    for source in use_case.sources:
        name = source.table
        for day, refusal in landing.refused(use_case.name, name).read().items():
            can_waive = refusal.file and not refusal.waiver
            remedy = f" Or `mlops waive {use_case.name} {name} {day} --why …`." if can_waive else ""
            yield f"data: {name} {day} failed. {refusal.message}{remedy}"
        for entry, fault in sorted(scan_landed(use_case, source, landing, tables).faults.items()):
            yield f"data: {name}/{entry} · {fault}."


def approve(
    use_case: Name,
    version: Annotated[int, typer.Argument(help="The blessed version.")],
    *,
    why: Annotated[str, typer.Option(help="The reason, after reading its evaluation.")],
    by: By,
) -> None:
    """Approve a version of a high-risk use case; its rollout then starts automatically."""
    promotions = open_promotions(use_case)
    promotions.approve(version, why=why, by=by, at=datetime.now(UTC))
    _conclude(promotions, f"{use_case}: version {version} is approved, with the model and evidence of its blessing.")


def rollback(use_case: Name, *, reason: Reason = "by hand", by: By) -> None:
    """Roll the challenger back, or without one return to the previous champion; its blessing is verified first."""
    promotions = open_promotions(use_case)
    plan = promotions.roll_back(reason=reason, by=by, at=datetime.now(UTC))
    version = promotions.ledger.records(use_case, after=plan.number - 1)[0].body["version"]
    _mirror_to_mlflow(promotions)
    done = f"version {version} is rolled back; version {plan.champion} serves all requests (plan {plan.number})"
    _conclude(promotions, f"{use_case}: {done}.")


def route(
    use_case: Name,
    *,
    challenger: Annotated[int | None, typer.Option(help="The version that serves a share of the requests.")] = None,
    share: Annotated[float, typer.Option(help="That share, from 0 to 1.")] = 0.0,
    split: Annotated[Split, typer.Option(help="canary: by prediction; ab: by the declared sticky key.")] = "canary",
    shadow: Annotated[int | None, typer.Option(help="A version that scores every request and serves none.")] = None,
    hand_over: Annotated[bool, typer.Option("--hand-over", help="Let the declared rollout go on, from its first step.")] = False,
    reason: Reason = "by hand",
    by: By,
) -> None:
    """Run a challenger or a shadow next to the champion, their blessings verified first; without options, end them.

    No rollout changes what was set by hand until it is handed over.
    """
    promotions, at = open_promotions(use_case), datetime.now(UTC)
    if hand_over and (challenger, share, shadow) != (None, 0.0, None):
        raise typer.BadParameter("--hand-over is there with a version or a share; legal: alone. Set a route, or hand it over.")
    if hand_over:
        plan = _open_rollouts(promotions.use_case).hand_over(by=by, at=at, why=f"handed over: {reason}")
    else:
        cause = Cause(reason=f"route: {reason}", by=by, at=at)
        plan = promotions.route(challenger=challenger, share=share, split=split, shadow=shadow, **cause)
    _mirror_to_mlflow(promotions)
    serves = f"version {plan.champion} serves; {plan.rollout or 'no challenger, no shadow'} (plan {plan.number})"
    _conclude(promotions, f"{use_case}: {serves}.")


@ledger_app.command("show")
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


@ledger_app.command()
def verify(use_case: Annotated[str | None, typer.Argument(help="Every use case when left out.")] = None) -> None:
    """Check for edits, gaps, forks and lost newest records; exit code 1 where there is one."""
    ledger = _open_ledger()
    known = sorted({*ledger.use_cases(), *(use_case.name for use_case in USE_CASES)})
    if use_case and use_case not in known:
        _refuse(use_case, known)
    faults = {name: _faults(ledger, name) for name in ([use_case] if use_case else known)}
    for name, lines in faults.items():
        typer.echo("\n".join(lines) or f"{name} · intact: {len(ledger.records(name))} records.")
    if any(faults.values()):
        typer.echo("Compare the ledger with its newest backup, and ask who can write to the database.", err=True)
        raise typer.Exit(1)


@ledger_app.command()
def mirror(
    use_case: Name,
    replace: Annotated[bool, typer.Option("--replace", help="Also a plan newer than the ledger's; its file is kept.")] = False,
) -> None:
    """List where servers and MLflow differ from the ledger, and write the ledger's plan, aliases and stages to them."""
    from mlops_assets.promotion.mlflow_aliases import differences
    from mlops_assets.promotion.mlflow_aliases import mirror as write_aliases

    promotions, registry = open_promotions(use_case), open_resources()["registry"].open()
    promotions.ledger.create()
    state = promotions.state()
    typer.echo("\n".join(differences(registry, state)) or "MLflow matches the ledger.")
    typer.echo(promotions.difference() or "Servers read the ledger's plan.")
    if state.plan:
        # A newer plan is replaced on demand only: it can be the only trace of records that were cut off.
        promotions.deployment.publish(state.plan, replace_newer=replace)
    if difference := promotions.difference():
        typer.echo(f"{use_case} · {difference}", err=True)
        raise typer.Exit(1)
    write_aliases(registry, state)
    _conclude(promotions, "Servers and MLflow now match the ledger.")


def _open_ledger() -> Ledger:
    ledger = Ledger(environment().ledger_url)
    ledger.require_if_trained()
    return ledger


def open_promotions(use_case: str) -> Promotions:
    declaration, resources = declared(use_case), open_resources()
    ledger, deployment = resources["ledger"].open(), resources["deployment"].open(use_case)
    ledger.require_if_trained()
    return Promotions(declaration, ledger, deployment, resources["signing_keys"].open())


def _open_rollouts(use_case: UseCase) -> "Rollouts":
    from mlops_assets.graph.rollout import open_rollouts

    return open_rollouts(use_case, open_resources()["rollout_stores"])


def _conclude(promotions: Promotions, message: str) -> None:
    """Shows what each server serves now, then `message`; once there is a champion, exit code 1 unless every server of the use
    case, one at least, answers and follows the ledger.
    """
    servers, name = list["Served"](), promotions.use_case.name
    for service in open_resources()["live_services"].open():
        with service:
            servers.append(service.follows(name, lambda: promotions.state().plan, TAKE_OVER_S))
        typer.echo(_live(service.url, servers[-1].reported, promotions.state()))
    is_confirmed = any(server.in_force for server in servers)
    problems = [server.problem for server in servers if not (server.in_force or (server.is_of_another and is_confirmed))]
    if problems and promotions.state().plan:
        who = "not every server" if is_confirmed else "no server"
        where = f"{name} · {_describe_newest(promotions)}, and {who} confirmed it"
        typer.echo(f"{where} · {' '.join(problems)} `mlops status {name}` shows what servers serve.", err=True)
        raise typer.Exit(1)
    typer.echo(message)


def _describe_newest(promotions: Promotions) -> str:
    record = promotions.ledger.records(promotions.use_case.name)[-1]
    version = f" of version {record.body['version']}" if "version" in record.body else ""
    return f"the ledger has the change: record {record.number}, {record.kind}{version} by {record.by}"


def _mirror_to_mlflow(promotions: Promotions) -> None:
    """Never fails: the change is in force whatever state MLflow is in."""
    from mlops_assets.promotion.mlflow_aliases import mirror
    from mlops_assets.training.model_registry import RegistryError

    try:
        mirror(open_resources()["registry"].open(), promotions.state())
    except (RegistryError, OSError, LedgerDown) as error:
        remedy = f"`mlops ledger mirror {promotions.use_case.name}` tries again."
        typer.echo(f"The ledger has the change; MLflow does not show it yet: {error}. {remedy}", err=True)


def _live(url: str, live: dict[str, Any] | None, state: PromotionState) -> str:
    plan, another = state.plan, "(set MLOPS_SERVICE_URL to use another address)"
    if live is None:
        return f"live: no answer from {url} {another}"
    if live["use_case"] != state.use_case:
        return f"live: the server at {url} serves {live['use_case']}, not {state.use_case} {another}"
    champion = "no version" if live["champion"] is None else f"version {live['champion']}"
    number = plan.number if plan else 0
    is_served = plan.is_served(live) if plan else live["plan"] is None
    late = "" if is_served else f", not yet plan {number}" if (live["plan"] or 0) < number else ", which is not the ledger's"
    line = f"live: {champion} serves at {url} (plan {live['plan'] or 'none'}{late})"
    problems = filter(None, (live["last_load_error"], live.get("admission_error")))  # servers of earlier releases lack the second
    return "; ".join([line, *map(str, problems)])


def records_table(records: Sequence[Record], title: str = "") -> RenderableType:
    """One line per record: number, moment, kind, version, author, reason."""
    facts = (
        (record, record.body.get("version", ""), record.body.get("reason") or record.body.get("why", "")) for record in records
    )
    rows = ((record.number, moment(record.at), record.kind, version, record.by, reason) for record, version, reason in facts)
    return table(("record", "at", "kind", "version", "by", "reason"), rows, title=title, numbers=("record", "version"))


def _faults(ledger: Ledger, name: str) -> list[str]:
    # The servers' plan names the newest record that changed it, which shows when newest records were cut off.
    home = environment().home
    deployment = Deployment(home.deployments, name)
    try:
        plan = deployment.plan()
    except UnreadablePlan as error:
        return [*ledger.verify(name), f"{name} · {error}"]
    faults = ledger.verify(name, mirrored=(plan.number, plan.record) if plan and plan.record else None)
    return faults or PlacedVersions(name, ledger, deployment, SigningKeys(home.keys)).faults()


def _refuse(use_case: str, known: list[str]) -> None:
    remedy = "Use one of these." if known else "The first blessing or refusal writes one."
    typer.echo(f"{use_case} · the ledger has no record of it; known: {', '.join(known) or 'none'}. {remedy}", err=True)
    raise typer.Exit(1)
