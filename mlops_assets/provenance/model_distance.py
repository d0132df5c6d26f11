"""How much two model files differ: in their weights, in their probabilities, in their metrics on the same rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.statistics.metrics import METRICS, measure
from mlops_assets.training.onnx_model import OnnxModel

# What chance makes of any metric on the test rows: four seeds of the declared network on two months of flights differ by
# 0.006 in auc, 0.001 in brier, 0.004 in log_loss and 0.012 in ece.
METRIC_TOLERANCE = 0.005


@dataclass(frozen=True)
class Distance:
    """`weights` and `probability` are the largest absolute differences, over the test `rows`; `weights` is None where the
    structure differs. `metrics` has (then, now) by name.
    """

    rows: int
    weights: float | None
    probability: float
    metrics: dict[str, tuple[float, float]]

    @property
    def is_within(self) -> bool:
        """Whether every metric that can be measured is within METRIC_TOLERANCE; False without any."""
        known = [abs(then - now) for then, now in self.metrics.values() if np.isfinite(then) and np.isfinite(now)]
        return bool(known) and max(known) <= METRIC_TOLERANCE


def measure_distance(then: bytes, now: bytes, test: pl.DataFrame, label: str) -> Distance:
    """Both models on the same `test` rows (inputs and `label` as 0/1). Raises NotAModel, UnreadableRows."""
    one, two = (OnnxModel.from_bytes(model).predict(test) for model in (then, now))
    truth = test[label].cast(pl.Int8).to_numpy()
    metrics = {name: (measure(name, truth, one), measure(name, truth, two)) for name in METRICS}
    return Distance(len(test), compare_weights(then, now), float(np.abs(one - two).max(initial=0.0)), metrics)


def compare_weights(then: bytes, now: bytes) -> float | None:
    """The largest absolute difference of any weight; None where names or shapes differ."""
    one, two = dict(_list_weights(then)), dict(_list_weights(now))
    if {name: value.shape for name, value in one.items()} != {name: value.shape for name, value in two.items()}:
        return None
    return max((_compare(one[name], two[name]) for name in one), default=0.0)


def _compare(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    equal = (one == two) | (np.isnan(one) & np.isnan(two))  # two infinities differ by 0, and not by nan
    return float(np.abs(np.subtract(one, two, where=~equal, out=np.zeros_like(one))).max(initial=0.0))


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
