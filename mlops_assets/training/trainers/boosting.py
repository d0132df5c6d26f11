"""Histogram gradient boosting with scikit-learn, exported by skl2onnx."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, NamedTuple, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import is_classifier
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from mlops_assets.spec.gate import Metric
from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.statistics.metrics import measure
from mlops_assets.tasks.regression import RegressionTask
from mlops_assets.tasks.task import Activation, Task
from mlops_assets.training.fitted import THREADS, Examples, History, Progress
from mlops_assets.training.onnx_file import seal
from mlops_assets.training.signature import INPUT, OUTPUT, Signature

MIN_LEAVES = 20  # the most leaves that a small table can always fill
OPSET = {"": 18, "ai.onnx.ml": 3}  # the newest that skl2onnx's tree converters write without a fallback


class Trees(NamedTuple):
    """An estimator, its training loss, its predictions, and what makes its converted graph one with an output of the task."""

    estimator: Callable[..., Any]
    loss: Metric
    predict: Callable[[Any, NDArray[np.float32]], NDArray[np.float64]]
    finish: Callable[[onnx.ModelProto, tuple[float, ...]], onnx.ModelProto]


@dataclass(frozen=True)
class FittedTrees:
    """Trained trees; see training/fitted.py. `offsets` are those of a task that CALIBRATES."""

    trees: Trees
    model: Any
    signature: Signature
    offsets: tuple[float, ...] = ()
    history: History = field(default_factory=History)

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        output = self.trees.predict(self.model, features)
        return output[:, None] + self.offsets if self.offsets else output

    def to_onnx(self) -> bytes:
        shape = [(INPUT, FloatTensorType([None, len(self.signature.inputs)]))]
        options = {id(self.model): {"zipmap": False}} if is_classifier(self.model) else None
        with warnings.catch_warnings():  # skl2onnx passes protobuf a bool where it wants an int
            warnings.simplefilter("ignore", DeprecationWarning)
            # Without a name the graph gets a random one, and the same trees get other bytes each time.
            converted = convert_sklearn(self.model, name="trees", initial_types=shape, options=options, target_opset=OPSET)
        return seal(self.trees.finish(cast(onnx.ModelProto, converted), self.offsets), self.signature)


def train(
    trainer: HistGradientBoosting,
    task: Task[Any],
    *,
    signature: Signature,
    train: Examples,
    validation: Examples,
    progress: Progress,
) -> FittedTrees:
    """Trees on training and validation rows together: the number of iterations is declared, so nothing needs validating. Before
    that, a task that CALIBRATES needs predictions of the validation rows by trees on the training rows.
    """
    rows, offsets = train + validation, ()
    if task.CALIBRATES:
        progress(f"boosting · calibrating on {len(validation)} rows by {trainer.max_iter} iterations on {len(train)}")
        offsets = task.offsets(validation.label, _fit(trainer, task, signature, train).predict(validation.features))
    progress(f"boosting · {trainer.max_iter} iterations on {len(rows)} rows")
    fitted = replace(_fit(trainer, task, signature, rows), offsets=offsets)
    with threadpool_limits(limits=THREADS, user_api="openmp"):
        loss = measure(fitted.trees.loss, task.sample(rows.label, fitted.predict(rows.features)))
    progress(f"boosting · training loss {loss:.4f}")
    return replace(fitted, history=[{"iterations": float(trainer.max_iter), "train_loss": loss}])


def _fit(trainer: HistGradientBoosting, task: Task[Any], signature: Signature, rows: Examples) -> FittedTrees:
    fields = trainer.model_dump(exclude={"kind", "seed"})
    fields |= {"early_stopping": False, "random_state": trainer.seed}
    # A tree needs two leaves: the default of 200 rows gives one and the same probability for all of 133 rows.
    fields["min_samples_leaf"] = max(1, min(trainer.min_samples_leaf, len(rows) // MIN_LEAVES))
    trees = TREES[task.ACTIVATION]
    model = trees.estimator(**fields)
    # A column without any known value becomes 0, which no tree can split: scikit-learn cannot bin NaN alone.
    features = np.where(np.isnan(rows.features).all(axis=0), np.float32(0), rows.features)
    with threadpool_limits(limits=THREADS, user_api="openmp"):
        model.fit(features, rows.label)
    _round_thresholds_down(model)
    return FittedTrees(trees, model, signature)


def _round_thresholds_down(model: Any) -> None:
    """Rounds each split threshold down to float32: float32 rows get the same answer, and ONNX splits exactly as scikit-learn.

    scikit-learn has no public access to its trees. `test_scikit_learn_keeps_its_thresholds_where_they_are_rounded` fails
    when they move.
    """
    for tree in chain.from_iterable(model._predictors):
        exact = tree.nodes["num_threshold"]
        rounded = exact.astype(np.float32)
        too_high = rounded.astype(np.float64) > exact
        rounded[too_high] = np.nextafter(rounded[too_high], np.float32(-np.inf))
        tree.nodes["num_threshold"] = rounded


def _probabilities(classifier: HistGradientBoostingClassifier, features: NDArray[np.float32]) -> NDArray[np.float64]:
    return cast(NDArray[np.float64], classifier.predict_proba(features))


def _positive(classifier: HistGradientBoostingClassifier, features: NDArray[np.float32]) -> NDArray[np.float64]:
    return _probabilities(classifier, features)[:, 1]


def _number(regressor: HistGradientBoostingRegressor, features: NDArray[np.float32]) -> NDArray[np.float64]:
    return cast(NDArray[np.float64], regressor.predict(features))


def _with_positive(model: onnx.ModelProto, _offsets: tuple[float, ...]) -> onnx.ModelProto:
    """The converted classifier without its label output, and with the second column of its probabilities as OUTPUT."""
    graph = model.graph
    both = graph.output[1].name
    graph.initializer.append(numpy_helper.from_array(np.array(1, dtype=np.int64), "positive"))
    graph.node.append(helper.make_node("Gather", [both, "positive"], [OUTPUT], axis=1))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None]))
    return model


def _with_classes(model: onnx.ModelProto, _offsets: tuple[float, ...]) -> onnx.ModelProto:
    """The converted classifier without its label output, and with its probabilities as OUTPUT."""
    graph, probabilities = model.graph, model.graph.output[1]
    classes = probabilities.type.tensor_type.shape.dim[1].dim_value
    graph.node.append(helper.make_node("Identity", [probabilities.name], [OUTPUT]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, classes]))
    return model


def _with_offsets(model: onnx.ModelProto, offsets: tuple[float, ...]) -> onnx.ModelProto:
    """The converted regressor, whose [rows, 1] are added to each of the offsets."""
    graph, name = model.graph, RegressionTask.OUTPUT
    graph.initializer.append(numpy_helper.from_array(np.array(offsets, dtype=np.float32), "offsets"))
    graph.node.append(helper.make_node("Add", [graph.output[0].name, "offsets"], [name]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, len(offsets)]))
    return model


TREES: dict[Activation, Trees] = {
    "sigmoid": Trees(HistGradientBoostingClassifier, "log_loss", _positive, _with_positive),
    "softmax": Trees(HistGradientBoostingClassifier, "log_loss", _probabilities, _with_classes),
    "identity": Trees(HistGradientBoostingRegressor, "rmse", _number, _with_offsets),
}
