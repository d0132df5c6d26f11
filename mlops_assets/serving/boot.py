"""Puts one running service together from the declaration and the home folder.

Belongs here: which port is handed to what. Not here: reading the environment (ports/home.py) and Bento (deploy/service.py).
"""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from pythonjsonlogger.json import JsonFormatter

from mlops_assets.ports.api_keys import ApiKeys
from mlops_assets.ports.deployment import Deployment
from mlops_assets.ports.home import Environment, read_environment
from mlops_assets.ports.log_secret import log_secret
from mlops_assets.ports.prediction_log import PredictionLog
from mlops_assets.ports.signing_keys import SigningKeys
from mlops_assets.serving.admission import Admission
from mlops_assets.serving.answering import Answering
from mlops_assets.serving.cache import MemoryScores, RedisScores, ScoreCache
from mlops_assets.serving.model_slots import ModelSlots
from mlops_assets.serving.pace import FeatureLookup, PacedLookup
from mlops_assets.serving.scoring import Scorer
from mlops_assets.serving.service import Service
from mlops_assets.serving.shadowing import Shadowing
from mlops_assets.serving.telemetry import Telemetry
from mlops_assets.serving.tracing import open_tracing
from mlops_assets.spec.use_case import UseCase
from mlops_assets.spec.word import IllegalDeclaration


class UnknownUseCase(LookupError):
    """MLOPS_USE_CASE names no declared use case."""


def served_use_case(variables: Mapping[str, str], working_folder: Path, use_cases: Sequence[UseCase]) -> UseCase:
    """The use case that the environment names. Raises UnknownUseCase, IllegalEnvironment."""
    return _named(read_environment(variables, working_folder).use_case, use_cases)


def open_service(variables: Mapping[str, str], working_folder: Path, use_cases: Sequence[UseCase]) -> Service:
    """The service that the environment asks for, its features from Feast. Raises UnknownUseCase, IllegalEnvironment."""
    environment = read_environment(variables, working_folder)
    use_case = _named(environment.use_case, use_cases)
    from mlops_assets.ports.light_feast import import_feast

    import_feast()
    from mlops_assets.ports.feature_store import FeatureStore

    features = use_case.features
    store = FeatureStore(
        environment.home, service=features.service, redis_url=environment.redis_url, when_down=features.when_down
    )
    return assemble(use_case, environment, store, traced=variables.get("OTEL_SDK_DISABLED", "true").lower() == "false")


def assemble(use_case: UseCase, environment: Environment, features: FeatureLookup, *, traced: bool = False) -> Service:
    """The service of one use case; it is not started yet."""
    home, telemetry, signing = environment.home, Telemetry(), SigningKeys(environment.home.keys)
    secret = log_secret(home.keys)
    answering = Answering(
        use_case=use_case,
        slots=ModelSlots(use_case, Deployment(home.deployments, use_case.name), signing, telemetry),
        features=PacedLookup(features, time.perf_counter),
        log=PredictionLog(home.prediction_log, use_case, secret=secret),
        shadowing=Shadowing(
            PredictionLog(home.shadow_log, use_case, secret=secret), use_case.threshold, telemetry, time.perf_counter
        ),
        scorer=Scorer(use_case, _cache(use_case, environment.redis_url), telemetry, time.perf_counter),
        telemetry=telemetry,
        now=lambda: datetime.now(UTC),
        clock=time.perf_counter,
        new_id=_new_id,
        next_call=count(int.from_bytes(os.urandom(5)) << 22).__next__,  # whole numbers of 62 bits, apart for each replica
    )
    admission = Admission(
        ApiKeys(home.keys), use_case.serving.limits, clock=time.monotonic, open_without_keys=environment.name != "production"
    )
    if environment.name != "local":
        _log_as_json()
    return Service(answering, admission, open_tracing(_new_id, is_on=traced))


def _new_id() -> str:
    return os.urandom(16).hex()


def _cache(use_case: UseCase, redis_url: str | None) -> ScoreCache | None:
    word = use_case.serving.cache
    if word is None:
        return None
    if word.where == "memory":
        return MemoryScores(word, time.monotonic)
    if redis_url is None:
        raise IllegalDeclaration(
            f"{use_case.name} · serving.cache.where = 'redis', and MLOPS_ONLINE_STORE names no Redis. Name one, or use memory."
        )
    return RedisScores(word, redis_url, time.monotonic)


def _log_as_json() -> None:
    """What machines collect, machines should read; Bento's handlers are the only ones in its process."""
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
