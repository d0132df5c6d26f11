"""The generic Bento service, which serves the use cases that the environment names, or all."""

import errno
import logging
import os
import sys
from collections.abc import Callable, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any

import bentoml
from starlette.exceptions import HTTPException

from deploy.bento_api import complete_document, predict_method
from deploy.bento_internals import service_class
from mlops_assets.foundation.home import IllegalEnvironment
from mlops_assets.serving.http.app import ApiApp
from mlops_assets.serving.services import Services, open_services, served_use_cases
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases import NOT_LOADED, USE_CASES

# One process: workers on one machine would compete for its cores; more machines scale it out. Logs, metrics and limits are
# those of the fast path (mlops_assets/serving).
CONFIG: Any = {"workers": 1, "metrics": {"enabled": False}, "logging": {"access": {"enabled": False}}}
PAGE = """# Predictions

{use_cases}
Send rows, and their features are looked up; or send features.
"""
ENTRY = """## {use_case.name}

{use_case.question} Rows go to `/{use_case.name}/predict`. [/{use_case.name}/plan]({use_case.name}/plan) says which version serves
since when, and why. Owner: {use_case.owner}.
"""

log = logging.getLogger("bentoml.mlops_assets")


def build_service(use_cases: Sequence[UseCase], open_: Callable[[], Services]) -> bentoml.Service[Any]:
    """A Bento service around those that `open_` returns when the server process starts."""
    running: list[Services] = []

    class Predictions:
        def __init__(self) -> None:
            running.append(open_())
            running[0].start()

        def __is_ready__(self) -> bool:
            if problem := running[0].problem:
                raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, problem)  # Bento's own 503 does not say why
            return True

        @bentoml.on_shutdown
        def stop(self) -> None:
            running.pop().stop()

    for use_case in use_cases:
        routes = {f"predict_{use_case.name}": f"/{use_case.name}/predict"}
        routes |= {"predict": "/predict"} if len(use_cases) == 1 else {}
        for name, route in routes.items():
            method = predict_method(use_case, lambda one=use_case.name: running[0].by_name[one], name=name, route=route)
            setattr(Predictions, name, method)
    page = PAGE.format(use_cases="\n".join(ENTRY.format(use_case=use_case) for use_case in use_cases))
    wrapped = service_class(lambda bento: ApiApp(bento, lambda: running[0]), complete_document, page)
    question = " ".join(use_case.question for use_case in use_cases)
    return bentoml.service(name="predictions", description=question, service_class=wrapped, **CONFIG)(Predictions)


def declared_or_exit() -> tuple[list[UseCase], dict[str, str]]:
    """The use cases to serve, and why others are not; an illegal environment ends the process with its message."""
    try:
        return served_use_cases(os.environ, USE_CASES, NOT_LOADED)
    except IllegalEnvironment as error:
        raise SystemExit(str(error)) from None


def open_declared() -> Services:
    for problem in NOT_LOADED:
        log.error("%s", problem)
    return open_services(os.environ, SERVED, UNAVAILABLE)


def report_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """One message where another program has the port, which Bento's command leaves uncaught; else as Python does."""
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        command = " ".join(["bentoml", *sys.argv[1:]])
        sys.stderr.write(f"{command} · another program uses the port. Stop it, or pass a free port with --port.\n")
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = report_uncaught
SERVED, UNAVAILABLE = declared_or_exit()
Predictions = build_service(SERVED, open_declared)
