"""Trains a registered version again from its record, and lists what changed where the model differs."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables, VersionGone
from mlops_assets.promotion.ledger import Ledger, LedgerDown
from mlops_assets.provenance.model_distance import Distance, distance
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.fitted import TEST, Progress, UntrainableRows
from mlops_assets.training.model_registry import ModelAltered, ModelRegistry, NotRegistered
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.training.signature import UnreadableRows, digest
from mlops_assets.training.train import fit
from mlops_assets.training.training_record import (
    Changed,
    NotRecorded,
    changes,
    in_training_order,
    read_trainer,
    record_rows,
    record_surroundings,
)

TABLE = "table.training_set"


class OtherRows(ValueError):
    """The recorded version of the training table holds other rows than the model was trained on."""


NOT_REPRODUCIBLE = (NotRegistered, ModelAltered, NotRecorded, VersionGone, OtherRows, UntrainableRows, UnreadableRows, LedgerDown)
"""What stands in the way, each with its remedy."""


@dataclass(frozen=True)
class Reproduced:
    """One version trained again. Digests are SHA-256 in hex; `distance` is None where they are the same.

    `changed` is what is not as it was at the first training: code, libraries, machine.
    """

    use_case: str
    version: int
    table_version: int
    digest: str
    again: str
    distance: Distance | None
    changed: tuple[Changed, ...]

    @property
    def is_good(self) -> bool:
        """The same bytes, or a model within the tolerance."""
        return self.distance is None or self.distance.is_within


def reproduce(
    use_case: UseCase, version: int, *, registry: ModelRegistry, tables: DeltaTables, ledger: Ledger, progress: Progress
) -> Reproduced:
    """Trains version `version` again on the rows that it was trained on, with the trainer that it was trained by.

    Raises one of NOT_REPRODUCIBLE.
    """
    model_name = names.registered_model(use_case.name)
    onnx = registry.load(model_name, version)
    record = next(each.tags for each in registry.versions(model_name) if each.version == version)
    where = f"{use_case.name} · version {version}"
    trainer, table_version = read_trainer(record, where), _table_version(record, where)
    rows = in_training_order(_rows(use_case, tables, table_version, ledger), use_case)
    _demand_same(rows, record, f"{where} · version {table_version} of its training_set")
    signature, label = OnnxModel.from_bytes(onnx).signature, use_case.label.name
    inputs, categories = signature.numeric, tuple(signature.categories)
    again = fit(trainer, rows, numeric=inputs, categorical=categories, label=label, progress=progress).onnx
    return Reproduced(
        use_case=use_case.name,
        version=version,
        table_version=table_version,
        digest=digest(onnx),
        again=digest(again),
        distance=None if again == onnx else distance(onnx, again, rows.filter(split=TEST), label),
        changed=changes(record, record_surroundings(use_case, trainer)),
    )


def _table_version(record: Mapping[str, str], where: str) -> int:
    found = record.get(TABLE, "")
    if not found.isdecimal():
        raise NotRecorded(f"{where} · the record of its training has {TABLE} {found!r}; legal: a version from 0. Train it anew.")
    return int(found)


def _rows(use_case: UseCase, tables: DeltaTables, version: int, ledger: Ledger) -> pl.DataFrame:
    try:
        return tables.read_version(names.stage(use_case.name, "training_set"), version)
    except VersionGone as error:
        erased = [
            f"record {each.number} by {each.by}, {each.at}" for each in ledger.records(use_case.name) if each.kind == "erasure"
        ]
        raise VersionGone(f"{error} Erasures in the ledger: {'; '.join(erased) or 'none'}.") from None


def _demand_same(rows: pl.DataFrame, record: Mapping[str, str], where: str) -> None:
    if other := changes(record, record_rows(rows)):
        said = ", ".join(f"{each.name} {each.now} instead of {each.then}" for each in other)
        raise OtherRows(f"{where} holds {said}: the table was made anew. Train it anew.")
