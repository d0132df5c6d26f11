"""The models that answer: verified, warmed up, and swapped between two requests when the plan changes.

Belongs here: watching the plan, loading and checking what it names, keeping the last champions warm.
Not here: answering (answering.py), who goes to which model (routing.py), placing (promotion/deployment.py).
"""

import gc
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from threading import Event, Thread
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.promotion.blessing import Blessing, verify
from mlops_assets.promotion.deployment import Deployment, Plan, UnreadablePlan
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.inference.row_encoder import RowEncoder
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.signature import Signature, UnreadableRows

POLL_S = 0.25
RETRY_POLLS = 40  # a plan that was not taken is tried again after this many polls; another plan is tried at once
KEPT = 4  # loaded models: those of the plan, its previous champion, and then the ones used last

log = logging.getLogger("bentoml.mlops_assets")  # below Bento's logger, whose handlers are the only ones in its process


class ModelLoadError(Exception):
    """A version that may not or cannot answer, and why."""


class Model(Protocol):
    """What training/onnx_model.py makes of ONNX bytes."""

    @property
    def signature(self) -> Signature: ...

    def predict(self, frame: pl.DataFrame) -> NDArray[np.floating]: ...

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]: ...


class Watcher(Protocol):
    """Who counts for the outside."""

    def loaded(self, version: int, seconds: float) -> None:
        """A version was read, verified, opened and warmed up."""
        ...

    def not_loaded(self) -> None:
        """The plan was not taken, once for every attempt: unreadable, or one of its versions is not served."""
        ...


@dataclass(frozen=True)
class Loaded:
    """A version that may answer."""

    version: int
    blessing: Blessing
    model: Model
    encoder: RowEncoder


@dataclass(frozen=True)
class Lineup:
    """A plan with every model that it names."""

    plan: Plan
    champion: Loaded
    challenger: Loaded | None
    shadow: Loaded | None


class ModelSlots:
    """Holds the lineup of one use case. `poll` looks at the plan once; `start` polls in a thread until `stop`.

    A plan is taken whole or not at all: when it cannot be, the lineup before goes on and `last_error` says why.
    """

    def __init__(
        self,
        use_case: UseCase,
        deployment: Deployment,
        keys: SigningKeys,
        watcher: Watcher,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.lineup: Lineup | None = None  # replaced in one assignment: a request reads it once
        self.last_error: str | None = None
        self._use_case = use_case
        self._deployment = deployment
        self._keys = keys
        self._watcher = watcher
        self._clock = clock
        self._warm: dict[int, Loaded] = {}
        self._refused: Plan | None = None
        self._polls_since_refusal = 0
        self._stopped = Event()
        self._thread = Thread(target=self._watch, name="model-slots", daemon=True)

    def start(self) -> None:
        self.poll()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def poll(self) -> None:
        """Takes the plan in force, unless it is taken already; a plan that cannot be taken changes nothing."""
        try:
            plan = self._deployment.plan()
        except (OSError, UnreadablePlan) as error:
            self._note(f"{self._use_case.name} · {error}")
            return
        if self.lineup and self.lineup.plan == plan:
            self.last_error = None
        elif plan and not self._waits(plan):
            self._take(plan)

    def _take(self, plan: Plan) -> None:
        try:
            lineup = self._line_up(plan)
        except ModelLoadError as error:
            self._refused, self._polls_since_refusal = plan, 0
            self._note(f"plan {plan.number} is not taken · {error}")
            return
        self.lineup, self.last_error, self._refused = lineup, None, None
        # Full collections walk the large heap of imported libraries and stop every request for about 0.1 s.
        gc.collect()
        gc.freeze()
        said = f"{plan.rollout}; {plan.reason}" if plan.rollout else plan.reason
        log.info("%s · version %s answers (plan %s: %s)", self._use_case.name, plan.champion, plan.number, said)

    def _line_up(self, plan: Plan) -> Lineup:
        named = dict.fromkeys(version for version in (plan.champion, plan.challenger, plan.shadow) if version is not None)
        ready: dict[int | None, Loaded] = {version: self._warm.get(version) or self._load(version) for version in named}
        self._keep_warm(plan, self._warm | {loaded.version: loaded for loaded in ready.values()})
        return Lineup(plan, ready[plan.champion], ready.get(plan.challenger), ready.get(plan.shadow))

    def _keep_warm(self, plan: Plan, loaded: dict[int, Loaded]) -> None:
        ranked = dict.fromkeys((plan.champion, plan.previous, plan.challenger, plan.shadow, *self._warm))
        kept = [version for version in ranked if version in loaded]
        self._warm = {version: loaded[version] for version in islice(kept, KEPT)}

    def _load(self, version: int) -> Loaded:
        started = self._clock()
        try:
            loaded = self._open(version)
        # A file from outside can fail in any way its runtime knows (onnxruntime's errors share no parent but Exception),
        # and none may end the thread that would bring the next plan.
        except Exception as error:
            raise ModelLoadError(f"version {version} is not served · {error}") from error
        self._watcher.loaded(version, self._clock() - started)
        return loaded

    def _open(self, version: int) -> Loaded:
        from mlops_assets.training.onnx_model import OnnxModel

        onnx, text = self._deployment.load(version)
        blessing = Blessing.from_json(text)
        verify(blessing, use_case=self._use_case.name, onnx=onnx, public_keys=self._keys.public())
        model: Model = OnnxModel.from_bytes(onnx, threads=1)
        self._warm_up(model)
        return Loaded(version, blessing, model, RowEncoder(model.signature, self._use_case.features.inputs))

    def _warm_up(self, model: Model) -> None:
        """Asks one row of nothing known, so that a model that cannot read the declared inputs never answers."""
        features = self._use_case.features
        absent = {name: pl.Series([None], dtype=pl.Float64) for name in features.numeric}
        absent |= {name: pl.Series([None], dtype=pl.String) for name in features.categorical}
        probability = float(model.predict(pl.DataFrame(absent))[0])
        if not (math.isfinite(probability) and 0 <= probability <= 1):
            raise UnreadableRows(f"the model answers {probability} to an empty row; legal: 0 to 1. Export it again.")

    def _waits(self, plan: Plan) -> bool:
        self._polls_since_refusal += 1
        return self._refused == plan and self._polls_since_refusal < RETRY_POLLS

    def _note(self, error: str) -> None:
        self._watcher.not_loaded()
        if error != self.last_error:
            log.error(error)
        self.last_error = error

    def _watch(self) -> None:
        while not self._stopped.wait(POLL_S):
            self.poll()
