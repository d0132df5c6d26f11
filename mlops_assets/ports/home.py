"""The one home folder under which the embedded platform keeps everything, and the environment that chooses it.

Belongs here: paths below the home, and the only reading of environment variables. Not here: what lies in the files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

EnvironmentName = Literal["local", "test", "production"]
LEGAL: tuple[EnvironmentName, ...] = ("local", "test", "production")
DEFAULT_HOME = Path(".mlops")
SQLITE = "sqlite"


class IllegalEnvironment(ValueError):
    """An environment variable holds what it must not."""


@dataclass(frozen=True)
class Home:
    """Where the platform lives. Every path is absolute; nothing is created here."""

    root: Path

    @property
    def landing(self) -> Path:
        return self.root / "landing"

    @property
    def tables(self) -> Path:
        return self.root / "tables"

    @property
    def feast(self) -> Path:
        return self.root / "feast"

    @property
    def mlflow(self) -> Path:
        return self.root / "mlflow"

    @property
    def deployments(self) -> Path:
        return self.root / "deployments"

    @property
    def prediction_log(self) -> Path:
        return self.root / "prediction_log"

    @property
    def shadow_log(self) -> Path:
        return self.root / "shadow_log"

    @property
    def rollouts(self) -> Path:
        return self.root / "rollouts"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def dagster(self) -> Path:
        return self.root / "dagster"

    @property
    def logs(self) -> Path:
        return self.root / "logs"


@dataclass(frozen=True)
class Environment:
    """What the environment says: which resources apply, where project and home are, where the service answers."""

    name: EnvironmentName
    project: Path
    home: Home
    service_url: str  # of the replica that the platform asks
    use_case: str
    redis_url: str | None = None  # None: online values lie in SQLite below home
    api_key: str | None = field(default=None, repr=False)  # what the platform shows to the service; None: nothing
    other_service_urls: tuple[str, ...] = ()  # of the other replicas
    signing_key: Path | None = None  # a file that a secret store hands over; None: made below home on first use
    postgres_url: str | None = field(default=None, repr=False)  # holds a password; None: the ledger lies in SQLite below home

    @property
    def ledger_url(self) -> str:
        """Where the ledger lies, for ports/ledger.py; may hold a password."""
        return self.postgres_url or f"sqlite:///{quote(str(self.home.root / 'ledger.db'))}"


def read_environment(variables: Mapping[str, str], working_folder: Path) -> Environment:
    """MLOPS_ENV (local, test, production), MLOPS_HOME, MLOPS_SERVICE_URL (of each replica, with commas between), MLOPS_USE_CASE
    (the one a service answers), MLOPS_ONLINE_STORE (sqlite, or the address of a Redis), MLOPS_LEDGER (the address of a
    Postgres; SQLite below the home when left out), MLOPS_API_KEY (to ask the service with), MLOPS_SIGNING_KEY (the file of
    the private key).

    Raises IllegalEnvironment for an unknown MLOPS_ENV, MLOPS_ONLINE_STORE or MLOPS_LEDGER, or a test or production
    environment without a home.
    """
    name = variables.get("MLOPS_ENV", "local")
    if name not in LEGAL:
        raise IllegalEnvironment(f"MLOPS_ENV · found {name!r}; legal: {', '.join(LEGAL)}. Set one of these.")
    if name != "local" and "MLOPS_HOME" not in variables:
        raise IllegalEnvironment(f"MLOPS_HOME · not set, and MLOPS_ENV={name} has no default. Set it to a folder.")
    service_url, *others = (url.strip() for url in variables.get("MLOPS_SERVICE_URL", "http://127.0.0.1:3000").split(","))
    home = working_folder / variables.get("MLOPS_HOME", str(DEFAULT_HOME))
    return Environment(
        name=name,
        project=working_folder,
        home=Home(home.resolve()),
        service_url=service_url,
        other_service_urls=tuple(filter(None, others)),
        use_case=variables.get("MLOPS_USE_CASE", "flight_delay"),
        redis_url=_redis_url(variables.get("MLOPS_ONLINE_STORE", SQLITE)),
        api_key=variables.get("MLOPS_API_KEY", "").strip() or None,
        signing_key=Path(said) if (said := variables.get("MLOPS_SIGNING_KEY", "").strip()) else None,
        postgres_url=_postgres_url(variables.get("MLOPS_LEDGER", "").strip()),
    )


def _redis_url(said: str) -> str | None:
    if said == SQLITE:
        return None
    if said.startswith(("redis://", "rediss://")):
        return said
    raise IllegalEnvironment(f"MLOPS_ONLINE_STORE · found {said!r}; legal: {SQLITE}, redis://host:port/0. Set one of these.")


def _postgres_url(said: str) -> str | None:
    if not said or said.startswith("postgresql://"):
        return said or None
    legal = "legal: postgresql://user:password@host/database, or not set (SQLite below MLOPS_HOME)"
    raise IllegalEnvironment(
        f"MLOPS_LEDGER · found another address, not shown as it may hold a password; {legal}. Set one of these."
    )
