"""Histogram gradient boosting: the home of scikit-learn's trainer and of skl2onnx.

Belongs here: fitting it on encoded rows and exporting it. Not here: choosing a trainer (train.py), metrics (metrics.py).
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import warnings
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from mlops_assets.spec.training import HistGradientBoosting
from mlops_assets.statistics.metrics import measure
from mlops_assets.training.fitted import THREADS, Examples, History, Progress
from mlops_assets.training.onnx_file import seal
from mlops_assets.training.signature import INPUT, OUTPUT, Signature

OPSET = {"": 18, "ai.onnx.ml": 3}  # the newest that skl2onnx's tree converters write without a fallback


@dataclass(frozen=True)
class FittedTrees:
    """Boosted trees that have learned; see training/fitted.py."""

    classifier: HistGradientBoostingClassifier
    signature: Signature
    history: History

    def probability(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        return _positive(self.classifier, features)

    def to_onnx(self) -> bytes:
        shape = [(INPUT, FloatTensorType([None, len(self.signature.inputs)]))]
        options = {id(self.classifier): {"zipmap": False}}
        with warnings.catch_warnings():  # skl2onnx hands protobuf a bool where it wants an int
            warnings.simplefilter("ignore", DeprecationWarning)
            # Without a name of its own the graph gets a random one, and the same trees other bytes each time.
            converted = convert_sklearn(self.classifier, name="trees", initial_types=shape, options=options, target_opset=OPSET)
        return seal(_with_one_output(cast(onnx.ModelProto, converted)), self.signature)


def train(
    trainer: HistGradientBoosting, *, signature: Signature, train: Examples, validation: Examples, progress: Progress
) -> FittedTrees:
    """Trees on training and validation rows together: the number of iterations is declared, so nothing needs validating.

    Split thresholds are rounded down to float32, which changes no answer for float32 rows and makes ONNX, whose
    thresholds are float32, split exactly as scikit-learn does.
    """
    rows = train + validation
    progress(f"boosting · {trainer.max_iter} iterations on {len(rows)} rows")
    fields = trainer.model_dump(exclude={"kind", "seed"})
    fields |= {"early_stopping": False, "random_state": trainer.seed}
    classifier = HistGradientBoostingClassifier(**fields)
    with threadpool_limits(limits=THREADS, user_api="openmp"):
        classifier.fit(_without_empty_columns(rows.features), rows.label)
        _round_thresholds_down(classifier)
        loss = measure("log_loss", rows.label, _positive(classifier, rows.features))
    progress(f"boosting · training loss {loss:.4f}")
    return FittedTrees(classifier, signature, [{"iterations": float(trainer.max_iter), "train_loss": loss}])


def _positive(classifier: HistGradientBoostingClassifier, features: NDArray[np.float32]) -> NDArray[np.float64]:
    return cast(NDArray[np.float64], classifier.predict_proba(features))[:, 1]


def _without_empty_columns(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """A column without any known value becomes 0, on which no tree can split: scikit-learn cannot bin what is all NaN."""
    return np.where(np.isnan(features).all(axis=0), np.float32(0), features)


def _round_thresholds_down(classifier: HistGradientBoostingClassifier) -> None:
    for (tree,) in cast(list[Any], classifier._predictors):  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        exact = tree.nodes["num_threshold"]
        rounded = exact.astype(np.float32)
        too_high = rounded.astype(np.float64) > exact
        rounded[too_high] = np.nextafter(rounded[too_high], np.float32(-np.inf))
        tree.nodes["num_threshold"] = rounded


def _with_one_output(model: onnx.ModelProto) -> onnx.ModelProto:
    """The converted classifier with its label dropped and the second column of its probabilities as `probability`."""
    graph = model.graph
    both = graph.output[1].name
    graph.initializer.append(numpy_helper.from_array(np.array(1, dtype=np.int64), "positive"))
    graph.node.append(helper.make_node("Gather", [both, "positive"], [OUTPUT], axis=1))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None]))
    return model
