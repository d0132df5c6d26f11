"""The model that answers: verified, warmed up, and swapped between two requests when the plan changes.

Belongs here: watching the plan, loading and checking one version. Not here: answering (answering.py), placing (ports).
"""

import gc
import logging
import math
from dataclasses import dataclass
from threading import Event, Thread
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.ports.deployment import Deployment, Plan, UnreadablePlan
from mlops_assets.ports.signing_keys import SigningKeys
from mlops_assets.spec.use_case import UseCase
from mlops_assets.stages.bless import Blessing, verify
from mlops_assets.stages.signature import Signature, UnreadableRows

POLL_S = 0.5
RETRY_POLLS = 20  # a version that did not load is tried again after this many polls, or at once when the plan changes

log = logging.getLogger("bentoml.mlops_assets")  # below Bento's logger, whose handlers are the only ones in its process


class Model(Protocol):
    """What stages/score.py makes of ONNX bytes."""

    @property
    def signature(self) -> Signature: ...

    def predict(self, frame: pl.DataFrame) -> NDArray[np.floating]: ...


@dataclass(frozen=True)
class Champion:
    """A version that may answer: its plan, its blessing, its model."""

    plan: Plan
    blessing: Blessing
    model: Model


class ModelSlot:
    """Holds the champion of one use case. `poll` looks at the plan once; `start` polls in a thread until `stop`."""

    def __init__(self, use_case: UseCase, deployment: Deployment, keys: SigningKeys) -> None:
        self.champion: Champion | None = None  # replaced in one assignment: a request reads it once
        self.last_error: str | None = None
        self._use_case = use_case
        self._deployment = deployment
        self._keys = keys
        self._failed: int | None = None
        self._polls_since_failure = 0
        self._stopped = Event()
        self._thread = Thread(target=self._watch, name="model-slot", daemon=True)

    def start(self) -> None:
        self.poll()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def poll(self) -> None:
        """Loads what the plan names, unless it answers already; a version that does not load leaves the old one answering."""
        try:
            plan = self._deployment.plan()
        except (OSError, UnreadablePlan) as error:
            self._note(f"{self._use_case.name} · {error}")
            return
        if self.champion and self.champion.plan == plan:
            self.last_error = None
        elif plan and not self._waits(plan):
            self._swap(plan)

    def _swap(self, plan: Plan) -> None:
        try:
            champion = self._load(plan)
        # A file from outside can fail in any way its runtime knows (onnxruntime's errors share no parent but Exception),
        # and none may end the thread that would bring the next version.
        except Exception as error:  # noqa: BLE001
            self._failed, self._polls_since_failure = plan.number, 0
            self._note(f"version {plan.champion} is not served · {error}")
            return
        self.champion, self.last_error, self._failed = champion, None, None
        # Full collections walk the large heap of imported libraries and stop every request for about 0.1 s.
        gc.collect()
        gc.freeze()
        log.info("%s · version %s answers (plan %s: %s)", self._use_case.name, plan.champion, plan.number, plan.reason)

    def _load(self, plan: Plan) -> Champion:
        from mlops_assets.stages.score import OnnxModel

        onnx, text = self._deployment.load(plan.champion)
        blessing = Blessing.from_json(text)
        verify(blessing, use_case=self._use_case.name, onnx=onnx, public_keys=self._keys.public())
        model: Model = OnnxModel.from_bytes(onnx, threads=1)
        self._warm_up(model)
        return Champion(plan, blessing, model)

    def _warm_up(self, model: Model) -> None:
        """Asks one row of nothing known, so that a model that cannot read the declared inputs never becomes champion."""
        features = self._use_case.features
        absent = {name: pl.Series([None], dtype=pl.Float64) for name in features.numeric}
        absent |= {name: pl.Series([None], dtype=pl.String) for name in features.categorical}
        probability = float(model.predict(pl.DataFrame(absent))[0])
        if not (math.isfinite(probability) and 0 <= probability <= 1):
            raise UnreadableRows(f"the model answers {probability} to an empty row; legal: 0 to 1. Export it again.")

    def _waits(self, plan: Plan) -> bool:
        self._polls_since_failure += 1
        return self._failed == plan.number and self._polls_since_failure < RETRY_POLLS

    def _note(self, error: str) -> None:
        if error != self.last_error:
            log.error(error)
        self.last_error = error

    def _watch(self) -> None:
        while not self._stopped.wait(POLL_S):
            self.poll()
