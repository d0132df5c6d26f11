"""The service of one use case: assembled from its declaration and the home folder, started and stopped with its threads."""

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import count
from random import Random
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from pythonjsonlogger.json import JsonFormatter

from mlops_assets.features.online.online_mirror import without_views
from mlops_assets.foundation.home import Environment, read_environment
from mlops_assets.foundation.home_lock import erasure_mark
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.http.admission import Admission
from mlops_assets.serving.http.api_keys import ApiKeys
from mlops_assets.serving.http.rate_limit import RateLimiter
from mlops_assets.serving.http.repeats import Repeats, idempotency_key
from mlops_assets.serving.http.request import Headers, RequestParser
from mlops_assets.serving.http.tracing import Tracing
from mlops_assets.serving.inference.answering import Answering, AsyncLookUp, LookUp
from mlops_assets.serving.inference.batching import Batching
from mlops_assets.serving.inference.model_slots import INLINE_ROWS, ModelSlots
from mlops_assets.serving.inference.scoring import Scorer
from mlops_assets.serving.inference.shadowing import Shadowing
from mlops_assets.serving.log.keyed_hash import log_secret
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.spec.monitor import Operations
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.features.feast.feature_store import FeatureStore

INLINE_BYTES = 100_000  # are parsed in a millisecond; a larger body must not block the event loop
WARN_EVERY_S = 1.0
NO_CHAMPION = "no champion serves yet"

log = logging.getLogger("bentoml.mlops_assets")


class Service:
    """Serves between `start` and `stop`, which answers what is queued and leaves nothing of the log in memory."""

    def __init__(
        self, answering: Answering, admission: Admission, tracing: Tracing, *, repeats: Repeats, path_prefix: str
    ) -> None:
        self.name, self.path_prefix = answering.use_case.name, path_prefix
        self.buffered = 0  # bytes of bodies that arrive, or wait for their answer
        self.answering, self.admission, self.tracing, self.telemetry = answering, admission, tracing, answering.telemetry
        self._repeats = repeats
        use_case, looks_up = answering.use_case, bool(answering.use_case.features.views)
        self.batching = Batching(answering.answer_together, answering.answer_async if looks_up else None)
        self.parse, serving = RequestParser(use_case), use_case.serving
        self.timeout_s, self.max_body_bytes = serving.limits.timeout.total_seconds(), serving.limits.max_body_bytes
        self._flush_every_s = serving.log.flush_every.total_seconds()
        self._stopped, self._warn_at = Event(), 0.0
        self._flusher = Thread(target=self._flush_logs, name="log-flusher", daemon=True)

    def start(self) -> None:
        for part in (self.answering.slots, self.answering.shadowing, self.batching, self._flusher):
            part.start()

    def stop(self) -> None:
        for part in (self.answering.slots, self.batching, self.answering.shadowing):
            part.stop()
        self._stopped.set()
        self._flusher.join()
        self.tracing.stop()

    @property
    def problem(self) -> str | None:
        """Why no request is answered, without paths; None where requests are."""
        if self.admission.problem or self.answering.slots.lineup:
            return self.admission.problem
        return ": ".join(filter(None, (NO_CHAMPION, self.answering.load_error)))

    def plan(self) -> dict[str, Any]:
        """What serves, why a newer plan was not taken, why no request is admitted, and what the log lacks."""
        return self.answering.plan() | {"admission_error": self.admission.problem, "log_error": self.answering.log_error}

    async def predict(self, headers: Headers, body: bytes, *, client: str, deadline: float) -> bytes:
        """The answer as JSON. Raises Refusal, BadRequest, and the errors of `Answering.answer_together` and `Repeats.answer`."""
        if (key := idempotency_key(headers)) is None:
            return await self._predict(headers, body, deadline)
        # Without a deadline: a retry gets the answer that comes too late.
        return await self._repeats.answer(client, key, body, lambda: self._predict(headers, body, math.inf))

    async def _predict(self, headers: Headers, body: bytes, deadline: float) -> bytes:
        started = self.answering.clock()
        self.admission.enter()
        self.buffered += len(body)
        try:
            with self.tracing.span(headers) as trace_id:
                if len(body) <= INLINE_BYTES:
                    request = self.parse(body, started=started, deadline=deadline, trace_id=trace_id)
                else:
                    request = await asyncio.to_thread(self.parse, body, started=started, deadline=deadline, trace_id=trace_id)
                is_slow = not ((lineup := self.answering.slots.lineup) and lineup.is_quick)
                blocks = is_slow or request.explain or len(request) > INLINE_ROWS
                return await self.batching.submit(request, in_loop=not blocks)
        finally:
            self.buffered -= len(body)
            self.admission.leave()

    def warn(self, error: Exception) -> None:
        """Logs why requests fail, once a second: an outage concerns thousands of them."""
        if (now := self.answering.clock()) >= self._warn_at:
            self._warn_at = now + WARN_EVERY_S
            log.warning("no answer · %s: %s", type(error).__name__, error)

    def measured(self) -> Telemetry:
        """The metrics, with the present state."""
        lineup = self.answering.slots.lineup
        self.telemetry.plan.set(lineup.plan.number if lineup else 0)
        self.telemetry.in_flight.set(self.admission.in_flight)
        self.telemetry.queue.set(self.batching.waiting())
        return self.telemetry

    def _flush_logs(self) -> None:
        """Every `flush_every`, and once more when the service has stopped."""
        has_stopped = False
        while not has_stopped:
            has_stopped = self._stopped.wait(self._flush_every_s)
            for prediction_log in (self.answering.log, self.answering.shadowing.log):
                try:
                    prediction_log.flush()
                except OSError as error:
                    self.telemetry.log_failures.inc()
                    log.error("the prediction log could not be synced to disk: %s", error)


