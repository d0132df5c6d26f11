"""Forgets one subject: counts its rows in every store, records that in the ledger, erases them, and counts again."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from mlops_assets.erasure.landed_lines import LandedLines
from mlops_assets.erasure.log_redaction import LoggedRows
from mlops_assets.erasure.online import FeastRows, MirrorKeys
from mlops_assets.erasure.subject import Erasable, Subject, SubjectMatcher
from mlops_assets.erasure.tables import OlderFiles, ParquetRows, TableLog, TableRows
from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables, VersionGone
from mlops_assets.foundation.home import Home
from mlops_assets.ingestion.landing import Landing
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.features.feast.feature_store import FeatureStore
    from mlops_assets.promotion.ledger import Ledger
    from mlops_assets.promotion.ledger_chain import Record
    from mlops_assets.training.model_registry import ModelRegistry


@dataclass(frozen=True)
class Stores:
    """Every store of one home, and its ledger."""

    home: Home
    landing: Landing
    tables: DeltaTables
    features: "FeatureStore"
    registry: "ModelRegistry"
    ledger: "Ledger"


@dataclass(frozen=True)
class Found:
    """`rows` above 0 by store; model versions that were trained on them, and those whose training table is gone, so that
    they may have been; what cannot be erased. The field names are keys in the ledger.
    """

    rows: dict[str, int]
    trained_on: list[int]
    possibly_trained_on: list[int]
    left: list[str]


@dataclass(frozen=True)
class Forgotten:
    """`record` is None where no row was found. `still` are rows by store that were written meanwhile: forget again."""

    found: Found
    record: "Record | None"
    still: dict[str, int]


def look_for(use_case: UseCase, subject: Subject, stores: Stores) -> Found:
    """Counts only."""
    rows = _count(use_case, subject, stores)
    trained, possibly = _trained_on(use_case, subject.matcher, stores)
    return Found(rows, trained, possibly, [*_list_remains(use_case, subject.matcher, rows)])


def forget_subject(use_case: UseCase, subject: Subject, stores: Stores, *, why: str, by: str, at: datetime) -> Forgotten:
    """Erases every row of the subject; versions of a table that contained one can no longer be read.

    After a kill the next call completes it, and records what it still finds. Raises LedgerDown, OnlineStoreDown,
    UnknownFeatures.
    """
    found, record = look_for(use_case, subject, stores), None
    if found.rows:  # the record comes first, so that nothing is erased without one
        body = {"tag": subject.tag, "entity": subject.entity, "subject": subject.digest, "why": why, **asdict(found)}
        record = stores.ledger.append(use_case.name, "erasure", body, by=by, at=at)
    for _, rows in _list_stores(use_case, subject.matcher, stores):
        rows.erase()
    return Forgotten(found, record, _count(use_case, subject, stores))


def _count(use_case: UseCase, subject: Subject, stores: Stores) -> dict[str, int]:
    counts = {name: rows.count() for name, rows in _list_stores(use_case, subject.matcher, stores)}
    return {name: count for name, count in counts.items() if count}


def _list_stores(use_case: UseCase, matcher: SubjectMatcher, stores: Stores) -> Iterator[tuple[str, Erasable]]:
    """In the order of erasure: tables before online stores, which are filled from them; landed files last, as they start runs."""
    for asset in stores.tables.assets(use_case.name):
        name, path = "/".join(asset[1:]), stores.tables.path(asset)
        yield name, TableRows(path, matcher)
        yield f"{name} (older versions)", OlderFiles(path, matcher)
        yield f"{name} (log)", TableLog(path, matcher)
    yield "prediction_log", LoggedRows(stores.home.prediction_log / use_case.name, matcher)
    yield "shadow_log", LoggedRows(stores.home.shadow_log / use_case.name, matcher)
    views = tuple(view.name for view in use_case.features.views)
    yield "online store", FeastRows(stores.features, views, matcher)
    yield "online mirrors", MirrorKeys(stores.features, views, matcher)
    yield "training samples", ParquetRows(stores.registry.artifacts(names.experiment(use_case.name)), matcher)
    for contract in use_case.contracts:
        yield f"landing/{contract.table}", LandedLines(stores.landing, use_case.name, contract, matcher)


def _list_remains(use_case: UseCase, matcher: SubjectMatcher, rows: dict[str, int]) -> Iterator[str]:
    """What names or counts the subject and cannot be erased row by row."""
    tagged = {contract.table for contract in use_case.contracts if matcher.columns & set(contract.names)}
    views = [view for view in use_case.features.views if tagged & {*view.tables} and not matcher.columns & {*view.entity}]
    if sums := ", ".join(f"feature/{view.name}" for view in views):
        yield f"{sums}: aggregates that include these rows until their days are materialized again."
    if inputs := ", ".join(sorted(matcher.columns & set(use_case.features.inputs))):
        yield f"models, their profiles and reports: {inputs} is an input, and a model stores values of its inputs."
    if any(name.startswith("quarantine/") for name in rows):
        yield "Dagster's event log: the metadata of a run shows up to five quarantined rows. Wipe those runs."


def _trained_on(use_case: UseCase, matcher: SubjectMatcher, stores: Stores) -> tuple[list[int], list[int]]:
    """Model versions whose training table contains the subject, and those for which that cannot be read any more."""
    models = stores.registry.versions(names.registered_model(use_case.name))
    tables = {model.version: model.tags.get("table.training_set") for model in models}
    holds = {table: _holds_subject(use_case, matcher, stores, table) for table in {*tables.values()}}
    return [model for model, table in tables.items() if holds[table]], [m for m, table in tables.items() if holds[table] is None]


def _holds_subject(use_case: UseCase, matcher: SubjectMatcher, stores: Stores, version: str | None) -> bool | None:
    try:
        rows = stores.tables.read_version(names.stage(use_case.name, "training_set"), int(version or -1))
    except VersionGone:
        return None
    return not rows.filter(matcher.is_in_rows(rows.schema)).is_empty() if matcher.columns & {*rows.columns} else None
