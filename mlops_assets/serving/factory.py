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
from mlops_assets.serving.inference.cache import MemoryScores
from mlops_assets.serving.inference.model_slots import ModelSlots
from mlops_assets.serving.inference.pace import FeatureLookup, PacedLookup
from mlops_assets.serving.inference.scoring import Scorer
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
    return _named(read_environment(variables, working_folder).use_case, use_cases)


def open_service(variables: Mapping[str, str], working_folder: Path, use_cases: Sequence[UseCase]) -> Service:
    """The service that the environment names, with its features from Feast. Raises UnknownUseCase, IllegalEnvironment."""
    environment = read_environment(variables, working_folder)
    use_case = _named(environment.use_case, use_cases)
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
    home, telemetry, signing = environment.home, Telemetry(), SigningKeys(environment.home.keys)
    secret, cache = log_secret(home.keys), use_case.serving.cache
    answering = Answering(
        use_case=use_case,
        slots=ModelSlots(use_case, Deployment(home.deployments, use_case.name), signing, telemetry),
        features=PacedLookup(features, time.perf_counter),
        log=PredictionLog(home.prediction_log, use_case, secret=secret),
        shadowing=Shadowing(
            PredictionLog(home.shadow_log, use_case, secret=secret), use_case.threshold, telemetry, time.perf_counter
        ),
        scorer=Scorer(use_case, cache and MemoryScores(cache, time.monotonic), telemetry, time.perf_counter),
        telemetry=telemetry,
        now=lambda: datetime.now(UTC),
        clock=time.perf_counter,
        new_id=_new_id,
        next_call=count(int.from_bytes(os.urandom(5)) << 22).__next__,  # 62 bits, different on each replica
    )
    limits = use_case.serving.limits
    rates = (
        RateLimiter(limits.max_rate, scope=use_case.name, redis_url=environment.redis_url, clock=time.monotonic)
        if limits.max_rate
        else None
    )
    is_open = environment.name != "production"
    admission = Admission(ApiKeys(home.keys), limits, clock=time.monotonic, open_without_keys=is_open, rates=rates)
    if environment.name != "local":
        _log_as_json()
    return Service(answering, admission, open_tracing(_new_id, is_on=traced))


def _new_id() -> str:
    return os.urandom(16).hex()


def _log_as_json() -> None:
    """For log collectors; Bento's handlers are the only ones in its process."""
    form = JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields={"asctime": "at", "levelname": "level"})
    for name in ("bentoml", "uvicorn.error", ""):
        for handler in logging.getLogger(name).handlers:
            handler.setFormatter(form)


def _named(name: str, use_cases: Sequence[UseCase]) -> UseCase:
    for use_case in use_cases:
        if use_case.name == name:
            return use_case
    legal = ", ".join(use_case.name for use_case in use_cases)
    raise UnknownUseCase(f"MLOPS_USE_CASE · found {name!r}; legal: {legal}. Set one of these.")
