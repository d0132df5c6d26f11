"""Trains a registered version again from its record, and measures the difference where it is another model."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.foundation import names
from mlops_assets.foundation.delta_tables import VersionGone
from mlops_assets.provenance.why import Stores
from mlops_assets.spec.gate import IN_UNITS
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training import training_record
from mlops_assets.training.digest import digest
from mlops_assets.training.fitted import TEST, Progress
from mlops_assets.training.model_registry import ModelRegistry
from mlops_assets.training.onnx_model import OnnxModel
from mlops_assets.training.signature import Columns
from mlops_assets.training.train import fit, training_columns
from mlops_assets.training.training_record import Changed, NotRecorded

TABLE = "table.training_set"
# What chance makes of any metric on the test rows: four seeds of the declared network on two months of flights differ by
# 0.006 in auc, 0.001 in brier, 0.004 in log_loss and 0.012 in ece. Of a metric in units of the label it is a share.
METRIC_TOLERANCE = 0.005


class OtherRows(ValueError):
    """The recorded version of the training table has other rows than the model was trained on."""


@dataclass(frozen=True)
class Distance:
    """`weights` and `output` are the largest absolute differences, over the test `rows`; `weights` is None where the
    structure differs. `metrics` has (then, now) by name.
    """

    rows: int
    weights: float | None
    output: float
    metrics: dict[str, tuple[float, float]]

    @property
    def is_within(self) -> bool:
        """Whether every metric that can be measured is within METRIC_TOLERANCE; False without any."""
        known = {name: both for name, both in self.metrics.items() if np.isfinite(both).all()}
        units = {name: abs(then) if name in IN_UNITS else 1.0 for name, (then, _) in known.items()}
        return bool(known) and all(abs(then - now) <= METRIC_TOLERANCE * units[name] for name, (then, now) in known.items())


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


def reproduce(use_case: UseCase, version: int, stores: Stores, *, registry: ModelRegistry, progress: Progress) -> Reproduced:
    """Trains a version again on its recorded rows with its recorded trainer. Raises NotRegistered, ModelAltered, NotRecorded,
    VersionGone, OtherRows, UntrainableRows, UnreadableRows, LedgerDown.
    """
    model_name, where = names.registered_model(use_case.name), f"{use_case.name} · version {version}"
    onnx = registry.load(model_name, version)
    record = next(model.tags for model in registry.versions(model_name) if model.version == version)
    trainer, table_version = training_record.read_trainer(record, where), record.get(TABLE, "")
    if not table_version.isdecimal():
        message = f"the record of its training has {TABLE} {table_version!r}; legal: a version from 0. Train it again."
        raise NotRecorded(f"{where} · {message}")
    try:
        rows = stores.tables.read_version(names.stage(use_case.name, "training_set"), int(table_version))
    except VersionGone as error:
        erasures = [record for record in stores.ledger.records(use_case.name) if record.kind == "erasure"]
        reasons = "; ".join(f"record {record.number} by {record.by}, {record.at}" for record in erasures)
        raise VersionGone(f"{error} Erasures in the ledger: {reasons or 'none'}.") from None
    rows = training_record.in_training_order(rows, use_case)
    if other := training_record.changes(record, training_record.record_rows(rows)):
        differences = ", ".join(f"{change.name} {change.now} instead of {change.then}" for change in other)
        source = f"{where} · version {table_version} of its training_set"
        raise OtherRows(f"{source} has {differences}: the table was created again. Train the model again.")
    signature, columns = OnnxModel.from_bytes(onnx).signature, training_columns(use_case)
    columns["numeric"], columns["categorical"] = signature.numeric, tuple(signature.categories)
    columns["task"] = columns["task"].as_trained(signature.facts)
    again = fit(trainer, rows, progress=progress, **columns).onnx
    return Reproduced(
        use_case=use_case.name,
        version=version,
        table_version=int(table_version),
        digest=digest(onnx),
        again=digest(again),
        distance=None if again == onnx else measure_distance(onnx, again, rows.filter(split=TEST), columns),
        changed=training_record.changes(record, training_record.record_surroundings(use_case, trainer)),
    )


def measure_distance(then: bytes, now: bytes, test: pl.DataFrame, columns: Columns) -> Distance:
    """Both models on the same `test` rows. Raises NotAModel, UnreadableRows."""
    one, two = (OnnxModel.from_bytes(model).predict(test) for model in (then, now))
    task = columns["task"]
    truth = task.truth(test[columns["label"]])
    first, second = (task.sample(truth, output).measure(task.metrics) for output in (one, two))
    metrics = {name: (first[name], second[name]) for name in task.metrics}
    return Distance(len(test), compare_weights(then, now), float(np.abs(one - two).max(initial=0.0)), metrics)


def compare_weights(then: bytes, now: bytes) -> float | None:
    """The largest absolute difference of any weight; None where names or shapes differ."""
    one, two = dict(_list_weights(then)), dict(_list_weights(now))
    if {name: value.shape for name, value in one.items()} != {name: value.shape for name, value in two.items()}:
        return None
    with np.errstate(invalid="ignore"):  # two infinities differ by 0, and not by nan
        same = {name: np.isclose(one[name], two[name], rtol=0, atol=0, equal_nan=True) for name in one}
        apart = [np.where(same[name], 0.0, np.abs(one[name] - two[name])).max(initial=0.0) for name in one]
    return float(max(apart, default=0.0))


def _list_weights(model: bytes) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Every number in a graph: a network has them in initializers, trees in the attributes of one node."""
    import onnx
    from onnx import helper, numpy_helper

    graph = onnx.load_from_string(model).graph
    for tensor in graph.initializer:
        yield tensor.name, numpy_helper.to_array(tensor).astype(np.float64)
    for place, node in enumerate(graph.node):
        for attribute in node.attribute:
            value: Any = helper.get_attribute_value(attribute)
            array = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
            if array.dtype.kind in "fiu":
                yield f"{place} {node.op_type} {attribute.name}", array.astype(np.float64)