def open_service(variables: Mapping[str, str], use_case: UseCase) -> Service:
    """The service of `use_case` in the home of the environment. Raises IllegalEnvironment."""
    environment = read_environment(variables)
    environment.home.share()
    traced = variables.get("OTEL_SDK_DISABLED", "true").lower() == "false"
    if not use_case.features.views:
        return assemble(use_case, environment, without_views, traced=traced)
    features = _open_features(use_case, environment)
    return assemble(use_case, environment, features.look_up, features.look_up_async, traced=traced)


def _open_features(use_case: UseCase, environment: Environment) -> "FeatureStore":
    from mlops_assets.features.feast.feature_store import FeatureStore

    features = use_case.features
    return FeatureStore(environment.home, service=features.service, redis_url=environment.redis_url, when_down=features.when_down)


def assemble(
    use_case: UseCase,
    environment: Environment,
    look_up: LookUp,
    look_up_async: AsyncLookUp | None = None,
    *,
    traced: bool = False,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    new_id: Callable[[], str] | None = None,
) -> Service:
    """The service of one use case; it is not started yet. Without `look_up_async`, `look_up` may block: it runs in a thread.
    Answers are dated by `now`, the present in UTC, and their ids are those of `new_id`, or else random.
    """
    edges_s = [edge for monitor in use_case.monitors if isinstance(monitor, Operations) for edge in monitor.edges_s]
    home, telemetry, limits = environment.home, Telemetry(edges_s), use_case.serving.limits
    secret, clock = log_secret(home.keys), time.perf_counter
    shadow_log = PredictionLog(home.shadow_log, use_case, secret=secret)
    answering = Answering(
        use_case=use_case,
        slots=ModelSlots(use_case, Deployment(home.deployments, use_case.name), SigningKeys(home.keys), telemetry),
        look_up=look_up,
        look_up_async=look_up_async or partial(asyncio.to_thread, look_up),
        log=PredictionLog(home.prediction_log, use_case, secret=secret),
        shadowing=Shadowing(shadow_log, use_case, telemetry, clock),
        scorer=Scorer(use_case, telemetry, clock),
        telemetry=telemetry,
        now=now,
        clock=clock,
        new_id=new_id or _new_id,
        next_call=count(int.from_bytes(os.urandom(5)) << 22).__next__,  # 62 bits, different on each replica
    )
    rates = None
    if limits.max_rate:
        rates = RateLimiter(limits.max_rate, scope=use_case.name, redis_url=environment.redis_url, clock=time.monotonic)
    is_open = environment.name != "production"
    keys = ApiKeys(home.keys)
    admission = Admission(keys, limits, use_case=use_case.name, clock=time.monotonic, is_open=is_open, rates=rates)
    _configure_logging(as_json=environment.name != "local")
    mark = partial(erasure_mark, home.root)
    repeats = Repeats(scope=use_case.name, redis_url=environment.redis_url, clock=time.monotonic, mark=mark)
    tracing = Tracing(_new_id, use_case=use_case.name, is_on=traced)
    return Service(answering, admission, tracing, repeats=repeats, path_prefix=environment.path_prefix_of(use_case.name))


# A call of the operating system for each id gives the interpreter's lock away twice a request.
# An instance of our own, as libraries seed the shared one.
_IDS = Random()
os.register_at_fork(after_in_child=_IDS.seed)


def _new_id() -> str:
    return f"{_IDS.getrandbits(128):032x}"


def _configure_logging(*, as_json: bool) -> None:
    """JSON is for log collectors; Bento's handlers are the only ones in its process."""
    # uvicorn formats an access line for each request where this logger has a handler: 5 µs, for a line that Bento drops.
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False
    form = JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields={"asctime": "at", "levelname": "level"})
    for name in ("bentoml", "uvicorn.error", "") if as_json else ():
        for handler in logging.getLogger(name).handlers:
            handler.setFormatter(form)
