"""FastAPI and ONNX Runtime as an engineer writes them by hand: `uvicorn tests.benchmarks.peers.fastapi_peer:app`.

`async def`, because one row takes microseconds and a thread would cost more. MODEL is the path of the ONNX file.
"""

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
app = FastAPI()


class Request(BaseModel):
    """Rows of 29 numbers."""

    features: list[list[float]]


if len(session.get_outputs()[0].shape) == 1:

    class Answer(BaseModel):
        """One probability a row."""

        outputs: list[float]

else:

    class Answer(BaseModel):
        """Several numbers a row."""

        outputs: list[list[float]]


@app.get("/ready")
async def ready() -> str:
    return "ready"


@app.post("/predict")
async def predict(request: Request) -> Answer:
    scored = session.run(None, {"features": np.array(request.features, dtype=np.float32)})[0]
    return Answer(outputs=scored.tolist())
