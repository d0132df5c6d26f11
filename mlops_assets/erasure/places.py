"""Every place that may hold rows of one subject, in the order in which they are erased."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mlops_assets.erasure.landed_lines import LandedLines
from mlops_assets.erasure.log_redaction import LoggedRows
from mlops_assets.erasure.online import FeastRows, MirrorKeys
from mlops_assets.erasure.subject_matcher import SubjectMatcher
from mlops_assets.erasure.tables import OlderFiles, ParquetRows, TableLog, TableRows
from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables
from mlops_assets.foundation.home import Home
from mlops_assets.ingestion.landing import Landing
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.features.feast.feature_store import FeatureStore
    from mlops_assets.promotion.ledger import Ledger
    from mlops_assets.training.model_registry import ModelRegistry


class Erasable(Protocol):
    """Rows that can be counted and erased for good; erasing again is safe, and finishes what a kill has interrupted."""

    def count(self) -> int: ...

    def erase(self) -> None: ...


@dataclass(frozen=True)
class Stores:
    """What the platform keeps under one home, and its ledger."""

    home: Home
    landing: Landing
    tables: DeltaTables
    features: "FeatureStore"
    registry: "ModelRegistry"
    ledger: "Ledger"


def places_of(use_case: UseCase, matcher: SubjectMatcher, stores: Stores) -> Iterator[tuple[str, Erasable]]:
    """Tables before the online stores, which are filled from them; the landed files last, as a change there starts runs."""
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


def what_is_left(use_case: UseCase, matcher: SubjectMatcher, rows: dict[str, int]) -> Iterator[str]:
    """What names or counts the subject and cannot be erased row by row; `rows` are those found by place."""
    tagged = {contract.table for contract in use_case.contracts if matcher.columns & set(contract.names)}
    views = [view for view in use_case.features.views if tagged & {*view.tables} and not matcher.columns & {*view.entity}]
    if sums := ", ".join(f"feature/{view.name}" for view in views):
        yield f"{sums}: sums over many, of which these rows were part until their days are filled again."
    if inputs := ", ".join(sorted(matcher.columns & set(use_case.features.inputs))):
        yield f"models, their profiles and reports: {inputs} is an input, whose values a model keeps."
    if any(name.startswith("quarantine/") for name in rows):
        yield "Dagster's event log: a run shows up to five of the rows that it put into quarantine. Wipe those runs."
