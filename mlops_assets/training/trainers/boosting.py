"""Histogram gradient boosting with scikit-learn, exported by skl2onnx."""
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
from mlops_assets.tasks.task import Activation, Task
from mlops_assets.training.fitted import THREADS, Examples, History, Progress
from mlops_assets.training.onnx_file import seal
from mlops_assets.training.signature import INPUT, OUTPUT, Signature

MIN_LEAVES = 20  # the most leaves that a small table can always fill
MODELS: dict[Activation, type[HistGradientBoostingClassifier]] = {"sigmoid": HistGradientBoostingClassifier}
OPSET = {"": 18, "ai.onnx.ml": 3}  # the newest that skl2onnx's tree converters write without a fallback


@dataclass(frozen=True)
class FittedTrees:
    """Trained trees; see training/fitted.py."""

    classifier: HistGradientBoostingClassifier
    signature: Signature
    history: History

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        return _positive(self.classifier, features)

    def to_onnx(self) -> bytes:
        shape = [(INPUT, FloatTensorType([None, len(self.signature.inputs)]))]
        options = {id(self.classifier): {"zipmap": False}}
        with warnings.catch_warnings():  # skl2onnx passes protobuf a bool where it wants an int
            warnings.simplefilter("ignore", DeprecationWarning)
            # Without a name the graph gets a random one, and the same trees get other bytes each time.
            converted = convert_sklearn(self.classifier, name="trees", initial_types=shape, options=options, target_opset=OPSET)
        return seal(_with_one_output(cast(onnx.ModelProto, converted)), self.signature)


def train(
    trainer: HistGradientBoosting,
    task: Task[Any],
    *,
    signature: Signature,
    train: Examples,
    validation: Examples,
    progress: Progress,
) -> FittedTrees:
    """Trees on training and validation rows together: the number of iterations is declared, so nothing needs validating."""
    rows = train + validation
    progress(f"boosting · {trainer.max_iter} iterations on {len(rows)} rows")
    fields = trainer.model_dump(exclude={"kind", "seed"})
    fields |= {"early_stopping": False, "random_state": trainer.seed}
    # A tree needs two leaves: the default of 200 rows gives one and the same probability for all of 133 rows.
    fields["min_samples_leaf"] = max(1, min(trainer.min_samples_leaf, len(rows) // MIN_LEAVES))
    classifier = MODELS[task.ACTIVATION](**fields)
    # A column without any known value becomes 0, which no tree can split: scikit-learn cannot bin NaN alone.
    features = np.where(np.isnan(rows.features).all(axis=0), np.float32(0), rows.features)
    with threadpool_limits(limits=THREADS, user_api="openmp"):
        classifier.fit(features, rows.label)
        _round_thresholds_down(classifier)
        loss = measure("log_loss", task.sample(rows.label, _positive(classifier, rows.features)))
    progress(f"boosting · training loss {loss:.4f}")
    return FittedTrees(classifier, signature, [{"iterations": float(trainer.max_iter), "train_loss": loss}])


def _round_thresholds_down(classifier: HistGradientBoostingClassifier) -> None:
    """Rounds each split threshold down to float32: float32 rows get the same answer, and ONNX splits exactly as scikit-learn.

    scikit-learn has no public access to its trees. `test_scikit_learn_keeps_its_thresholds_where_they_are_rounded` fails
    when they move.
    """
    for (tree,) in cast(list[Any], classifier._predictors):  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
        exact = tree.nodes["num_threshold"]
        rounded = exact.astype(np.float32)
        too_high = rounded.astype(np.float64) > exact
        rounded[too_high] = np.nextafter(rounded[too_high], np.float32(-np.inf))
        tree.nodes["num_threshold"] = rounded


def _positive(classifier: HistGradientBoostingClassifier, features: NDArray[np.float32]) -> NDArray[np.float64]:
    return cast(NDArray[np.float64], classifier.predict_proba(features))[:, 1]


def _with_one_output(model: onnx.ModelProto) -> onnx.ModelProto:
    """The converted classifier without its label output, and with the second column of its probabilities as OUTPUT."""
    graph = model.graph
    both = graph.output[1].name
    graph.initializer.append(numpy_helper.from_array(np.array(1, dtype=np.int64), "positive"))
    graph.node.append(helper.make_node("Gather", [both, "positive"], [OUTPUT], axis=1))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None]))
    return model
