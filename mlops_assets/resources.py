"""Dagster's resources: each holds typed configuration; its `open` imports the store's libraries and opens the store."""
# Dagster generates the classes with their type argument left open.
# pyright: reportMissingTypeArgument=false

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import dagster as dg

from mlops_assets.foundation import names
from mlops_assets.foundation.grains import table_calendar
from mlops_assets.foundation.home import Environment, Home, urls_of
from mlops_assets.foundation.project import PROJECT
from mlops_assets.home_claim import HomeLock
from mlops_assets.spec.pulled_source import PulledSource
from mlops_assets.spec.use_case import UseCase

if TYPE_CHECKING:
    from mlops_assets.features.feast.feature_store import FeatureStore
    from mlops_assets.foundation.channels import Channels
    from mlops_assets.foundation.delta_tables import DeltaTables
    from mlops_assets.ingestion.landing import Landing
    from mlops_assets.ingestion.pulling.pull import Pulled
    from mlops_assets.promotion.deployment import Deployment
    from mlops_assets.promotion.ledger import Ledger
    from mlops_assets.promotion.signing_keys import SigningKeys
    from mlops_assets.serving.client import LiveService
    from mlops_assets.serving.log.prediction_log import PredictionLog
    from mlops_assets.training.model_registry import ModelRegistry


class LandingResource(dg.ConfigurableResource):
    folder: str

    def open(self) -> "Landing":
        from mlops_assets.ingestion.landing import Landing

        return Landing(Path(self.folder))


class WarehouseResource(dg.ConfigurableResource):
    folder: str

    def open(self) -> "DeltaTables":
        from mlops_assets.foundation.delta_tables import DeltaTables

        return DeltaTables(Path(self.folder))


class PullingResource(dg.ConfigurableResource):
    """Reads sources into the landing folder, with the credentials of the environment variables that they name."""

    landing: LandingResource
    warehouse: WarehouseResource

    def pull(self, source: PulledSource, use_case: UseCase, *, now: datetime, anew: bool) -> "Pulled":
        """Raises OtherGrain before it reads, and CannotPull."""
        from mlops_assets.foundation.delta_tables import require_grain
        from mlops_assets.ingestion.pulling.pull import pull

        stored = self.warehouse.open().path(names.raw(use_case.name, source.table))
        require_grain(stored, str(table_calendar(use_case, source.table)))
        secrets = {name: _value(dg.EnvVar(name)) or "" for name in source.variables}
        return pull(source, use_case, landing=self.landing.open(), secrets=secrets, now=now, anew=anew)


class FeatureStoreResource(dg.ConfigurableResource):
    home: str
    project: str
    redis_url: str | None

    def open(self, service: str) -> "FeatureStore":
        """The store of one feature service, with feature_repo applied: the project's, or else that of this package."""
        from mlops_assets.features.feast.feature_store import FeatureStore

        store = FeatureStore(Home(Path(self.home)), service=service, redis_url=_value(self.redis_url))
        own = Path(self.project) / "feature_repo"
        store.apply(own if own.is_dir() else PROJECT / "feature_repo")
        return store

    def is_filled(self, views: Sequence[str]) -> bool:
        """Whether these views of Feast have been materialized since the store was emptied. Raises OnlineStoreDown."""
        from mlops_assets.features.online.key_value_stores import is_filled

        return is_filled(Home(Path(self.home)), _value(self.redis_url), views)

    def outage(self, use_case: UseCase) -> str:
        """Why the Redis that serves its features does not answer; empty where it does, or where there is none."""
        if not _value(self.redis_url) or not use_case.features.views:
            return ""
        from mlops_assets.features.online.key_value_stores import OnlineStoreDown

        try:
            self.is_filled([view.name for view in use_case.features.views])
        except OnlineStoreDown as error:
            return str(error)
        return ""


class RegistryResource(dg.ConfigurableResource):
    """MLflow. The URLs of the web pages of MLflow and Dagster are for links between them, where they are known."""

    folder: str
    database: str | None
    mlflow_url: str | None
    dagster_url: str | None

    def open(self) -> "ModelRegistry":
        from mlops_assets.training.model_registry import ModelRegistry

        return ModelRegistry(Path(self.folder), _value(self.database))


class DeploymentResource(dg.ConfigurableResource):
    folder: str

    def open(self, use_case: str) -> "Deployment":
        from mlops_assets.promotion.deployment import Deployment

        return Deployment(Path(self.folder), use_case)


class PredictionLogResource(dg.ConfigurableResource):
    folder: str

    def open(self, use_case: UseCase) -> "PredictionLog":
        from mlops_assets.serving.log.prediction_log import PredictionLog

        return PredictionLog(Path(self.folder), use_case)


class SigningKeysResource(dg.ConfigurableResource):
    folder: str
    private_key_file: str | None

    def open(self) -> "SigningKeys":
        from mlops_assets.promotion.signing_keys import SigningKeys

        return SigningKeys(Path(self.folder), Path(self.private_key_file) if self.private_key_file else None)


