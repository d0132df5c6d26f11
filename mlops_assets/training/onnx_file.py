"""Seals an exported graph as a model file: its signature in the metadata, nothing of the exporting machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_assets.training.signature import METADATA_KEY, Signature

if TYPE_CHECKING:
    import onnx


def seal(model: onnx.ModelProto, signature: Signature) -> bytes:
    """The same graph and signature give the same bytes. Raises onnx.checker.ValidationError for a broken graph."""
    import onnx

    sealed = onnx.ModelProto()
    sealed.CopyFrom(model)
    sealed.doc_string = sealed.graph.doc_string = ""
    for node in sealed.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]  # exporters leave stack traces with paths of the machine here
    del sealed.metadata_props[:]
    opsets = sorted(model.opset_import, key=lambda opset: opset.domain)  # exporters gather them in a set of texts
    del sealed.opset_import[:]
    sealed.opset_import.extend(opsets)
    onnx.helper.set_model_props(sealed, {METADATA_KEY: signature.to_json()})
    onnx.checker.check_model(sealed)
    return sealed.SerializeToString(deterministic=True)
