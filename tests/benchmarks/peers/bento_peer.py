"""A plain `@bentoml.api` with all defaults: `bentoml serve tests.benchmarks.peers.bento_peer:Scorer`.

MODEL is the path of the ONNX file.
"""

import os

import bentoml
import numpy as np
import onnxruntime


@bentoml.service
class Scorer:
    """Rows of 29 numbers in, one probability a row out."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])

    @bentoml.api
    def predict(self, features: list[list[float]]) -> list[float]:
        return self.session.run(["probability"], {"features": np.array(features, dtype=np.float32)})[0].tolist()
