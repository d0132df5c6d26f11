"""The service's HTTP face: /predict, /plan, /openapi.json, and one clear error for everything that can go wrong.

Belongs here: routes and status codes. Not here: health and /metrics, which Bento answers (deploy/service.py).
Starlette rather than Bento's own API methods, whose pydantic errors name neither row nor legal values and are slower.
"""

import logging
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from mlops_assets.ports.blob_stores import OnlineStoreDown
from mlops_assets.serving.answering import Answering, NotReady
from mlops_assets.serving.openapi import openapi
from mlops_assets.serving.request import BadRequest, read_rows, request_columns

MAX_BODY_BYTES = 16 * 1024 * 1024
RETRY_AFTER_S = 5

log = logging.getLogger("bentoml.mlops_assets")


def build_app() -> Starlette:
    """The routes; they answer from `app.state.answering`, which is set before the first request."""
    return Starlette(
        routes=[
            Route("/predict", _predict, methods=["POST"]),
            Route("/plan", _plan),
            Route("/openapi.json", _openapi),
            Route("/docs.json", _openapi),  # what the page at / reads
        ],
        exception_handlers={
            BadRequest: _bad_request,
            NotReady: _not_ready,
            OnlineStoreDown: _not_ready,
            HTTPException: _http_error,
            Exception: _failure,
        },
    )


async def _predict(request: Request) -> JSONResponse:
    answering = _answering(request)
    body = await _body(request)
    return JSONResponse(await run_in_threadpool(_answer, answering, body))


async def _body(request: Request) -> bytes:
    """Starlette's own bound on bodies answers in plain text, where every error of this service is JSON."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"a body of more than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _answer(answering: Answering, body: bytes) -> dict[str, Any]:
    return answering.answer(read_rows(body, request_columns(answering.use_case)))


async def _plan(request: Request) -> JSONResponse:
    return JSONResponse(_answering(request).plan())


async def _openapi(request: Request) -> JSONResponse:
    return JSONResponse(openapi(_answering(request).use_case))


def _answering(request: Request) -> Answering:
    return request.app.state.answering


async def _bad_request(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BadRequest)
    return JSONResponse(error.to_dict(), status_code=400)


async def _not_ready(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": {"found": str(error)}}, status_code=503, headers={"Retry-After": str(RETRY_AFTER_S)})


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    legal = f"a body of at most {MAX_BODY_BYTES} bytes" if error.status_code == 413 else "see /openapi.json"
    said = {"row": None, "field": None, "found": error.detail, "legal": legal, "next": "Change the request."}
    return JSONResponse({"error": said}, status_code=error.status_code, headers=error.headers)


async def _failure(_: Request, error: Exception) -> JSONResponse:
    """What the service itself got wrong: the details go to the log, not to strangers."""
    log.error("request failed", exc_info=error)
    return JSONResponse({"error": {"found": "the service could not answer; its log says why"}}, status_code=500)
