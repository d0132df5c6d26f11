"""Every place in which rows of one subject may lie, by name, in the order in which they are erased.

Belongs here: which places there are, and what is left where. Not here: how rows are found and erased (ports/).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from mlops_assets import names
from mlops_assets.ports.blanked_lines import LoggedRows
from mlops_assets.ports.delta_tables import DeltaTables
from mlops_assets.ports.erasable_online import online_rows
from mlops_assets.ports.erasable_tables import OlderFiles, TableRows
from mlops_assets.ports.home import Home
from mlops_assets.ports.landing import Landing
from mlops_assets.ports.parquet_rows import ParquetRows
from mlops_assets.ports.sought import Sought
from mlops_assets.spec.contract import Contract
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.ports.feature_store import FeatureStore
    from mlops_assets.ports.ledger import Ledger
    from mlops_assets.ports.model_registry import ModelRegistry


class Erasable(Protocol):
    """Rows that can be counted and erased for good; erasing again is safe, and finishes what a kill has interrupted."""

    def count(self) -> int: ...

    def erase(self) -> None: ...


@dataclass(frozen=True)
class Place:
    """`name` as an asset is named, without the use case: validated/orders."""

    name: str
    rows: Erasable


@dataclass(frozen=True)
class Stores:
    """What the platform keeps below one home, and its ledger."""

    home: Home
    landing: Landing
    tables: DeltaTables
    features: "FeatureStore"
    registry: "ModelRegistry"
    ledger: "Ledger"


@dataclass(frozen=True)
class _LandedLines:
    landing: Landing
    use_case: str
    contract: Contract
    sought: Sought

    def count(self) -> int:
        return self.landing.count(self.use_case, self.contract, self.sought)

    def erase(self) -> None:
        self.landing.erase(self.use_case, self.contract, self.sought)


def places_of(use_case: UseCase, sought: Sought, stores: Stores, *, at: datetime) -> list[Place]:
    """Tables before the online stores, which are filled from them; the landed files last, for a change there starts runs."""
    views = [view.name for view in use_case.features.views]
    online, mirrors = online_rows(stores.features, views, sought)
    samples = stores.registry.artifacts(names.experiment(use_case.name))
    return [
        *_tables(use_case, sought, stores.tables, at),
        Place("prediction_log", LoggedRows(stores.home.prediction_log / use_case.name, sought)),
        Place("shadow_log", LoggedRows(stores.home.shadow_log / use_case.name, sought)),
        Place("online store", online),
        Place("online mirrors", mirrors),
        Place("training samples", ParquetRows(samples, sought)),
        *_landed(use_case, sought, stores.landing),
    ]


def _tables(use_case: UseCase, sought: Sought, tables: DeltaTables, at: datetime) -> Iterator[Place]:
    for asset in tables.assets(use_case.name):
        name, path = "/".join(asset[1:]), tables.path(asset)
        yield Place(name, TableRows(path, sought))
        yield Place(f"{name} (older versions)", OlderFiles(path, sought, at))


def _landed(use_case: UseCase, sought: Sought, landing: Landing) -> Iterator[Place]:
    for contract in use_case.contracts:
        yield Place(f"landing/{contract.table}", _LandedLines(landing, use_case.name, contract, sought))


def what_is_left(use_case: UseCase, sought: Sought, rows: dict[str, int]) -> list[str]:
    """What names or counts the subject and cannot be erased row by row, given how many rows were found where."""
    left: list[str] = []
    if summed := [f"feature/{view}" for view in _summed(use_case, sought)]:
        left.append(f"{', '.join(summed)}: sums over many, of which these rows were part until their days are filled again.")
    if read := sorted(sought.columns & set(use_case.features.inputs)):
        left.append(f"models, their profiles and reports: {', '.join(read)} is an input, whose values a model keeps.")
    if any(name.startswith("quarantine/") for name in rows):
        left.append("Dagster's event log: a run shows up to five of the rows that it put into quarantine. Wipe those runs.")
    return left


def _summed(use_case: UseCase, sought: Sought) -> list[str]:
    """Views made from tables with these rows, and not kept by their subject."""
    tagged = {contract.table for contract in use_case.contracts if sought.columns & set(contract.names)}
    return [view.name for view in use_case.features.views if tagged & {*view.tables} and not sought.columns & {*view.entity}]
