"""Resources: each opens one port when a run needs it. One table each for local, test and production.

Belongs here: which port stands behind which resource key. Not here: the ports, and the reading of the environment.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import dagster as dg

from mlops_assets.ports.home import PROJECT, Environment, read_environment

Open = Callable[[Environment], Any]


def _landing(environment: Environment) -> Any:
    from mlops_assets.ports.landing import Landing

    return Landing(environment.home.landing)


def _warehouse(environment: Environment) -> Any:
    from mlops_assets.ports.delta_tables import DeltaTables

    return DeltaTables(environment.home.tables)


def _feature_store(environment: Environment) -> Any:
    from mlops_assets.ports.light_feast import import_feast

    import_feast()
    from mlops_assets.ports.feature_store import FeatureStore

    def open_service(service: str) -> FeatureStore:
        store = FeatureStore(environment.home, service=service, redis_url=environment.redis_url)
        store.apply(environment.project / "feature_repo")
        return store

    return open_service


def _registry(environment: Environment) -> Any:
    from mlops_assets.ports.model_registry import ModelRegistry

    return ModelRegistry(environment.home.mlflow)


def _deployment(environment: Environment) -> Any:
    from mlops_assets.ports.deployment import Deployment

    return partial(Deployment, environment.home.deployments)


def _prediction_log(environment: Environment) -> Any:
    from mlops_assets.ports.prediction_log import PredictionLog

    return partial(PredictionLog, environment.home.prediction_log)


def _keys(environment: Environment) -> Any:
    from mlops_assets.ports.signing_keys import SigningKeys

    return SigningKeys(environment.home.keys, environment.signing_key)


def _ledger(environment: Environment) -> Any:
    from mlops_assets.ports.ledger import Ledger

    return Ledger(environment.ledger_url)


def _shadow_log(environment: Environment) -> Any:
    from mlops_assets.ports.prediction_log import PredictionLog

    return partial(PredictionLog, environment.home.shadow_log)


def _live_services(environment: Environment) -> Any:
    from mlops_assets.ports.live_service import LiveService

    urls = (environment.service_url, *environment.other_service_urls)
    return [LiveService(url, environment.api_key) for url in urls]


EMBEDDED: dict[str, Open] = {
    "landing": _landing,
    "warehouse": _warehouse,
    "feature_store": _feature_store,
    "registry": _registry,
    "deployment": _deployment,
    "prediction_log": _prediction_log,
    "keys": _keys,
    "ledger": _ledger,
    "live_services": _live_services,
    "shadow_log": _shadow_log,
    "environment": lambda environment: environment,
    "rollouts": lambda environment: environment.home.rollouts,
    "reports": lambda environment: environment.home.reports,
}
# Every environment stands on the embedded ports today; a production port replaces its line here.
TABLES: dict[str, dict[str, Open]] = {"local": EMBEDDED, "test": EMBEDDED, "production": EMBEDDED}


def chosen_environment() -> Environment:
    """The environment of this process, chosen once by MLOPS_ENV."""
    return read_environment(os.environ, PROJECT)


def build_resources(environment: Environment) -> dict[str, Any]:
    """The resources of an environment, by key; nothing is opened until a run needs it."""
    return {key: _resource(key, open_port, environment) for key, open_port in TABLES[environment.name].items()}


def _resource(key: str, open_port: Open, environment: Environment) -> dg.ResourceDefinition:
    said = f"Opens {key} below {environment.home.root.name}."
    return dg.ResourceDefinition(lambda _context: open_port(environment), description=said)
