"""What the servers of the benchmark answer from: one network, the requests in each server's words, a home full of features.

Belongs here: the model (29-128-64-1), rows, features of some hundred entities, an API key. Not here: servers (contenders.py).
"""

import json
import random
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from mlops_assets.features.feast.feature_store import FeatureStore
from mlops_assets.foundation.home import Home
from mlops_assets.promotion.deployment import Deployment, Plan
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.http.api_keys import ApiKeys
from mlops_assets.training.onnx_file import seal
from mlops_assets.training.signature import INPUT, OUTPUT, Signature
from mlops_assets.use_cases.flight_delay import USE_CASE
from tests.features.feast.test_feature_store import KEYS, REPO, features_of, fill
from tests.serving.flights import blessed

SEED, REQUESTS = 0, 256
KNOWN_AT = datetime(2013, 7, 1, 1, tzinfo=UTC)
DEPARTS_AT = KNOWN_AT + timedelta(hours=4)  # requested two hours before, when all of it is known and none of it too old
CARRIERS = tuple(f"{first}{second}" for first in "ABDU" for second in "AEFX")
ORIGINS = ("EWR", "JFK", "LGA")
DESTS = tuple(f"{first}{second}X" for first in "ABCDEF" for second in "ABCDEF")
TAILS = tuple(f"N{number}" for number in range(1000, 1400))
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
ENTITIES = {"carrier": CARRIERS, "origin": ORIGINS, "dest": DESTS, "tailnum": TAILS}
SIGNATURE = Signature(USE_CASE.features.numeric, {"carrier": CARRIERS, "origin": ORIGINS, "dest": DESTS, "weekday": WEEKDAYS})
WIDTHS = (len(SIGNATURE.inputs), 128, 64, 1)
# By task: the numbers of an output, and the name of the output in the model file.
ENDS = {"Binary": (1, "Sigmoid", OUTPUT), "Multiclass": (3, "Softmax", OUTPUT), "Regression": (3, "Relu", "prediction")}
CLASSES = {"classes": ["0", "1", "2"]}


class Flights:
    """One model and REQUESTS rows, the same for every server, drawn by SEED."""

    def __init__(self, task: str = "Binary") -> None:
        self.task = task
        chance = random.Random(SEED)
        numbers = [[round(chance.uniform(0, 100), 2) for _ in SIGNATURE.numeric] for _ in range(REQUESTS)]
        words = [[chance.choice(known) for known in SIGNATURE.categories.values()] for _ in range(REQUESTS)]
        self.named = [dict(zip(SIGNATURE.inputs, (*a, *b), strict=True)) for a, b in zip(numbers, words, strict=True)]
        self.plain = [(*a, *_codes(b)) for a, b in zip(numbers, words, strict=True)]
        self.flights = [_flight(chance) for _ in range(REQUESTS)]

    @cached_property
    def model(self) -> bytes:
        return network(np.random.default_rng(SEED), self.task)

    @cached_property
    def first_probability(self) -> float:
        """The first number of the first row, by ONNX Runtime alone."""
        session: Any = onnxruntime.InferenceSession(self.model)
        return float(session.run(None, {INPUT: np.array(self.plain[:1], np.float32)})[0].ravel()[0])

    def bodies(self, form: str) -> bytes:
        """One request a line, one row a request: our `features` or `rows`, or a peer's `lists`, `inputs` or `v2`."""
        bodies = (self._body(form, number) for number in range(REQUESTS))
        return b"\n".join(json.dumps(body, separators=(",", ":")).encode() for body in bodies)

    def _body(self, form: str, number: int) -> dict[str, Any]:
        tensor = {"name": INPUT, "shape": [1, WIDTHS[0]], "datatype": "FP32", "data": self.plain[number]}
        forms: dict[str, dict[str, Any]] = {
            "features": {"features": [self.named[number]]},
            "rows": {"rows": [self.flights[number]]},
            "lists": {"features": [self.plain[number]]},
            "inputs": {"inputs": [self.plain[number]]},
            "v2": {"inputs": [tensor]},
        }
        return forms[form]


def network(chance: np.random.Generator, task: str) -> bytes:
    """A sealed model of three dense layers; absent values count as 0."""
    (numbers, last_word, output), signature = ENDS[task], replace(SIGNATURE, facts=CLASSES if task == "Multiclass" else {})
    widths = (*WIDTHS[:-1], numbers)
    nodes, constants = [helper.make_node("IsNaN", [INPUT], ["absent"])], {"zero": np.float32(0)}
    nodes.append(helper.make_node("Where", ["absent", "zero", INPUT], ["layer0"]))
    for place, (wide, narrow) in enumerate(pairwise(widths)):
        scale = 0.01 if place == 0 else (2 / wide) ** 0.5
        constants[f"weights{place}"] = chance.normal(0, scale, (wide, narrow)).astype(np.float32)
        constants[f"bias{place}"] = np.zeros(narrow, np.float32)
        last = place == len(WIDTHS) - 2
        nodes.append(helper.make_node("Gemm", [f"layer{place}", f"weights{place}", f"bias{place}"], [f"sum{place}"]))
        nodes.append(helper.make_node(last_word if last else "Relu", [f"sum{place}"], [f"layer{place + 1}"]))
    constants |= {"axis": np.array([1])} if numbers == 1 else {}
    operation, inputs = ("Squeeze", ["axis"]) if numbers == 1 else ("Identity", [])
    nodes.append(helper.make_node(operation, [f"layer{len(WIDTHS) - 1}", *inputs], [output]))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", WIDTHS[0]])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["rows"] if numbers == 1 else ["rows", numbers])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return seal(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), signature)


def furnish(home: Home, flights: Flights, redis_url: str) -> str:
    """The champion, every feature of every entity in the tables and in Redis, and a key; gives the key's token."""
    deployment = Deployment(home.deployments, USE_CASE.name)
    deployment.place(1, flights.model, blessed(1, flights.model, SigningKeys(home.keys)).to_json())
    deployment.publish(Plan(1, 1, None, KNOWN_AT.isoformat(), "measured"))
    _fill_features(home, redis_url)
    return ApiKeys(home.keys).add("bench", datetime.now(UTC), lambda: secrets.token_urlsafe(32))


def _fill_features(home: Home, redis_url: str) -> None:
    store = FeatureStore(home, service=USE_CASE.features.service, redis_url=redis_url)
    store.apply(REPO)
    known = features_of(store)
    for number, (view, keys) in enumerate(KEYS.items()):
        entities = [{keys[0]: first} for first in ENTITIES[keys[0]]]
        entities = [{**entity, keys[1]: second} for entity in entities for second in ENTITIES[keys[1]]] if keys[1:] else entities
        rows = [{**entity, "at": KNOWN_AT, "value": number + place / 10} for place, entity in enumerate(entities)]
        fill(home.root, view, rows, known[view])
        store.materialize(view, KNOWN_AT - timedelta(days=1))


def write_bodies(flights: Flights, form: str, folder: Path) -> Path:
    path = folder / f"{form}.jsonl"
    path.write_bytes(flights.bodies(form))
    return path


def _codes(words: list[str]) -> tuple[float, ...]:
    known = SIGNATURE.categories.values()
    return tuple(float(vocabulary.index(word) + 1) for word, vocabulary in zip(words, known, strict=True))


def _flight(chance: random.Random) -> dict[str, Any]:
    entities = {name: chance.choice(known) for name, known in ENTITIES.items()}
    return entities | {"flight": chance.randrange(1, 9999), "sched_dep": DEPARTS_AT.isoformat()}
