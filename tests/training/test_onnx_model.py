"""Opening a model file: what is not one of ours is refused with the reason."""

from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper

from mlops_assets.training.onnx_file import seal
from mlops_assets.training.onnx_model import NotAModel, OnnxModel
from mlops_assets.training.signature import INPUT, METADATA_KEY, OUTPUT, Signature, UnreadableRows

SIGNATURE = Signature(("wind", "delay"), {})


def halved_wind(width: int = 2, output: str = OUTPUT) -> onnx.ModelProto:
    """A graph of `width` inputs whose output is half the first one."""
    nodes = [
        helper.make_node("MatMul", [INPUT, "weights"], ["column"]),
        helper.make_node("Squeeze", ["column", "axis"], [output]),
    ]
    weights = np.zeros((width, 1), np.float32)
    weights[0] = 0.5
    constants = [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.int64([1]), "axis")]
    ports: list[Any] = [
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", width])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["rows"])],
    ]
    graph = helper.make_graph(nodes, "halved", *ports, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_sealed_model_answers_by_the_names_of_its_signature() -> None:
    model = OnnxModel.from_bytes(seal(halved_wind(), SIGNATURE))
    answer = model.predict(pl.DataFrame({"delay": [9.0, 9.0, 9.0], "wind": [1.0, 0.5, 0.0], "other": ["x"] * 3}))
    assert model.signature == SIGNATURE
    assert answer.dtype == np.float64
    assert answer.tolist() == [0.5, 0.25, 0.0]


def test_no_rows_get_no_answers() -> None:
    answer = OnnxModel.from_bytes(seal(halved_wind(), SIGNATURE)).predict(pl.DataFrame({"wind": [], "delay": []}))
    assert answer.shape == (0,)


def test_rows_without_an_input_are_refused() -> None:
    with pytest.raises(UnreadableRows, match="rows lack delay"):
        OnnxModel.from_bytes(seal(halved_wind(), SIGNATURE)).predict(pl.DataFrame({"wind": [1.0]}))


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x80\x04\x95pickle", seal(halved_wind(), SIGNATURE)[:-40]])
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(NotAModel, match="model file · "):
        OnnxModel.from_bytes(content)


def test_a_model_without_a_signature_is_refused() -> None:
    with pytest.raises(NotAModel, match="it has no 'signature'; its metadata: none"):
        OnnxModel.from_bytes(halved_wind().SerializeToString())


def test_a_model_with_an_unreadable_signature_is_refused() -> None:
    for text in ("{", "[]", "{}", "7", '{"numeric": []}', '{"numeric": [], "categories": []}'):
        model = halved_wind()
        helper.set_model_props(model, {METADATA_KEY: text})
        with pytest.raises(NotAModel, match="its 'signature' is unreadable"):
            OnnxModel.from_bytes(model.SerializeToString())


def test_a_model_with_other_outputs_or_another_width_is_refused() -> None:
    with pytest.raises(NotAModel, match=r"instead of features \[rows, inputs\] and probability \[rows\]"):
        OnnxModel.from_bytes(seal(halved_wind(output="score"), SIGNATURE))
    with pytest.raises(NotAModel, match="reads 3 inputs and its signature names 2"):
        OnnxModel.from_bytes(seal(halved_wind(width=3), SIGNATURE))


def test_sealing_drops_traces_of_the_exporting_machine() -> None:
    model = halved_wind()
    model.doc_string = model.graph.node[0].doc_string = "File /home/somebody/model.py"
    model.graph.node[0].metadata_props.add(key="stack_trace", value="File /home/somebody/model.py")
    assert b"somebody" not in seal(model, SIGNATURE)
    assert seal(model, SIGNATURE) == seal(halved_wind(), SIGNATURE)
