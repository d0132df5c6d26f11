"""Trains a registered version again from its record, and measures the difference where it is another model."""

from dataclasses import dataclass

import polars as pl

from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import DeltaTables, VersionGone
from mlops_assets.promotion.ledger import Ledger, LedgerDown
from mlops_assets.provenance.model_distance import Distance, measure_distance
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
    """The recorded version of the training table has other rows than the model was trained on."""


# Every reason why a version cannot be reproduced; each message has its remedy.
NOT_REPRODUCIBLE = (NotRegistered, ModelAltered, NotRecorded, VersionGone, OtherRows, UntrainableRows, UnreadableRows, LedgerDown)


@dataclass(frozen=True)
class Reproduced:
    """One version trained again. Digests are SHA-256 in hex; `distance` is None where they are equal.

    `changed` lists code, libraries and machine that differ from those of the first training.
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
    """Trains a version again on its recorded rows with its recorded trainer. Raises one of NOT_REPRODUCIBLE."""
    model_name, where = names.registered_model(use_case.name), f"{use_case.name} · version {version}"
    onnx = registry.load(model_name, version)
    record = next(model.tags for model in registry.versions(model_name) if model.version == version)
    trainer, table_version = read_trainer(record, where), record.get(TABLE, "")
    if not table_version.isdecimal():
        message = f"the record of its training has {TABLE} {table_version!r}; legal: a version from 0. Train it again."
        raise NotRecorded(f"{where} · {message}")
    rows = in_training_order(_read_rows(use_case, tables, int(table_version), ledger), use_case)
    if other := changes(record, record_rows(rows)):
        differences = ", ".join(f"{change.name} {change.now} instead of {change.then}" for change in other)
        source = f"{where} · version {table_version} of its training_set"
        raise OtherRows(f"{source} has {differences}: the table was created again. Train the model again.")
    signature, label = OnnxModel.from_bytes(onnx).signature, use_case.label.name
    inputs, categories = signature.numeric, tuple(signature.categories)
    again = fit(trainer, rows, numeric=inputs, categorical=categories, label=label, progress=progress).onnx
    return Reproduced(
        use_case=use_case.name,
        version=version,
        table_version=int(table_version),
        digest=digest(onnx),
        again=digest(again),
        distance=None if again == onnx else measure_distance(onnx, again, rows.filter(split=TEST), label),
        changed=changes(record, record_surroundings(use_case, trainer)),
    )


def _read_rows(use_case: UseCase, tables: DeltaTables, version: int, ledger: Ledger) -> pl.DataFrame:
    try:
        return tables.read_version(names.stage(use_case.name, "training_set"), version)
    except VersionGone as error:
        erasures = [record for record in ledger.records(use_case.name) if record.kind == "erasure"]
        reasons = "; ".join(f"record {record.number} by {record.by}, {record.at}" for record in erasures)
        raise VersionGone(f"{error} Erasures in the ledger: {reasons or 'none'}.") from None
