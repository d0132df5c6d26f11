"""Any estimator of scikit-learn that skl2onnx exports."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper
from sklearn.base import is_classifier, is_regressor
from threadpoolctl import threadpool_limits

from mlops_assets.spec.training import SklearnEstimator
from mlops_assets.tasks.task import Task
from mlops_assets.training.fitted import THREADS, Examples, History, Progress
from mlops_assets.training.imported import UnusableTrainer, build
from mlops_assets.training.signature import INPUT, Signature
from mlops_assets.training.trainers.estimator import OPSET, FittedEstimator, convert_estimator, offsets_of, training_loss

PROBE_ROWS = 200
MOST_FLAGS = 64  # of one category: the flags of 50,000 places would not fit into memory
LEGAL = {
    True: "LogisticRegression, RandomForestClassifier, ExtraTreesClassifier, MLPClassifier, GaussianNB, KNeighborsClassifier",
    False: "Ridge, ElasticNet, RandomForestRegressor, ExtraTreesRegressor, MLPRegressor, KNeighborsRegressor",
}
"""Examples that export, by whether the task needs a classifier."""


@dataclass(frozen=True)
class Table:
    """Encoded rows as the flat table of numbers that an estimator reads: for each number its standard score, 0 where it is
    missing, and 1 where it is missing; for each category 1 at the place of its code. In float32, as the same steps in ONNX. The
    codes of a category with more than MOST_FLAGS are numbers, in the order of the label rate.
    """

    numbers: NDArray[np.int64]  # columns of the encoded rows
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    columns: NDArray[np.int64]  # of each flag of a category, and the code for which it is 1
    values: NDArray[np.float32]

    @classmethod
    def of(cls, features: NDArray[np.float32], signature: Signature) -> "Table":
        first = len(signature.numeric)
        counts = {first + place: len(values) + 1 for place, values in enumerate(signature.categories.values())}
        numbers = np.array([*range(first), *(column for column, count in counts.items() if count > MOST_FLAGS)], np.int64)
        known = [column[~np.isnan(column)] for column in np.asarray(features[:, numbers], np.float64).T]
        mean = [column.mean() if len(column) else 0.0 for column in known]
        scale = [(column.std() if len(column) else 0.0) or 1.0 for column in known]
        flags = [(column, code) for column, count in counts.items() if count <= MOST_FLAGS for code in range(count)]
        columns, values = np.array([column for column, _ in flags], np.int64), np.array([code for _, code in flags], np.float32)
        return cls(numbers, np.array(mean, np.float32), np.array(scale, np.float32), columns, values)

    @property
    def width(self) -> int:
        return 2 * len(self.numbers) + len(self.columns)

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        numbers = features[:, self.numbers]
        missing = np.isnan(numbers)
        scores = np.where(missing, np.float32(0), (numbers - self.mean) / self.scale)
        return np.concatenate([scores, missing, features[:, self.columns] == self.values], axis=1).astype(np.float32)

    def to_onnx(self, inputs: int) -> onnx.ModelProto:
        constants = {**vars(self), "zero": np.float32(0)}
        steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
            ("Gather", [INPUT, "numbers"], "raw", {"axis": 1}), ("IsNaN", ["raw"], "missing", {}),
            ("Sub", ["raw", "mean"], "centred", {}), ("Div", ["centred", "scale"], "score", {}),
            ("Where", ["missing", "zero", "score"], "known", {}),
            ("Cast", ["missing"], "flags", {"to": TensorProto.FLOAT}), ("Gather", [INPUT, "columns"], "codes", {"axis": 1}),
            ("Equal", ["codes", "values"], "hits", {}), ("Cast", ["hits"], "places", {"to": TensorProto.FLOAT}),
            ("Concat", ["known", "flags", "places"], "table", {"axis": 1}),
        ]  # fmt: skip
        graph = helper.make_graph(
            [helper.make_node(kind, inputs, [output], **more) for kind, inputs, output, more in steps],
            "table",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, inputs])],
            [helper.make_tensor_value_info("table", TensorProto.FLOAT, [None, self.width])],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*pair) for pair in OPSET.items()])
        return compose.add_prefix(model, "rows_", rename_inputs=False)  # the other half has names of its own


def train(
    trainer: SklearnEstimator, task: Task[Any], *, signature: Signature, train: Examples, validation: Examples, progress: Progress
) -> FittedEstimator:
    """On training and validation rows together. Raises UnusableTrainer, before the long training, for an estimator that cannot be
    built, fitted or exported.
    """
    rows = train + validation
    with threadpool_limits(limits=THREADS):
        _probe(trainer, task, signature, train)
        part = partial(_fit, trainer, task, signature, train)
        offsets = offsets_of(task, part, validation=validation, progress=progress)
        progress(f"{trainer.estimator} on {len(rows)} rows")
        fitted = replace(_fit(trainer, task, signature, rows), offsets=offsets)
    return replace(fitted, measured=partial(_history, fitted, rows))


def _history(fitted: FittedEstimator, rows: Examples) -> History:
    with threadpool_limits(limits=THREADS):
        return [{"train_loss": training_loss(fitted, rows)}]


def _fit(trainer: SklearnEstimator, task: Task[Any], signature: Signature, rows: Examples) -> FittedEstimator:
    model, table = _build(trainer, task), Table.of(rows.features, signature)
    export = partial(_convert, model, table, len(signature.inputs))
    if is_classifier(model):
        _learn(trainer, model, table(rows.features), rows.label.astype(np.int64))
        return FittedEstimator(model, task, signature, lambda some: model.predict_proba(table(some)), lambda: _clipped(export()))
    # Penalties and solvers expect labels around 0: MLPRegressor misses one of 1000 to 1100 by 770.
    mean, scale = float(rows.label.mean()), float(rows.label.std()) or 1.0
    _learn(trainer, model, table(rows.features), (rows.label - mean) / scale)

    def predict(features: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(model.predict(table(features)), np.float64).reshape(-1) * scale + mean

    return FittedEstimator(model, task, signature, predict, lambda: _in_units(export(), mean, scale))


def _learn(trainer: SklearnEstimator, model: Any, features: NDArray[np.float32], label: NDArray[Any]) -> None:
    try:
        model.fit(features, label)
    except (ValueError, TypeError) as error:
        found = f"it cannot be fitted to {len(label)} rows: {error}"
        raise UnusableTrainer(f"SklearnEstimator · {trainer.estimator} · {found}. Correct its arguments.") from error


def _build(trainer: SklearnEstimator, task: Task[Any]) -> Any:
    model = build(trainer)
    needed = task.ACTIVATION != "identity"
    legal = f"legal: one such as {LEGAL[needed]}. Declare another estimator."
    where = f"SklearnEstimator · {trainer.estimator}"
    if not (is_classifier if needed else is_regressor)(model):
        kind, noun = type(task.declared).__name__, "classifier" if needed else "regressor"
        raise UnusableTrainer(f"{where} · {kind} needs a {noun}, which it is not; {legal}")
    if needed and not hasattr(model, "predict_proba"):
        raise UnusableTrainer(f"{where} · it has no predict_proba, and so no probabilities; {legal}")
    if "random_state" in model.get_params() and "random_state" not in trainer.arguments:
        model.set_params(random_state=trainer.seed)
    return model


def _probe(trainer: SklearnEstimator, task: Task[Any], signature: Signature, rows: Examples) -> None:
    """Fits and exports the estimator on a few rows of every label."""
    step = max(1, len(rows) // PROBE_ROWS)
    order = np.argsort(rows.label, kind="stable")
    few = np.union1d(order[::step], np.unique(rows.label, return_index=True)[1])
    needed = task.ACTIVATION != "identity"
    try:
        fitted = _fit(trainer, task, signature, Examples(rows.features[few], rows.label[few]))
    except UnusableTrainer:
        return  # a cross-validating estimator needs more rows of each class; the training itself has the last word
    try:
        fitted.convert()
    except Exception as error:  # skl2onnx has errors of many classes
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        legal = f"legal: one such as {LEGAL[needed]}. Declare another estimator."
        raise UnusableTrainer(f"SklearnEstimator · {trainer.estimator} · skl2onnx cannot export it: {reason}; {legal}") from error


def _convert(model: Any, table: Table, inputs: int) -> onnx.ModelProto:
    before, after = table.to_onnx(inputs), convert_estimator(model, name="estimator", input="inputs", width=table.width)
    # skl2onnx writes for OPSET, and states the oldest versions with the same operators.
    before.ir_version = after.ir_version
    del after.opset_import[:]
    after.opset_import.extend(before.opset_import)
    merged = compose.merge_models(before, after, io_map=[(before.graph.output[0].name, "inputs")])
    _rename(merged.graph, {INPUT: INPUT})
    return merged


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Numbers all names in their order: skl2onnx counts over the whole process, and the same model gets other bytes each time."""

    def number(name: str) -> str:
        return names.setdefault(name, f"value_{len(names)}") if name else ""

    graph.name = "estimator"
    del graph.value_info[:]
    for named in (*graph.input, *graph.initializer, *graph.output):
        named.name = number(named.name)
    for node in graph.node:
        node.name = ""
        node.input[:], node.output[:] = map(number, node.input), map(number, node.output)
        for attribute in (attribute for attribute in node.attribute if attribute.HasField("g")):
            _rename(attribute.g, names)


