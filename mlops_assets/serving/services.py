"""The services of one process: one for each use case that the environment names and that can be served."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from mlops_assets.foundation.home import IllegalEnvironment, read_environment
from mlops_assets.serving.service import Service, open_service
from mlops_assets.serving.telemetry import page
from mlops_assets.spec.use_case import UseCase

NOT_DECLARED = "its declaration does not load; the log of the service has the cause"


class Services:
    """By use case. `unavailable` has why the others are not served, without paths."""

    def __init__(self, services: Sequence[Service], unavailable: Mapping[str, str] = MappingProxyType({})) -> None:
        self.by_name, self.unavailable = {service.name: service for service in services}, unavailable
        prefixes = {service.path_prefix for service in services} - {""}
        self.path_prefixes = sorted(prefixes, key=len, reverse=True)  # of the routes behind proxies

    @property
    def sole(self) -> Service | None:
        """The service of the routes that name no use case."""
        return next(iter(self.by_name.values())) if len(self.by_name) == 1 else None

    @property
    def problem(self) -> str | None:
        """Why no use case is answered; None where one is, as a load balancer would take the whole process out."""
        problems = {name: service.problem for name, service in self.by_name.items()}
        if not all(problems.values()):
            return None
        return problems[self.sole.name] if self.sole else "; ".join(f"{name}: {problem}" for name, problem in problems.items())

    def without_prefix(self, path: str) -> str:
        """Some proxies remove the prefix, and some do not."""
        prefix = next((one for one in self.path_prefixes if path == one or path.startswith(f"{one}/")), "")
        return path.removeprefix(prefix) or "/"

    def start(self) -> None:
        for service in self.by_name.values():
            service.start()

    def stop(self) -> None:
        for service in self.by_name.values():
            service.stop()

    def metrics(self) -> bytes:
        """All metrics, in the text format of Prometheus."""
        return page({name: service.measured() for name, service in self.by_name.items()})


def served_use_cases(
    variables: Mapping[str, str], use_cases: Sequence[UseCase], not_loaded: Sequence[str] = ()
) -> tuple[list[UseCase], dict[str, str]]:
    """The use cases that the environment names, or all, and why others of them are not served. `not_loaded` has a line for each
    problem of a module of the use case's name. Raises IllegalEnvironment for a name that is a mistake, or nothing to serve.
    """
    by_name = {use_case.name: use_case for use_case in use_cases}
    modules = [problem.partition(" · ")[0].rpartition(".")[2] for problem in not_loaded]
    named = read_environment(variables).use_cases or (*by_name, *modules)
    served = [by_name[name] for name in dict.fromkeys(named) if name in by_name]
    unknown = [name for name in named if name not in by_name]
    if not served or (unknown and not not_loaded):
        names = ",".join(unknown or named) or "none"
        legal = f"legal: one or several of {', '.join(by_name) or 'none'}, or none for all of them"
        raise IllegalEnvironment("\n".join([f"MLOPS_USE_CASE · found {names!r}; {legal}. Set one of these.", *not_loaded]))
    return served, dict.fromkeys(unknown, NOT_DECLARED)


def open_services(
    variables: Mapping[str, str], use_cases: Sequence[UseCase], unavailable: Mapping[str, str] = MappingProxyType({})
) -> Services:
    """Of the use cases, in the home of the environment. Raises IllegalEnvironment."""
    return Services([open_service(variables, use_case) for use_case in use_cases], unavailable)
