"""A trained estimator with scikit-learn's interface as a model of a task: its predictions, and its ONNX graph."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mlops_assets.spec.gate import Metric
from mlops_assets.statistics.metrics import measure
from mlops_assets.tasks.task import Activation, Offsets, Task
from mlops_assets.training.fitted import Examples, History, Progress
from mlops_assets.training.onnx_file import seal
from mlops_assets.training.signature import Signature

OPSET = {"": 18, "ai.onnx.ml": 3}  # the newest that skl2onnx's tree converters write without a fallback
LOSSES: dict[Activation, Metric] = {"sigmoid": "log_loss", "softmax": "log_loss", "identity": "rmse"}
Raw = Callable[[NDArray[np.float32]], NDArray[np.float64]]


@dataclass(frozen=True)
class FittedEstimator:
    """See training/fitted.py. `raw` gives the probabilities of all classes, (rows, classes), or the number, (rows,); `convert`
    the ONNX graph with the same as its last output. `offsets` are those of a task that CALIBRATES. `measured` gives the history.
    """

    model: Any
    task: Task[Any]
    signature: Signature
    raw: Raw
    convert: Callable[[], onnx.ModelProto]
    offsets: Offsets | None = None
    measured: Callable[[], History] = History

    @cached_property
    def history(self) -> History:
        # Once it is read: a loss over all rows takes a seventh of the training, and a gate's quick model needs none.
        return self.measured()

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        output = self.raw(features)
        if self.task.ACTIVATION == "sigmoid":
            return output[:, 1]
        return self.offsets.added(output) if self.offsets else output

    def to_onnx(self) -> bytes:
        return seal(_FINISH[self.task.ACTIVATION](self.convert(), self.task.OUTPUT, self.offsets), self.signature)


def offsets_of(
    task: Task[Any], fit: Callable[[], FittedEstimator], *, validation: Examples, progress: Progress
) -> Offsets | None:
    """What calibrates the model that is trained on all rows: from predictions of the validation rows by the one that `fit` trains
    without them. None for a task that does not CALIBRATE."""
    if not task.CALIBRATES:
        return None
    progress(f"calibrating on {len(validation)} rows")
    return task.offsets(validation.label, fit().predict(validation.features))


def training_loss(fitted: FittedEstimator, rows: Examples) -> float:
    task = fitted.task
    return measure(LOSSES[task.ACTIVATION], task.sample(rows.label, fitted.predict(rows.features)))


def convert_estimator(model: Any, *, name: str, input: str, width: int) -> onnx.ModelProto:
    """By skl2onnx, to a graph with this name and input; probabilities are the last output."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.base import is_classifier

    options = {id(model): {"zipmap": False}} if is_classifier(model) else None
    with warnings.catch_warnings():  # skl2onnx passes protobuf a bool where it wants an int
        warnings.simplefilter("ignore", DeprecationWarning)
        # Without a name the graph gets a random one, and the same model gets other bytes each time.
        types = [(input, FloatTensorType([None, width]))]
        return cast(onnx.ModelProto, convert_sklearn(model, name=name, initial_types=types, options=options, target_opset=OPSET))


def _output(model: onnx.ModelProto, node: onnx.NodeProto, shape: list[int | None]) -> onnx.ModelProto:
    """With the output of this node alone."""
    model.graph.node.append(node)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, shape))
    return model


def _with_positive(model: onnx.ModelProto, name: str, _offsets: Offsets | None) -> onnx.ModelProto:
    """The second column of its probabilities."""
    model.graph.initializer.append(numpy_helper.from_array(np.array(1, dtype=np.int64), "positive"))
    return _output(model, helper.make_node("Gather", [model.graph.output[-1].name, "positive"], [name], axis=1), [None])


def _with_classes(model: onnx.ModelProto, name: str, _offsets: Offsets | None) -> onnx.ModelProto:
    probabilities = model.graph.output[-1]
    classes = probabilities.type.tensor_type.shape.dim[1].dim_value
    return _output(model, helper.make_node("Identity", [probabilities.name], [name]), [None, classes])


def _with_offsets(model: onnx.ModelProto, name: str, offsets: Offsets | None) -> onnx.ModelProto:
    """Its [rows, 1] as Offsets.added gives them."""
    units, level, slope, center, least = offsets or Offsets((0.0,))
    last = number = model.graph.output[-1].name
    for operator, operand in (("Sub", center), ("Mul", slope), ("Add", level), ("Max", least), ("Mul", units)):
        constant, value = f"offset_{len(model.graph.node)}", f"{name}_{len(model.graph.node)}"
        model.graph.initializer.append(numpy_helper.from_array(np.array(operand, dtype=np.float32), constant))
        model.graph.node.append(helper.make_node(operator, [last, constant], [value]))
        last = value
    return _output(model, helper.make_node("Add", [number, last], [name]), [None, len(units)])


_FINISH: dict[Activation, Callable[[onnx.ModelProto, str, Offsets | None], onnx.ModelProto]] = {
    "sigmoid": _with_positive,
    "softmax": _with_classes,
    "identity": _with_offsets,
}


def rounded_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Where a tree goes left at `<=`, float32 rows go the same way at these as at the exact ones."""
    rounded = thresholds.astype(np.float32)
    too_high = rounded.astype(np.float64) > thresholds
    rounded[too_high] = np.nextafter(rounded[too_high], np.float32(-np.inf))
    return rounded
