"""Runs a model file with onnxruntime, in evaluation and in the service."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Self, cast

import numpy as np
import onnxruntime
import polars as pl
from numpy.typing import NDArray

from mlops_assets.training.signature import INPUT, METADATA_KEY, OUTPUT, OUTPUTS, Signature

ERRORS_ONLY = 3
_errors = cast(Any, import_module("onnxruntime.capi.onnxruntime_pybind11_state"))  # a compiled module without types
_REFUSALS = (_errors.InvalidProtobuf, _errors.InvalidGraph, _errors.InvalidArgument, _errors.NotImplemented, _errors.Fail)


class NotAModel(ValueError):
    """The bytes are not a model file as training writes it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"model file · {reason}. Pass the ONNX bytes of a TrainedModel.")


@dataclass(frozen=True)
class OnnxModel:
    """An opened model with the signature that it was trained with."""

    signature: Signature
    session: Any

    @classmethod
    def from_bytes(cls, onnx: bytes) -> Self:
        """Opens a sealed model. Raises NotAModel."""
        options = cast(Any, onnxruntime.SessionOptions())
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        try:
            session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        except _REFUSALS as error:
            raise NotAModel(f"onnxruntime refuses it: {error}") from None
        signature = _signature(session)
        _require_shape(session, signature)
        return cls(signature, session)

    def predict(self, frame: pl.DataFrame) -> NDArray[np.float64]:
        """The output for each row, in the order of `frame`. Raises UnreadableRows."""
        return self.score(self.signature.encode(frame))

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """The same for rows that the signature has encoded, shape (rows, inputs)."""
        if not len(matrix):
            return np.empty((0, *self.session.get_outputs()[0].shape[1:]))
        return self.session.run(None, {INPUT: matrix})[0].astype(np.float64)


def _signature(session: Any) -> Signature:
    metadata = cast(dict[str, str], session.get_modelmeta().custom_metadata_map)
    if METADATA_KEY not in metadata:
        raise NotAModel(f"it has no {METADATA_KEY!r}; its metadata: {', '.join(metadata) or 'none'}")
    try:
        return Signature.from_json(metadata[METADATA_KEY])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotAModel(f"its {METADATA_KEY!r} is unreadable: {error!r}") from None


def output_shapes(signature: Signature) -> dict[str, str]:
    """The legal outputs by name; a version that records classes has a number for each."""
    return OUTPUTS | ({OUTPUT: "[rows, classes]"} if "classes" in signature.facts else {})


def _require_shape(session: Any, signature: Signature) -> None:
    ports = {(port.name, port.type, len(port.shape)) for port in (*session.get_inputs(), *session.get_outputs())}
    outputs = [(name, "tensor(float)", 1 + shape.count(",")) for name, shape in output_shapes(signature).items()]
    if ports not in [{(INPUT, "tensor(float)", 2), output} for output in outputs]:
        legal = " or ".join(f"{name} {shape}" for name, shape in output_shapes(signature).items())
        raise NotAModel(f"it has {sorted(ports)} instead of {INPUT} [rows, inputs] and {legal}")
    width = session.get_inputs()[0].shape[1]
    if width != len(signature.inputs):
        raise NotAModel(f"it reads {width} inputs and its signature names {len(signature.inputs)}")
    columns, classes = session.get_outputs()[0].shape[1:], signature.facts.get("classes")
    if classes is not None and columns != [len(classes)]:
        raise NotAModel(f"its output has {columns} columns and its signature names {len(classes)} classes")
