"""`mlops status`: every use case at a glance, or one with all that serves it, and what to do."""

import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli.arguments import Json, declared, environment, open_resources, selected
from mlops_assets.cli.promotion import describe_live, open_placed_versions, open_promotions, records_table
from mlops_assets.foundation.home import Environment, parse_service_urls
from mlops_assets.foundation.moments import to_second
from mlops_assets.foundation.terminal import one_line, show, table
from mlops_assets.promotion.promotion_state import PromotionState, promotion_state_of
from mlops_assets.serving.client import no_server
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases import NOT_LOADED, USE_CASES, select_use_cases

if TYPE_CHECKING:
    from mlops_assets.foundation.delta_tables import DeltaTables
    from mlops_assets.graph.overview import Platform
    from mlops_assets.ingestion.landing import Landing

FILES = 15


def status(
    use_case: Annotated[str | None, typer.Argument(help="The use case; without one a line for each.")] = None,
    *,
    as_json: Json = False,
    serve: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve the page of every use case there, and /metrics for Prometheus.")
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the newest evaluation there, as Markdown and pictures.")
    ] = None,
) -> None:
    """Show what serves, how good it is, what comes next, and what failed last and what to do about it."""
    if serve:
        return _serve(serve)
    names = [use_case] if use_case else selected()
    if evaluation:
        return _write_evaluation(names, evaluation)
    from mlops_assets.graph.compile import compile_use_cases

    problems = [*NOT_LOADED, *compile_use_cases(USE_CASES)[1]]
    if len(names) == 1 and not as_json:
        for problem in problems:
            typer.echo(f"not loaded: {problem}")
        _show_status(names[0])
        return
    platform = _read(names, problems)
    typer.echo(json.dumps(asdict(platform), indent=1, ensure_ascii=False)) if as_json else _show_overview(platform)


def _write_evaluation(names: list[str], folder: Path) -> None:
    from mlops_assets.graph.evaluation_page import write_evaluation

    if len(names) != 1:
        raise typer.BadParameter(f"--evaluation · found {len(names)} use cases; legal: one, such as {names[0]}. Name it.")
    typer.echo(write_evaluation(declared(names[0]).name, environment().home, folder))


def status_pages(settings: Environment, addresses: Mapping[str, str]) -> tuple[Callable[[], str], Callable[[], str]]:
    """What renders the overview, and the metrics, of the platform at these addresses, of the declarations as this process has
    loaded them.
    """
    from mlops_assets.graph.compile import compile_use_cases
    from mlops_assets.graph.overview import as_html, read_overview
    from mlops_assets.graph.platform_metrics import read_metrics
    from mlops_assets.observability.metrics import as_page
    from mlops_assets.resources import build_resources

    use_cases, not_loaded = select_use_cases(settings.use_cases)
    problems = [*not_loaded, *compile_use_cases(use_cases)[1]]
    urls = parse_service_urls(settings.with_service_url(addresses["service"]))
    resources = build_resources(replace(settings, service_urls=urls))

    def render() -> str:
        now = datetime.now(UTC)
        platform = read_overview(use_cases, settings.home, resources, not_loaded=problems, now=now)
        return as_html(platform, now=now, dagster_url=addresses.get("dagster"))

    def metrics() -> str:
        now = datetime.now(UTC)
        return as_page(read_metrics(use_cases, settings.home, resources, not_loaded=problems, now=now)).decode()

    return render, metrics


def _serve(address: str) -> None:
    from mlops_assets.foundation.interrupt import interrupted_at_once
    from mlops_assets.local.web_page import served_page

    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise typer.BadParameter(f"--serve · found {address!r}; legal: HOST:PORT, such as 127.0.0.1:3002. Correct it.")
    settings = environment()
    addresses = {"service": settings.service_url} | ({"dagster": settings.dagster_url} if settings.dagster_url else {})
    with interrupted_at_once(), served_page(f"http://{address}", *status_pages(settings, addresses)):
        typer.echo(f"Status and /metrics at http://{address}. Press Ctrl-C to stop.")
        while True:
            signal.pause()


def _read(names: list[str], problems: list[str]) -> "Platform":
    from mlops_assets.graph.overview import read_overview

    resources, settings = open_resources(), environment()
    resources["ledger"].open().require_if_trained()
    use_cases = [declared(name) for name in names]
    return read_overview(use_cases, settings.home, resources, not_loaded=problems, now=datetime.now(UTC))


