"""Builds the service of one use case from its declaration and the home folder."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from pythonjsonlogger.json import JsonFormatter

from mlops_assets.foundation.home import Environment, read_environment
from mlops_assets.promotion.deployment import Deployment
from mlops_assets.promotion.signing_keys import SigningKeys
from mlops_assets.serving.http.admission import Admission
from mlops_assets.serving.http.api_keys import ApiKeys
from mlops_assets.serving.http.rate_limit import RateLimiter
from mlops_assets.serving.http.tracing import open_tracing
from mlops_assets.serving.inference.answering import Answering
from mlops_assets.serving.inference.model_slots import ModelSlots
from mlops_assets.serving.inference.pace import FeatureLookup, PacedLookup
from mlops_assets.serving.inference.scoring import MemoryScores, Scorer
from mlops_assets.serving.inference.shadowing import Shadowing
from mlops_assets.serving.log.log_secret import log_secret
from mlops_assets.serving.log.prediction_log import PredictionLog
from mlops_assets.serving.service import Service
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.spec.use_case import UseCase


class UnknownUseCase(LookupError):
    """MLOPS_USE_CASE names no declared use case."""


def served_use_case(variables: Mapping[str, str], working_folder: Path, use_cases: Sequence[UseCase]) -> UseCase:
    """The use case that the environment names. Raises UnknownUseCase, IllegalEnvironment."""
    name = read_environment(variables, working_folder).use_case
    by_name = {use_case.name: use_case for use_case in use_cases}
    if name not in by_name:
        raise UnknownUseCase(f"MLOPS_USE_CASE · found {name!r}; legal: {', '.join(by_name)}. Set one of these.")
    return by_name[name]


def open_service(variables: Mapping[str, str], working_folder: Path, use_cases: Sequence[UseCase]) -> Service:
    """The service that the environment names, with its features from Feast. Raises UnknownUseCase, IllegalEnvironment."""
    environment, use_case = read_environment(variables, working_folder), served_use_case(variables, working_folder, use_cases)
    from mlops_assets.features.feast.feast_internals import import_feast

    import_feast()
    from mlops_assets.features.feast.feature_store import FeatureStore

    features = use_case.features
    store = FeatureStore(
        environment.home, service=features.service, redis_url=environment.redis_url, when_down=features.when_down
    )
    return assemble(use_case, environment, store, traced=variables.get("OTEL_SDK_DISABLED", "true").lower() == "false")


def assemble(use_case: UseCase, environment: Environment, features: FeatureLookup, *, traced: bool = False) -> Service:
    """The service of one use case; it is not started yet."""
    home, telemetry, cache, limits = environment.home, Telemetry(), use_case.serving.cache, use_case.serving.limits
    secret, clock = log_secret(home.keys), time.perf_counter
    shadow_log = PredictionLog(home.shadow_log, use_case, secret=secret)
    answering = Answering(
        use_case=use_case,
        slots=ModelSlots(use_case, Deployment(home.deployments, use_case.name), SigningKeys(home.keys), telemetry),
        features=PacedLookup(features, clock),
        log=PredictionLog(home.prediction_log, use_case, secret=secret),
        shadowing=Shadowing(shadow_log, use_case.threshold, telemetry, clock),
        scorer=Scorer(use_case, cache and MemoryScores(cache, time.monotonic), telemetry, clock),
        telemetry=telemetry,
        now=lambda: datetime.now(UTC),
        clock=clock,
        new_id=_new_id,
        next_call=count(int.from_bytes(os.urandom(5)) << 22).__next__,  # 62 bits, different on each replica
    )
    rates = None
    if limits.max_rate:
        rates = RateLimiter(limits.max_rate, scope=use_case.name, redis_url=environment.redis_url, clock=time.monotonic)
    is_open = environment.name != "production"
    admission = Admission(ApiKeys(home.keys), limits, clock=time.monotonic, open_without_keys=is_open, rates=rates)
    _configure_logging(as_json=environment.name != "local")
    return Service(answering, admission, open_tracing(_new_id, is_on=traced))


def _new_id() -> str:
    return os.urandom(16).hex()


def _configure_logging(*, as_json: bool) -> None:
    """JSON is for log collectors; Bento's handlers are the only ones in its process."""
    # uvicorn formats an access line for each request where this logger has a handler: 5 µs, for a line that Bento drops.
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False
    form = JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields={"asctime": "at", "levelname": "level"})
    for name in ("bentoml", "uvicorn.error", "") if as_json else ():
        for handler in logging.getLogger(name).handlers:
            handler.setFormatter(form)
