"""Whether the live servers follow a change that the ledger has."""

from collections.abc import Iterable
from dataclasses import dataclass

from mlops_assets.promotion.promotions import Promotions
from mlops_assets.serving.client import LiveService, Served, no_server

TAKE_OVER_S = 10.0  # a server reads the plan four times a second, and loads a model within a few seconds


@dataclass(frozen=True)
class Confirmation:
    """What each server serves, and why that is not the change; empty where it is, and before the first champion."""

    servers: list[Served]
    problem: str


def confirm(promotions: Promotions, services: Iterable[LiveService]) -> Confirmation:
    """Every server of the use case, one at least, must answer and follow the ledger. Closes the `services`."""
    servers, name = list[Served](), promotions.use_case.name
    for service in services:
        with service:
            servers.append(service.follows(name, lambda: promotions.state().plan, TAKE_OVER_S))
    is_confirmed = any(server.in_force for server in servers)
    problems = [server.problem for server in servers if not (server.in_force or (server.is_of_another and is_confirmed))]
    problems += filter(None, [no_server(name, servers)])
    if not problems or not promotions.state().plan:
        return Confirmation(servers, "")
    who = "not every server" if is_confirmed else "no server"
    where = f"{name} · {_describe_newest(promotions)}, and {who} confirmed it"
    return Confirmation(servers, f"{where} · {' '.join(problems)} `mlops status {name}` shows what servers serve.")


def _describe_newest(promotions: Promotions) -> str:
    record = promotions.ledger.records(promotions.use_case.name)[-1]
    version = f" of version {record.body['version']}" if "version" in record.body else ""
    return f"the ledger has the change: record {record.number}, {record.kind}{version} by {record.by}"
