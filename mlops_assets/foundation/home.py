"""The home folder of the platform, and the only module that parses environment variables (with project.py next to it)."""

import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote, urlsplit

from mlops_assets.foundation.project import PROJECT as PROJECT  # noqa: PLC0414 - of which most readers are those of the home
from mlops_assets.foundation.project import IllegalProject, find_project

EnvironmentName = Literal["local", "test", "production"]
LEGAL: tuple[EnvironmentName, ...] = get_args(EnvironmentName)
SQLITE = "sqlite"
SERVICE_URL = "http://127.0.0.1:3000"
SHARED = "*"  # in place of a use case: the addresses of all use cases without addresses of their own
SERVICE_URLS = re.compile(r"(?:([a-z][a-z0-9_]*)\s*=\s*)?(https?://[^\s,;=]+(?:\s*,\s*https?://[^\s,;=]+)*)\s*,?")
LEGAL_URLS = "http://host:port of all use cases, or prices=http://a:3000,http://b:3000;loans=http://c:3000"
GROUP_ONLY = 0o007  # a umask
MARKS = ("landing", "tables", "feast", "mlflow", "deployments", "prediction_log", "keys", "dagster")  # one of them is in a home


class IllegalEnvironment(ValueError):
    """An environment variable has an illegal value."""


class NotAHome(LookupError):
    """A folder in which the platform has stored nothing."""


class _Folder:
    """A folder of the home with the name of the attribute."""

    def __set_name__(self, _home: type[Any], name: str) -> None:
        self._name = name

    def __get__(self, home: "Home", _type: type[Any]) -> Path:
        return home.root / self._name


@dataclass(frozen=True)
class Home:
    """The folder of all stored data, as an absolute path; nothing is created here."""

    root: Path

    landing = _Folder()
    tables = _Folder()
    feast = _Folder()
    mlflow = _Folder()
    deployments = _Folder()
    prediction_log = _Folder()
    shadow_log = _Folder()
    rollouts = _Folder()
    reports = _Folder()
    keys = _Folder()
    dagster = _Folder()
    logs = _Folder()

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.db"

    def share(self) -> None:
        """In a home with the set-group-ID bit, by which an operator shares it between users: this process lets the group read and
        write its new files, whatever umask it was started with. Secrets have modes of their own.
        """
        with suppress(FileNotFoundError):
            if self.root.stat().st_mode & stat.S_ISGID:
                os.umask(GROUP_ONLY)

    def require(self) -> None:
        """Raises NotAHome. Before the first write nothing tells a new home from a mistyped one."""
        if any(mark.exists() for mark in (self.ledger, *(self.root / name for name in MARKS))):
            return
        problem = f"it has none of {', '.join(MARKS)}" if self.root.is_dir() else "it does not exist"
        remedy = "Correct MLOPS_HOME; `mlops up`, `mlops run` and `mlops land` create a home"
        raise NotAHome(f"MLOPS_HOME · {self.root} is not a home of the platform: {problem}. {remedy}.")


@dataclass(frozen=True)
class Environment:
    """The parsed environment variables."""

    name: EnvironmentName
    project: Path
    home: Home
    # By use case, or SHARED.
    service_urls: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {SHARED: (SERVICE_URL,)})
    use_cases: tuple[str, ...] = ()  # that a server serves; none: all that load
    redis_url: str | None = None  # None: online values are in SQLite under the home
    api_key: str | None = field(default=None, repr=False)  # sent by the platform to the service
    signing_key: Path | None = None  # a file from a secret store; None: created under the home on first use
    dagster_url: str | None = None  # web pages of Dagster, MLflow, the status and Evidently, for links; None: no links
    mlflow_url: str | None = None
    status_url: str | None = None
    evidently_url: str | None = None
    alerts: str | None = field(default=None, repr=False)  # addresses of people (channels.py), which may have secrets
    # Databases, with their passwords; None: SQLite under the home.
    postgres_url: str | None = field(default=None, repr=False)  # of the ledger
    mlflow_store: str | None = field(default=None, repr=False)

    @property
    def service_url(self) -> str:
        """The first address, at which `mlops up` starts a server."""
        return next(iter(self.service_urls.values()))[0]

    def with_service_url(self, url: str) -> str:
        """The setting of the addresses with `url` in place of the first, for each use case that has it."""
        replaced = {self.service_url: url}
        return format_service_urls({name: [replaced.get(one, one) for one in own] for name, own in self.service_urls.items()})

    def path_prefix_of(self, use_case: str) -> str:
        """Of its routes behind a proxy, such as /flights; mostly empty."""
        return urlsplit(next(iter(urls_of(self.service_urls, use_case)), self.service_url)).path.rstrip("/")

    @property
    def ledger_url(self) -> str:
        """The ledger's database; may contain a password."""
        return self.postgres_url or f"sqlite:///{quote(str(self.home.ledger))}"


# Besides what a URL leaves as it is. Polars opens the files of a table by the URL of its folder, in which other characters have
# become %20 and such (polars 2.1.0, deltalake 1.6.6).
LEGAL_IN_PATHS = "/+&=,@~:'()!$;"


