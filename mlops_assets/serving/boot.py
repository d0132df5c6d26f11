"""Puts one running service together from the declaration and the home folder.

Belongs here: which port is handed to what. Not here: reading the environment (ports/home.py) and Bento (deploy/service.py).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from mlops_assets.ports.deployment import Deployment
from mlops_assets.ports.home import Home, read_environment
from mlops_assets.ports.prediction_log import PredictionLog
from mlops_assets.ports.signing_keys import SigningKeys
from mlops_assets.serving.answering import Answering, FeatureLookup
from mlops_assets.serving.model_slot import ModelSlot
from mlops_assets.spec.use_case import UseCase


class UnknownUseCase(LookupError):
    """MLOPS_USE_CASE names no declared use case."""


def open_service(variables: Mapping[str, str], working_folder: Path, use_cases: Sequence[UseCase]) -> Answering:
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
    return assemble(use_case, environment.home, store)


def assemble(use_case: UseCase, home: Home, features: FeatureLookup) -> Answering:
    """The service of one use case; its slot is not started yet."""
    return Answering(
        use_case=use_case,
        slot=ModelSlot(use_case, Deployment(home.deployments, use_case.name), SigningKeys(home.keys)),
        features=features,
        log=PredictionLog(home.prediction_log, use_case),
        now=lambda: datetime.now(UTC),
        new_id=lambda: uuid4().hex,
    )


def _named(name: str, use_cases: Sequence[UseCase]) -> UseCase:
    for use_case in use_cases:
        if use_case.name == name:
            return use_case
    legal = ", ".join(use_case.name for use_case in use_cases)
    raise UnknownUseCase(f"MLOPS_USE_CASE · found {name!r}; legal: {legal}. Set one of these.")
