"""The models that serve: verified, warmed up, and swapped between two requests when the plan changes."""

import gc
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from threading import Event, Thread
from typing import TYPE_CHECKING, Protocol

import polars as pl

from mlops_assets.promotion.blessing import Blessing, verify
from mlops_assets.promotion.deployment import Deployment, Plan, UnreadablePlan
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.inference.row_encoder import RowEncoder
from mlops_assets.spec.use_case import UseCase
from mlops_assets.training.signature import UnreadableRows

if TYPE_CHECKING:
    from mlops_assets.training.onnx_model import OnnxModel

POLL_S = 0.25
RETRY_POLLS = 40  # a plan that was not taken is tried again after this many polls; another plan is tried at once
KEPT = 4  # loaded models: those of the plan, its previous champion, and then the ones used last

log = logging.getLogger("bentoml.mlops_assets")  # a child of Bento's logger, whose handlers are the only ones in its process


class ModelLoadError(Exception):
    """A version that must not or cannot serve, and why."""


class LoadCounter(Protocol):
    """Counts versions that were loaded, with their seconds, and attempts at a plan that failed."""

    def loaded(self, version: int, seconds: float) -> None: ...
    def not_loaded(self) -> None: ...


@dataclass(frozen=True)
class LoadedModel:
    """A verified version, ready to score."""

    version: int
    blessing: Blessing
    model: "OnnxModel"
    encoder: RowEncoder


@dataclass(frozen=True)
class Lineup:
    """A plan with every model that it names, loaded."""

    plan: Plan
    champion: LoadedModel
    challenger: LoadedModel | None
    shadow: LoadedModel | None


class ModelSlots:
    """Holds the lineup of one use case. `poll` reads the plan once; `start` polls in a thread until `stop`.

    A plan is taken whole or not at all: when it cannot be, the previous lineup serves on and `last_error` says why.
    """

    def __init__(
        self,
        use_case: UseCase,
        deployment: Deployment,
        keys: SigningKeys,
        counter: LoadCounter,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.lineup: Lineup | None = None  # replaced in one assignment: a request reads it once
        self.last_error: str | None = None
        self._use_case, self._deployment, self._keys, self._counter, self._clock = use_case, deployment, keys, counter, clock
        self._warm: dict[int, LoadedModel] = {}
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
            self._record(f"{self._use_case.name} · {error}")
            return
        if self.lineup and self.lineup.plan == plan:
            self.last_error = None
        elif plan and not self._waits(plan):
            self._take(plan)

    def _take(self, plan: Plan) -> None:
        try:
            lineup = self._load_lineup(plan)
        except ModelLoadError as error:
            self._refused, self._polls_since_refusal = plan, 0
            self._record(f"plan {plan.number} is not taken · {error}")
            return
        self.lineup, self.last_error, self._refused = lineup, None, None
        # Full collections walk the large heap of imported libraries and stop every request for about 0.1 s.
        gc.collect()
        gc.freeze()
        reason = f"{plan.rollout}; {plan.reason}" if plan.rollout else plan.reason
        log.info("%s · version %s serves (plan %s: %s)", self._use_case.name, plan.champion, plan.number, reason)

    def _load_lineup(self, plan: Plan) -> Lineup:
        versions = dict.fromkeys(version for version in (plan.champion, plan.challenger, plan.shadow) if version is not None)
        ready: dict[int | None, LoadedModel] = {version: self._warm.get(version) or self._load(version) for version in versions}
        loaded = self._warm | {model.version: model for model in ready.values()}
        ranked = dict.fromkeys((plan.champion, plan.previous, plan.challenger, plan.shadow, *self._warm))
        self._warm = {version: loaded[version] for version in islice((v for v in ranked if v in loaded), KEPT)}
        return Lineup(plan, ready[plan.champion], ready.get(plan.challenger), ready.get(plan.shadow))

    def _load(self, version: int) -> LoadedModel:
        started = self._clock()
        try:
            loaded = self._open(version)
        # A file from outside can fail in any way its runtime knows (onnxruntime's errors share no parent but Exception),
        # and none may end the thread that would bring the next plan.
        except Exception as error:
            raise ModelLoadError(f"version {version} is not served · {error}") from error
        self._counter.loaded(version, self._clock() - started)
        return loaded

    def _open(self, version: int) -> LoadedModel:
        from mlops_assets.training.onnx_model import OnnxModel

        onnx, text = self._deployment.load(version)
        blessing = Blessing.from_json(text)
        verify(blessing, use_case=self._use_case.name, onnx=onnx, public_keys=self._keys.public())
        model = OnnxModel.from_bytes(onnx, threads=1)
        self._warm_up(model)
        return LoadedModel(version, blessing, model, RowEncoder(model.signature, self._use_case.features.inputs))

    def _warm_up(self, model: "OnnxModel") -> None:
        """Scores one row without values, so that a model that cannot read the declared inputs never serves."""
        features = self._use_case.features
        absent = {name: pl.Series([None], dtype=pl.Float64) for name in features.numeric}
        absent |= {name: pl.Series([None], dtype=pl.String) for name in features.categorical}
        probability = float(model.predict(pl.DataFrame(absent))[0])
        if not (math.isfinite(probability) and 0 <= probability <= 1):
            raise UnreadableRows(f"the model gives an empty row {probability}; legal: 0 to 1. Export it again.")

    def _waits(self, plan: Plan) -> bool:
        self._polls_since_refusal += 1
        return self._refused == plan and self._polls_since_refusal < RETRY_POLLS

    def _record(self, error: str) -> None:
        self._counter.not_loaded()
        if error != self.last_error:
            log.error(error)
        self.last_error = error

    def _watch(self) -> None:
        while not self._stopped.wait(POLL_S):
            self.poll()
