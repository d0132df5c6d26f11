"""The models that serve: verified, warmed up, and swapped between two requests when the plan changes."""

import gc
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from mlops_assets.promotion.blessing import Blessing
from mlops_assets.promotion.deployment import Deployment, Plan
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.inference.row_encoder import RowEncoder, readable_names
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.spec.use_case import UseCase
from mlops_assets.tasks import task_of

if TYPE_CHECKING:
    from mlops_assets.training.onnx_model import OnnxModel

POLL_S = 0.25
RETRY_POLLS = 40  # a plan that was not taken is tried again after this many polls; another plan is tried at once
INLINE_ROWS = 10  # answered in the event loop: some 10 µs each, and 0.9 ms where features are looked up
# Three, as a busy machine makes a single run slow now and then, and the requests that follow it pay 0.3 to 1.5 ms for a thread.
QUICK_RUN_S, QUICK_RUNS = 0.01, 3
KEPT = 4  # loaded models: those of the plan, its previous champion, and then the ones used last

log = logging.getLogger("bentoml.mlops_assets")  # a child of Bento's logger, whose handlers are the only ones in its process


class ModelLoadError(Exception):
    """A version that must not or cannot serve, and why."""


@dataclass
class Pace:
    """Whether a version is quick enough for the event loop, which it would block for all: its last QUICK_RUNS were."""

    _quick_in_a_row: int = 0

    @property
    def is_quick(self) -> bool:
        return self._quick_in_a_row >= QUICK_RUNS

    def record(self, seconds: float, rows: int) -> None:
        """A run of many rows may take as long as several of INLINE_ROWS."""
        is_quick = seconds < QUICK_RUN_S or seconds * INLINE_ROWS < QUICK_RUN_S * rows
        self._quick_in_a_row = self._quick_in_a_row + 1 if is_quick else 0


@dataclass(frozen=True)
class LoadedModel:
    """A verified version, ready to score."""

    version: int
    blessing: Blessing
    model: "OnnxModel"
    encoder: RowEncoder
    answer: Callable[[Any], tuple[Any, ...]]  # from one row of the output to the values of the task's ANSWER
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True)
class Lineup:
    """A plan with every model that it names, loaded."""

    plan: Plan
    champion: LoadedModel
    challenger: LoadedModel | None
    shadow: LoadedModel | None

    @property
    def is_quick(self) -> bool:
        """Whether the models that answer are; a shadow scores in its own thread."""
        return self.champion.pace.is_quick and (self.challenger is None or self.challenger.pace.is_quick)


class ModelSlots:
    """Holds the lineup of one use case. `poll` reads the plan once; `start` polls in a thread until `stop`. A plan that cannot be
    taken whole changes nothing: the previous lineup serves on and `last_error` says why.
    """

    def __init__(self, use_case: UseCase, deployment: Deployment, keys: SigningKeys, telemetry: Telemetry) -> None:
        self.lineup: Lineup | None = None  # replaced in one assignment: a request reads it once
        self.last_error: str | None = None
        self._task = task_of(use_case.task)
        self._use_case, self._deployment, self._keys, self._telemetry = use_case, deployment, keys, telemetry
        self._warm: dict[int | None, LoadedModel] = {}
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
        except Exception as error:  # noqa: BLE001 - nothing may end the thread that would bring the next plan
            self._record(f"{self._use_case.name} · {error}")
            return
        if self.lineup and self.lineup.plan == plan:
            self.last_error = None
        elif plan:
            self._polls_since_refusal += 1
            if plan != self._refused or self._polls_since_refusal >= RETRY_POLLS:
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
        loaded = self._warm.copy()
        for version in plan.versions:
            recorded = plan.digests.get(version)
            if version not in loaded or recorded not in (None, loaded[version].blessing.model_digest):
                loaded[version] = self._load(version, recorded)
        ranked = dict.fromkeys((plan.champion, plan.previous, plan.challenger, plan.shadow, *self._warm))
        self._warm = {version: loaded[version] for version in [version for version in ranked if version in loaded][:KEPT]}
        return Lineup(plan, loaded[plan.champion], loaded.get(plan.challenger), loaded.get(plan.shadow))

    def _load(self, version: int, recorded: str | None) -> LoadedModel:
        from mlops_assets.training.feature_code import changed_features
        from mlops_assets.training.onnx_model import OnnxModel

        started = time.perf_counter()
        try:
            onnx, blessing = self._deployment.load_blessed(version, self._keys, recorded=recorded)
            model = OnnxModel.from_bytes(onnx)
            names = readable_names(self._use_case, model.signature)
            changed = changed_features(self._use_case, blessing.training, model.signature.inputs)
            encoder = RowEncoder(model.signature, names, changed)
            # A first row, without values: the model is warm, and one that gives no legal output never serves.
            output = model.score(encoder.encode([[None] * len(names)])).tolist()[0]
            if not self._task.is_legal(output):
                raise ValueError(f"the model gives an empty row {output}, which is no {self._task.SCORES[0]}. Export it again.")
        except Exception as error:  # onnxruntime's errors share no parent but Exception, and none may end the thread of the plans
            raise ModelLoadError(f"version {version} is not served · {error}") from error
        for warning in encoder.warnings:
            log.warning("%s · version %s · %s", self._use_case.name, version, warning)
        self._telemetry.load.observe(time.perf_counter() - started)
        return LoadedModel(version, blessing, model, encoder, self._task.reader(model.signature.facts))

    def _record(self, error: str) -> None:
        self._telemetry.not_loaded.inc()
        if error != self.last_error:
            log.error(error)
        self.last_error = error

    def _watch(self) -> None:
        while not self._stopped.wait(POLL_S):
            self.poll()