def read_environment(variables: Mapping[str, str], project: Path | None = None) -> Environment:
    """Parses the MLOPS_* variables that docs/operating.md lists. The default home of the local environment is `.mlops` of the
    project, which is found if it is not passed.

    Raises IllegalEnvironment for an illegal MLOPS_ENV, MLOPS_ONLINE_STORE, MLOPS_LEDGER, MLOPS_MLFLOW_STORE or MLOPS_SERVICE_URL,
    an MLOPS_HOME that is or is in a file or whose path no Delta table can have, a test or production environment without
    MLOPS_HOME, or a local one without a project, too.
    """

    def read(variable: str, default: str = "") -> str:
        return variables.get(variable, default).strip()  # a mounted secret ends with a line feed

    name = read("MLOPS_ENV", "local")
    if name not in LEGAL:
        raise IllegalEnvironment(f"MLOPS_ENV · found {name!r}; legal: {', '.join(LEGAL)}. Set one of these.")
    if name != "local" and "MLOPS_HOME" not in variables:
        raise IllegalEnvironment(f"MLOPS_HOME · not set, and MLOPS_ENV={name} has no default. Set it to a folder.")
    store = variables.get("MLOPS_ONLINE_STORE", SQLITE)
    databases = {variable: read(variable) for variable in ("MLOPS_LEDGER", "MLOPS_MLFLOW_STORE")}
    if store != SQLITE and not store.startswith(("redis://", "rediss://")):
        raise IllegalEnvironment(f"MLOPS_ONLINE_STORE · found {store!r}; legal: {SQLITE}, redis://host:port/0. Set one of these.")
    if illegal := next((name for name, url in databases.items() if url and not url.startswith("postgresql://")), None):
        found = "found another address, not shown as it may contain a password"
        legal = "postgresql://user:password@host/database, or not set (SQLite under MLOPS_HOME)"
        raise IllegalEnvironment(f"{illegal} · {found}; legal: {legal}. Set one of these.")
    project = project or _project(variables)
    return Environment(
        name=name,
        project=project,
        home=Home(_home_folder(project, variables.get("MLOPS_HOME", ".mlops"))),
        service_urls=parse_service_urls(read("MLOPS_SERVICE_URL").strip("; ") or SERVICE_URL),
        use_cases=tuple(dict.fromkeys(filter(None, map(str.strip, read("MLOPS_USE_CASE").split(","))))),
        redis_url=None if store == SQLITE else store,
        api_key=read("MLOPS_API_KEY") or None,
        signing_key=Path(file) if (file := read("MLOPS_SIGNING_KEY")) else None,
        dagster_url=read("MLOPS_DAGSTER_URL").rstrip("/") or None,
        mlflow_url=read("MLOPS_MLFLOW_URL").rstrip("/") or None,
        status_url=read("MLOPS_STATUS_URL").rstrip("/") or None,
        evidently_url=read("MLOPS_EVIDENTLY_URL").rstrip("/") or None,
        alerts=read("MLOPS_ALERTS") or None,
        postgres_url=databases["MLOPS_LEDGER"] or None,
        mlflow_store=databases["MLOPS_MLFLOW_STORE"] or None,
    )


def _home_folder(project: Path, declared: str) -> Path:
    """Relative to the project and not to the working folder, so that every process has the same home."""
    root = (project / declared).resolve()
    if file := next((path for path in (root, *root.parents) if path.is_file()), None):
        raise IllegalEnvironment(f"MLOPS_HOME · {root}: {file} is a file, it is not a folder. Correct MLOPS_HOME.")
    if illegal := sorted({letter for letter in str(root) if quote(letter, safe=LEGAL_IN_PATHS) != letter}):
        found = " ".join(map(repr, illegal))
        legal = f"letters a to z and A to Z, digits and {' '.join(LEGAL_IN_PATHS + '-._')}"
        problem = f"{root}: its path contains {found}, with which Delta tables cannot be read; legal: {legal}"
        raise IllegalEnvironment(f"MLOPS_HOME · {problem}. Set MLOPS_HOME to another folder.")
    return root


def _project(variables: Mapping[str, str]) -> Path:
    try:
        project = find_project(variables)
    except IllegalProject as error:
        raise IllegalEnvironment(str(error)) from None
    if not project.is_own and "MLOPS_HOME" not in variables:
        place = "here or above is no pyproject.toml with [tool.mlops]"
        raise IllegalEnvironment(f"no project · {place}. Work in a project; `mlops init DIR` makes one. Or set MLOPS_HOME.")
    return project.root


def parse_service_urls(text: str) -> dict[str, tuple[str, ...]]:
    """The addresses by use case, in their order. Raises IllegalEnvironment."""
    urls: dict[str, tuple[str, ...]] = {}
    for entry in map(str.strip, text.split(";")):
        match = SERVICE_URLS.fullmatch(entry)
        name = match and (match[1] or SHARED)
        if match is None or name is None or name in urls:
            problem = f"found {entry!r}" if match is None else f"found {entry!r} after {format_service_urls(urls)!r}"
            raise IllegalEnvironment(f"MLOPS_SERVICE_URL · {problem}; legal: {LEGAL_URLS}, each use case once. Correct it.")
        urls[name] = tuple(url.strip() for url in match[2].split(","))
    return urls


def urls_of(urls: Mapping[str, Sequence[str]], use_case: str) -> Sequence[str]:
    """The addresses of the use case; none where there are addresses of other use cases only."""
    return urls.get(use_case) or urls.get(SHARED, ())


def format_service_urls(urls: Mapping[str, Sequence[str]]) -> str:
    """As `parse_service_urls` reads it."""
    return ";".join(f"{'' if name == SHARED else f'{name}='}{','.join(own)}" for name, own in urls.items())