def _show_overview(platform: "Platform") -> None:
    from mlops_assets.graph.overview import HEADS, SHOWN

    for problem in platform.problems:
        typer.echo(problem)
    show(table([*HEADS], (one.cells for one in platform.use_cases), numbers=("champion",)))
    for one in platform.use_cases:
        for problem in one.problems[:SHOWN]:
            typer.echo(f"{one.use_case}: {one_line(problem)}")
        if len(one.problems) > SHOWN:
            typer.echo(f"{one.use_case}: {len(one.problems) - SHOWN} more; `mlops status {one.use_case}`")


def _show_status(use_case: str) -> None:
    from mlops_assets.graph.history import readable_event_log
    from mlops_assets.graph.landing import describe_unread
    from mlops_assets.graph.operations import describe_operations

    promotions = open_promotions(use_case)
    records = promotions.ledger.records(use_case)
    state = promotion_state_of(use_case, records)
    services = open_resources()["live_services"].open(use_case)
    for service in services:
        with service:
            typer.echo(describe_live(service.follows(use_case, lambda: state.plan, 0), state.plan))
    if problem := no_server(use_case, services):
        typer.echo(f"live: {problem}")
    difference = promotions.difference()
    if difference:
        typer.echo(f"plan and ledger disagree: {difference}")
    if alarm := open_placed_versions(use_case).alarm():
        typer.echo(f"ledger: {alarm}")
    now = datetime.now(UTC)
    causes = {"features": open_resources()["feature_store"].outage(promotions.use_case), "automation": state.held_up(now)}
    held_up = (f"{name}: {cause}" for name, cause in causes.items() if cause)
    with readable_event_log(environment().home) as (instance, unreadable):  # once, as a server that hangs takes seconds
        operations = describe_operations(promotions.use_case, environment().home, instance, state=state, now=now)
        unread = [*describe_unread(promotions.use_case, instance, *_open_files())] if instance else []
    for line in [*held_up, *unreadable, *operations]:
        typer.echo(line)
    if plan := state.plan:
        typer.echo(f"serving: version {plan.champion}{f' ({plan.rollout})' if plan.rollout else ''} since {to_second(plan.at)}")
        typer.echo(f"why: {one_line(plan.reason)}")
        if state.by_hand:
            command = f"mlops route {use_case}"
            typer.echo(f"by hand: no rollout changes this until `{command} --hand-over` hands it over; `{command}` ends it")
    else:
        first = "" if state.waiting is not None else f": {promotions.describe_first(state)}"
        typer.echo("no champion is in the ledger: restore it from its backup" if difference else f"nothing serves yet{first}")
    if (waiting := state.waiting) is not None:
        needs_approval = promotions.use_case.risk == "high" and waiting not in state.approvals
        command = f"waits for `mlops approve {use_case} {waiting} --why …`"
        typer.echo(f"waiting: version {waiting} {command if needs_approval else 'is blessed and its rollout has not started'}")
    failed = [*_failed_files(promotions.use_case, unread)]
    for line in [*failed[:FILES], *[f"data: {len(failed) - FILES} more files failed"] * (len(failed) > FILES)]:
        typer.echo(line)
    if newest := records[: -FILES - 1 : -1]:
        show(f"last {len(newest)} of {len(records)} records, newest first:", records_table(newest))
    if plan:
        typer.echo(f"to roll back: {_describe_rollback(use_case, state)}")


def _describe_rollback(use_case: str, state: PromotionState) -> str:
    if state.challenger_version is not None:
        return f"`mlops rollback {use_case}` ends the rollout of version {state.challenger_version}"
    if state.previous_champion is not None:
        return f"`mlops rollback {use_case}` serves version {state.previous_champion} again"
    return "not possible yet, as there is no earlier champion"


def _open_files() -> "tuple[Landing, DeltaTables]":
    resources = open_resources()
    return resources["landing"].open(), resources["warehouse"].open()


def _failed_files(use_case: UseCase, unread: Sequence[str]) -> Iterator[str]:
    """A line for each landed file that failed a check, for each table that lacks due files, and for each entry of the landing
    folder that is not read, or gone.
    """
    from mlops_assets.graph.first_champion import refused_files
    from mlops_assets.graph.landing import describe_faults, describe_missing, read_misplaced, scan_landed

    landing, tables = _open_files()
    yield from (f"data: {line}" for line in [*refused_files(use_case, open_resources(), waived=True), *unread])
    for source in use_case.sources:
        landed = scan_landed(use_case, source, landing, tables)
        if missing := describe_missing(use_case, source, landed.digests, now=datetime.now(UTC)):
            yield f"data: {missing}"
        yield from (f"data: {line}" for line in describe_faults(landed.faults, source.table))
    yield from (f"data: {one.sentence}." for one in read_misplaced(use_case, landing.root))
