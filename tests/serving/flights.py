"""What the tests of serving share: flight requests, tiny real models of the flight-delay line, plans without a ledger, features
in memory.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from onnx import NodeProto, TensorProto, helper, numpy_helper

from mlops_assets.features.online.online_mirror import LookupResult, Missing
from mlops_assets.features.request_features import Columns
from mlops_assets.foundation.home import Home
from mlops_assets.promotion.blessing import Blessing, GateVerdict
from mlops_assets.promotion.deployment import Deployment, Plan, Split
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.spec.request_feature import MinuteOfDay
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.digest import digest
from mlops_assets.training.onnx_file import seal
from mlops_assets.training.signature import INPUT, OUTPUT, Signature
from mlops_assets.use_cases.flight_delay import USE_CASE

MOMENT = datetime(2013, 7, 1, 12, tzinfo=UTC)
HOT = 90.0  # degrees
WhenHot = float | Literal["raises"] | None
FLIGHT: dict[str, Any] = {
    "carrier": "UA", "flight": 1545, "tailnum": "N14228", "origin": "EWR", "dest": "IAH", "sched_dep": "2013-07-01T14:05:00Z",
}  # fmt: skip


def with_zone(zone: str) -> UseCase:
    """The minute of the day is that of another time zone, in the same inputs."""
    features = USE_CASE.features
    changed = (one.but(zone=zone) if isinstance(one, MinuteOfDay) else one for one in features.request_features)
    return USE_CASE.but(features=features.but(request_features=tuple(changed)))


class DirectDeployment(Deployment):
    """A deployment whose plans the test sets itself, numbered in their order, without a ledger."""

    def point(self, version: int, at: str = MOMENT.isoformat(), reason: str = "") -> Plan:
        """`version` alone serves."""
        now = self.plan()
        before = now and (now.champion if now.champion != version else now.previous)
        return self._next(champion=version, previous=before, at=at, reason=reason)

    def route(
        self,
        *,
        challenger: int | None = None,
        share: float = 0.0,
        split: Split = "canary",
        shadow: int | None = None,
        at: str = MOMENT.isoformat(),
        reason: str = "",
    ) -> Plan:
        """A challenger or a shadow next to the champion, who stays."""
        now = self.plan()
        assert now is not None, "no champion yet"
        slots: dict[str, Any] = {"challenger": challenger, "share": float(share), "split": split, "shadow": shadow}
        return self._next(champion=now.champion, previous=now.previous, at=at, reason=reason, **slots)

    def _next(self, **fields: Any) -> Plan:
        now = self.plan()
        plan = Plan(number=now.number + 1 if now else 1, **fields)
        self.publish(plan)
        return plan


CATEGORIES = {
    "carrier": ("AA", "UA"), "origin": ("EWR", "JFK", "LGA"), "dest": ("IAH",),
    "weekday": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
}  # fmt: skip
SIGNATURE = Signature(USE_CASE.features.numeric, CATEGORIES)


def tiny_model(
    bias: float, when_hot: WhenHot = None, *, signature: Signature = SIGNATURE, scored: str = "temp", size: int = 0
) -> bytes:
    """A sealed ONNX model: sigmoid(temp / 100 + bias), absent values counting as 0; it knows carriers UA and AA.

    A row above HOT gets the score `when_hot`, or makes the whole run raise. Of another use case, `scored` is the input instead of
    temp. Each run multiplies two square matrices of `size`, which makes it slow.
    """
    width = len(signature.inputs)
    temp = signature.inputs.index(scored)
    weights = np.zeros((width, 1), np.float32)
    weights[temp] = 0.01
    constants = {
        "weights": weights,
        "bias": np.float32([bias]),
        "zero": np.float32([0]),
        "axis": np.int64([1]),
        "shape": np.int64([size, size]),
    }
    nodes = [
        helper.make_node("IsNaN", [INPUT], ["absent"]),
        helper.make_node("Where", ["absent", "zero", INPUT], ["present"]),
        helper.make_node("MatMul", ["present", "weights"], ["summed"]),
        helper.make_node("Add", ["summed", "bias"], ["biased"]),
        helper.make_node("Sigmoid", ["biased"], ["column"]),
        helper.make_node("Squeeze", ["column", "axis"], ["scores"]),
        *(_slow(size) if size else [helper.make_node("Identity", ["scores"], ["slow_scores"])]),
        helper.make_node("Identity", ["slow_scores"], [OUTPUT if when_hot is None else "sound"]),
    ]
    if when_hot is not None:
        constants |= {
            "temp": np.int64(temp),
            "high": np.float32(HOT),
            "instead": np.float32(0 if when_hot == "raises" else when_hot),
        }
        nodes += _when_hot(when_hot)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", width])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return seal(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), signature)


def _slow(size: int) -> list[NodeProto]:
    one = numpy_helper.from_array(np.float32([1 / size]), "one")
    return [
        helper.make_node("ReduceSum", ["present"], ["total"], keepdims=0),  # of the request, so that nothing is computed ahead
        helper.make_node("ConstantOfShape", ["shape"], ["ones"], value=one),
        helper.make_node("Mul", ["ones", "total"], ["totals"]),
        helper.make_node("MatMul", ["totals", "ones"], ["product"]),
        helper.make_node("ReduceMax", ["product"], ["largest"], keepdims=0),
        helper.make_node("Mul", ["largest", "zero"], ["nothing_added"]),
        helper.make_node("Add", ["scores", "nothing_added"], ["slow_scores"]),
    ]


def _when_hot(when_hot: float | Literal["raises"]) -> list[NodeProto]:
    degrees = helper.make_node("Gather", ["present", "temp"], ["degrees"], axis=1)
    hot = helper.make_node("Greater", ["degrees", "high"], ["hot"])
    if when_hot != "raises":
        return [degrees, hot, helper.make_node("Where", ["hot", "instead", "sound"], [OUTPUT])]
    place = helper.make_node("Cast", ["hot"], ["place"], to=TensorProto.INT64)
    beyond = helper.make_node("Gather", ["zero", "place"], ["nothing"])  # there is one zero, at place 0
    return [degrees, hot, place, beyond, helper.make_node("Add", ["sound", "nothing"], [OUTPUT])]


def blessed(
    version: int, onnx: bytes, keys: SigningKeys, *, blessed_at: datetime = MOMENT, private_key: Any = None, **changes: Any
) -> Blessing:
    fields: dict[str, Any] = {
        "use_case": USE_CASE.name,
        "version": version,
        "model_digest": digest(onnx),
        "evaluation_digest": "e" * 64,
        "gates": (GateVerdict("floor_auc", True, 0.72, 0.68),),
        "training": {"window": "2013-01-01/2013-04-30"},
        "blessed_at": blessed_at.isoformat(),
    }
    return Blessing(**(fields | changes)).signed_by(private_key or keys.private())


def unnumbered(blessing: Blessing, keys: SigningKeys) -> Blessing:
    """As releases signed it before version numbers were signed."""
    return replace(blessing, version=None).signed_by(keys.private())


def place_blessed(home: Home, version: int, bias: float, when_hot: WhenHot = None, **changes: Any) -> DirectDeployment:
    """Places `version`, correctly blessed, on the deployment target; no plan names it yet."""
    deployment = DirectDeployment(home.deployments, USE_CASE.name)
    model = tiny_model(bias, when_hot)
    deployment.place(version, model, blessed(version, model, SigningKeys(home.keys), **changes).to_json())
    return deployment


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@dataclass(frozen=True)
class InMemoryFeatures:
    """Temperatures by origin, as known from `event_timestamp` on; every other feature is unknown."""

    temperatures: pl.DataFrame

    def look_up(self, columns: Columns) -> LookupResult:
        newest = self.temperatures.group_by("origin").agg(newest=pl.col("event_timestamp").max())
        rows = (
            pl.DataFrame({name: columns[name] for name in ("origin", "event_timestamp")})
            .with_row_index("place")
            .sort("event_timestamp")
        )
        facts = self.temperatures.sort("event_timestamp")
        joined = rows.join_asof(facts, on="event_timestamp", by="origin", check_sortedness=False)
        joined = joined.join(newest, on="origin", how="left").sort("place")
        late = joined.select((pl.col("event_timestamp") < pl.col("newest")).fill_null(False)).to_series()
        absent = [name for name in USE_CASE.features.numeric if name not in (*columns, "temp")]
        features = {"temp": joined["temp"].to_list()} | {name: [None] * len(joined) for name in absent}
        missing: list[Missing] = [() if temp is not None else [("origin_weather", "unknown")] for temp in joined["temp"]]
        return LookupResult(
            features, ["point_in_time" if is_late else "online" for is_late in late], [None] * len(joined), missing
        )


def temperatures(*known: tuple[str, datetime, float]) -> InMemoryFeatures:
    schema = {"origin": pl.String(), "event_timestamp": pl.Datetime("us", "UTC"), "temp": pl.Float64()}
    return InMemoryFeatures(pl.DataFrame(list(known), schema=schema, orient="row"))


def model_bytes_of_another_shape() -> bytes:
    """A valid ONNX file that is no model of ours."""
    node = helper.make_node("Identity", ["x"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([node], "other", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