def _clipped(model: onnx.ModelProto) -> onnx.ModelProto:
    """Probabilities within 0 and 1: the sum over 30 trees in float32 is 1.0000001."""
    graph, probabilities = model.graph, model.graph.output[-1]
    graph.initializer.extend(
        numpy_helper.from_array(np.array(n, np.float32), name) for name, n in {"never": 0, "sure": 1}.items()
    )
    graph.node.append(helper.make_node("Clip", [probabilities.name, "never", "sure"], ["clipped"]))
    clipped = graph.output.add()
    clipped.CopyFrom(probabilities)
    clipped.name = "clipped"
    return model


def _in_units(model: onnx.ModelProto, mean: float, scale: float) -> onnx.ModelProto:
    """Standard scores of the label as numbers in its units."""
    constants = {"label_scale": scale, "label_mean": mean}
    model.graph.initializer.extend(numpy_helper.from_array(np.array([n], np.float32), name) for name, n in constants.items())
    steps = {"Mul": (model.graph.output[-1].name, "label_scale", "scaled"), "Add": ("scaled", "label_mean", "in_units")}
    model.graph.node.extend(helper.make_node(kind, names[:2], names[2:]) for kind, names in steps.items())
    model.graph.output.append(helper.make_tensor_value_info("in_units", TensorProto.FLOAT, [None, 1]))
    return model
