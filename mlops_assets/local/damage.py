"""What is wrong with a home before a platform starts on it, a line each with what to do. Reads only."""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from mlops_assets.foundation.home import MARKS, Environment
from mlops_assets.promotion.blessing import UnblessedModel
from mlops_assets.promotion.deployment import Deployment, UnknownVersion, UnreadablePlan
from mlops_assets.promotion.ledger import Ledger, LedgerDown
from mlops_assets.promotion.ledger_chain import DamagedLedger
from mlops_assets.promotion.promotions import Promotions
from mlops_assets.promotion.signing_keys import SigningKeys, UnusableKey
from mlops_assets.serving.http.api_keys import ApiKeys, UnreadableApiKeys
from mlops_assets.use_cases import USE_CASES

BUSY_S = 30
# Dagster's runs, events and schedules, and MLflow; the ledger opens its own.
DATABASES = ("dagster/history/*.db", "dagster/history/runs/index.db", "dagster/schedules/*.db", "mlflow/mlflow.db")
ERRORS = (DamagedLedger, LedgerDown, UnusableKey, UnreadableApiKeys)


def find_damage(environment: Environment) -> list[str]:
    """What no platform starts with. A new home, and what the rollout sensor repairs, is sound."""
    lines = [*_unwritable(environment)] or [*_unreadable_databases(environment)]
    checks: tuple[Callable[[Environment], Iterable[str]], ...] = (_check_ledger, _check_keys, _disagreeing_plans)
    for check in () if lines else checks:
        try:
            lines += check(environment)
        except ERRORS as error:
            lines.append(str(error))
    return [*dict.fromkeys(lines)]


def find_unservable(environment: Environment) -> Iterator[str]:
    """The versions in force that no server can load. A platform starts with them, as it can train another one."""
    for promotions in _promotions(environment):
        with suppress(LedgerDown):
            state, name = promotions.state(), promotions.use_case.name
            for version in state.plan.versions if state.plan else ():
                try:
                    promotions.deployment.load_blessed(version, promotions.keys, recorded=state.digest_of(version))
                except (UnblessedModel, UnknownVersion, OSError) as error:
                    remedy = f"Restore deployments/{name}/models/{version} from a backup, or run `mlops rollback {name}`"
                    yield f"{name} · version {version} cannot serve: {error} {remedy}."


def _unwritable(environment: Environment) -> Iterator[str]:
    root = environment.home.root
    for folder in (root, *(root / name for name in MARKS)):
        if folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            problem = "cannot be written by this user" if folder.is_dir() else "is a file, not a folder"
            yield f"MLOPS_HOME · {folder} {problem}. Make it a writable folder, or set MLOPS_HOME to another one."


def _unreadable_databases(environment: Environment) -> Iterator[str]:
    for file in (file for pattern in DATABASES for file in sorted(environment.home.root.glob(pattern))):
        if problem := _fault(file):
            what = "every run, metric and registered version" if file.name == "mlflow.db" else "the history of runs"
            yield f"{file} · {problem}; it has {what}. Restore it from its newest backup, or move it away to begin a new one."


def _fault(file: Path) -> str | None:
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=BUSY_S)) as connection:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        return f"cannot be read: {error}"
    return None if verdict == "ok" else f"is damaged: {' '.join(verdict.split())}"


def _check_ledger(environment: Environment) -> tuple[str, ...]:
    ledger = Ledger(environment.ledger_url)
    ledger.require_if_trained()
    try:
        for use_case in ledger.use_cases():
            ledger.records(use_case)
    except LedgerDown:
        if not environment.postgres_url:  # servers run without a database that is down, and it comes back
            raise
    return ()


def _check_keys(environment: Environment) -> tuple[str, ...]:
    keys = SigningKeys(environment.home.keys, environment.signing_key)
    keys.current()
    keys.public()
    ApiKeys(environment.home.keys).entries()
    return ()


def _disagreeing_plans(environment: Environment) -> Iterator[str]:
    for promotions in _promotions(environment):
        with suppress(UnreadablePlan, LedgerDown):
            plan, published = promotions.state().plan, promotions.deployment.plan()
            if published is None or (plan and published.number < plan.number):
                continue  # the rollout sensor publishes it
        with suppress(LedgerDown):
            if difference := promotions.difference():
                yield f"{promotions.use_case.name} · plan and ledger disagree: {difference}"


def _promotions(environment: Environment) -> Iterator[Promotions]:
    ledger, keys = Ledger(environment.ledger_url), SigningKeys(environment.home.keys, environment.signing_key)
    for use_case in USE_CASES:
        yield Promotions(use_case, ledger, Deployment(environment.home.deployments, use_case.name), keys)
