"""What the ledger, the event log and the live servers have of all use cases, read at once: for people and for Prometheus."""

import os
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from mlops_assets.foundation import names
from mlops_assets.foundation.home import Home
from mlops_assets.foundation.home_lock import HomeInUse, require_event_log
from mlops_assets.foundation.outages import describe_outage
from mlops_assets.graph.failed_runs import read_failed_runs
from mlops_assets.graph.kernel.check_verdict import check_keys
from mlops_assets.graph.kernel.dagster_internals import newest_checks, stopped_sensors
from mlops_assets.graph.kernel.dagster_storage import EventLogDown, opened_to_read
from mlops_assets.graph.landing import landing_check_keys
from mlops_assets.home_claim import HOME_KEY
from mlops_assets.resources import Resources
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.promotion.promotion_state import PromotionState
    from mlops_assets.serving.client import Served

THREADS = 16  # that wait for servers: one that hangs takes 2 s


@contextmanager
def readable_event_log(home: Home) -> Generator[tuple[dg.DagsterInstance | None, list[str]]]:
    """That of the home's own platform, or else of DAGSTER_HOME, as in a pod. None where neither has one, and with the problem
    where it cannot be read.
    """
    instance, problems, folder = None, list[str](), _event_log_folder(home)
    with ExitStack() as opened:
        if folder:
            try:
                instance = opened.enter_context(opened_to_read(folder))
                instance.get_run_records(limit=1)
                _require_own(home, instance)
            except Exception as error:  # dagster-postgres raises an error of its own; what is no outage is raised again
                # EventLogDown has the cause in its words.
                outage = "" if isinstance(error, EventLogDown) else describe_outage(error)
                if not outage and not isinstance(error, (OSError, SQLAlchemyError, dg.DagsterError, HomeInUse, EventLogDown)):
                    raise
                problems.append(f"runs: {folder} cannot be read: {outage or str(error).partition(chr(10))[0]}")
                instance = None
        yield instance, problems


def _event_log_folder(home: Home) -> Path | None:
    elsewhere = os.environ.get("DAGSTER_HOME")
    folders = [home.dagster, *([Path(elsewhere)] if elsewhere else [])]
    return next((folder for folder in folders if (folder / "dagster.yaml").exists()), None)


def _require_own(home: Home, instance: dg.DagsterInstance) -> None:
    """Raises HomeInUse where the event log has the runs of another home."""
    if recorded := instance.daemon_cursor_storage.get_cursor_values({HOME_KEY}).get(HOME_KEY):
        require_event_log(home.root, Path(instance.root_directory).resolve(), recorded, creates_id=False)


@dataclass(frozen=True)
class History:
    """What the event log has of all use cases, read at once."""

    instance: dg.DagsterInstance | None
    accepted_at: Mapping[tuple[str, str], float]  # by use case and table
    checks: Mapping[dg.AssetCheckKey, Any]
    failed: Sequence[dg.DagsterRun]
    stopped: Collection[str]  # sensors

    @classmethod
    def read(cls, instance: dg.DagsterInstance | None, use_cases: Sequence[UseCase]) -> "History":
        if instance is None:
            return cls(None, {}, {}, (), ())
        tables = {
            dg.AssetKey(names.validated(one.name, source.table)): (one.name, source.table)
            for one in use_cases
            for source in one.sources
        }
        made = {tables[record.asset_entry.asset_key]: record.asset_entry for record in instance.get_asset_records([*tables])}
        accepted = {
            key: entry.last_materialization_record.timestamp for key, entry in made.items() if entry.last_materialization_record
        }
        keys = [key for one in use_cases for key in (*check_keys(one).values(), *landing_check_keys(one))]
        return cls(instance, accepted, newest_checks(instance, keys), read_failed_runs(instance), stopped_sensors(instance))

    def newest_accepted(self, use_case: str) -> float | None:
        """The time of the epoch at which a table of the use case last took a file."""
        return max((at for (name, _), at in self.accepted_at.items() if name == use_case), default=None)


class Servers(NamedTuple):
    """What the ledger says of one use case, what its live servers serve, and where the two differ."""

    state: "PromotionState"
    served: "Sequence[Served]"
    difference: str  # between ledger and plan; empty where they agree
    problems: Sequence[str]


def read_servers(use_case: UseCase, resources: Resources) -> Servers:
    from mlops_assets.promotion.promotions import Promotions
    from mlops_assets.serving.client import Served, no_server

    ledger, deployment, keys = resources["ledger"], resources["deployment"], resources["signing_keys"]
    promotions = Promotions(use_case, ledger.open(), deployment.open(use_case.name), keys.open())
    served, state = list[Served](), promotions.state()
    for service in resources["live_services"].open(use_case.name):
        with service:
            served.append(service.follows(use_case.name, lambda: state.plan, 0))
    difference = promotions.difference() or ""
    store = resources["feature_store"].outage(use_case)
    problems = [*(server.problem for server in served), no_server(use_case.name, served), difference, store]
    return Servers(state, served, difference, [problem for problem in problems if problem])