class LedgerResource(dg.ConfigurableResource):
    """The ledger, and the clock by which decisions are dated: the present, or in a backtest the moment `as_of`."""

    url: str
    heads: str  # the folder that remembers the newest records
    as_of: str | None = None  # ISO 8601

    def open(self) -> "Ledger":
        from mlops_assets.promotion.ledger import Ledger

        return Ledger(_value(self.url) or "", Path(self.heads))

    def now(self) -> datetime:
        return datetime.fromisoformat(self.as_of) if self.as_of else datetime.now(UTC)


class LiveServicesResource(dg.ConfigurableResource):
    urls: dict[str, list[str]]  # by use case
    api_key: str | None
    status_url: str | None = None  # of the page of all use cases

    def open(self, use_case: str) -> "list[LiveService]":
        """One client per replica that serves the use case."""
        from mlops_assets.serving.client import LiveService

        return [LiveService(url, _value(self.api_key), use_case) for url in urls_of(self.urls, use_case)]


class RolloutStoresResource(dg.ConfigurableResource):
    """What one step of a rollout reads and writes."""

    ledger: LedgerResource
    deployment: DeploymentResource
    signing_keys: SigningKeysResource
    prediction_log: PredictionLogResource
    shadow_log: PredictionLogResource
    warehouse: WarehouseResource
    folder: str


class ReportsResource(dg.ConfigurableResource):
    folder: str
    evidently_url: str | None = None

    def open(self) -> Path:
        return Path(self.folder)


class ChannelsResource(dg.ConfigurableResource):
    """Where alerts go, and the web pages to which messages link."""

    addresses: str | None
    folder: str
    dagster_url: str | None
    status_url: str | None

    def open(self) -> "Channels":
        from mlops_assets.foundation.channels import LOG, Channels

        return Channels((_value(self.addresses) or "").split(), Path(self.folder, LOG))


class Resources(TypedDict):
    """The resources of one environment, under the parameter names that assets, checks, sensors and jobs use."""

    home_lock: HomeLock
    landing: LandingResource
    pulling: PullingResource
    warehouse: WarehouseResource
    feature_store: FeatureStoreResource
    registry: RegistryResource
    deployment: DeploymentResource
    prediction_log: PredictionLogResource
    signing_keys: SigningKeysResource
    ledger: LedgerResource
    live_services: LiveServicesResource
    rollout_stores: RolloutStoresResource
    reports: ReportsResource
    channels: ChannelsResource


def build_resources(environment: Environment, *, as_of: datetime | None = None) -> Resources:
    """`as_of`: the time by which decisions are dated, where it is not the present."""
    home, key_file = environment.home, environment.signing_key
    landing = LandingResource(folder=str(home.landing))
    redis_url = _secret("MLOPS_ONLINE_STORE", environment.redis_url)
    mlflow_store = _secret("MLOPS_MLFLOW_STORE", environment.mlflow_store)
    ledger_url = _secret("MLOPS_LEDGER", environment.postgres_url) or environment.ledger_url
    links = {"mlflow_url": environment.mlflow_url, "dagster_url": environment.dagster_url}
    urls = {use_case: [*own] for use_case, own in environment.service_urls.items()}
    rollout_stores = RolloutStoresResource(
        ledger=LedgerResource(url=ledger_url, heads=str(home.deployments), as_of=as_of.isoformat() if as_of else None),
        deployment=DeploymentResource(folder=str(home.deployments)),
        signing_keys=SigningKeysResource(folder=str(home.keys), private_key_file=str(key_file) if key_file else None),
        prediction_log=PredictionLogResource(folder=str(home.prediction_log)),
        shadow_log=PredictionLogResource(folder=str(home.shadow_log)),
        warehouse=WarehouseResource(folder=str(home.tables)),
        folder=str(home.rollouts),
    )
    return Resources(
        home_lock=HomeLock(root=str(home.root)),
        landing=landing,
        pulling=PullingResource(landing=landing, warehouse=rollout_stores.warehouse),
        warehouse=rollout_stores.warehouse,
        feature_store=FeatureStoreResource(home=str(home.root), project=str(environment.project), redis_url=redis_url),
        registry=RegistryResource(folder=str(home.mlflow), database=mlflow_store, **links),
        deployment=rollout_stores.deployment,
        prediction_log=rollout_stores.prediction_log,
        signing_keys=rollout_stores.signing_keys,
        ledger=rollout_stores.ledger,
        live_services=LiveServicesResource(
            urls=urls, api_key=_secret("MLOPS_API_KEY", environment.api_key), status_url=environment.status_url
        ),
        rollout_stores=rollout_stores,
        reports=ReportsResource(folder=str(home.reports), evidently_url=environment.evidently_url),
        channels=ChannelsResource(
            addresses=_secret("MLOPS_ALERTS", environment.alerts),
            folder=str(home.logs),
            dagster_url=environment.dagster_url,
            status_url=environment.status_url,
        ),
    )


def _secret(variable: str, value: str | None) -> str | None:
    """A reference to the variable, where it holds exactly `value`: the web UI shows the configuration of resources."""
    return dg.EnvVar(variable) if value and _value(dg.EnvVar(variable)) == value else value


def _value(configured: str | None) -> str | None:
    """The value itself: Dagster resolves references in runs only."""
    value = configured.get_value() if isinstance(configured, dg.EnvVar) else configured
    return value.strip() if value else None
