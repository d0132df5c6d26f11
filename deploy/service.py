"""The generic Bento service, which serves the use case that the environment names."""

import errno
import json
import os
import sys
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import Any

import bentoml
from bentoml.exceptions import BentoMLException
from starlette.exceptions import HTTPException

from deploy.bento_api import complete_document, input_spec, output_spec
from deploy.bento_internals import service_class
from mlops_assets.foundation.home import IllegalEnvironment
from mlops_assets.serving.http.app import ApiApp, respond
from mlops_assets.serving.service import Service, open_service, served_use_case
from mlops_assets.spec.use_case import UseCase
from mlops_assets.use_cases import NOT_LOADED, USE_CASES

# One process: workers on one machine would compete for its cores; more machines scale it out. Logs, metrics and limits are
# those of the fast path (mlops_assets/serving).
CONFIG: Any = {"workers": 1, "metrics": {"enabled": False}, "logging": {"access": {"enabled": False}}}
PAGE = """# {use_case.name}

{use_case.question} Send rows, and their features are looked up; or send features.
[/plan](plan) says which version serves since when, and why. Owner: {use_case.owner}.
"""


def build_service(use_case: UseCase, open_: Callable[[], Service]) -> bentoml.Service[Any]:
    """A Bento service around the one that `open_` returns when the server process starts."""
    running: list[Service] = []
    response = output_spec(use_case)

    class Predictions:
        def __init__(self) -> None:
            running.append(open_())
            running[0].start()

        @bentoml.api(input_spec=input_spec(use_case), output_spec=response)
        async def predict(self, ctx: bentoml.Context, **fields: Any) -> Any:
            """Predictions for rows, or for features; the fast path serves its route first, with the same code."""
            body = json.dumps({name: value for name, value in fields.items() if value is not None}).encode()

            async def read_body() -> bytes:
                return body

            reply = await respond(running[0], ctx.request.headers.raw, read_body)
            if reply.status != HTTPStatus.OK:
                raise BentoMLException(reply.body.decode(), error_code=HTTPStatus(reply.status))
            return response.model_validate_json(reply.body)

        def __is_ready__(self) -> bool:
            if problem := running[0].problem:
                raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, problem)  # Bento's own 503 does not say why
            return True

        @bentoml.on_shutdown
        def stop(self) -> None:
            running.pop().stop()

    page = PAGE.format(use_case=use_case)
    wrapped = service_class(lambda bento: ApiApp(bento, lambda: running[0]), complete_document, page)
    return bentoml.service(name="predictions", description=use_case.question, service_class=wrapped, **CONFIG)(Predictions)


def declared_or_exit() -> UseCase:
    """The use case that the environment names; an illegal environment ends the process with its message."""
    try:
        return served_use_case(os.environ, USE_CASES, NOT_LOADED)
    except IllegalEnvironment as error:
        raise SystemExit(str(error)) from None


def report_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """One message where another program has the port, which Bento's command leaves uncaught; else as Python does."""
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        command = " ".join(["bentoml", *sys.argv[1:]])
        sys.stderr.write(f"{command} · another program uses the port. Stop it, or pass a free port with --port.\n")
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = report_uncaught
USE_CASE = declared_or_exit()
Predictions = build_service(USE_CASE, lambda: open_service(os.environ, USE_CASE))
