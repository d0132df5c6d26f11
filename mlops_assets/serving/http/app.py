"""The fast path of HTTP, in front of Bento: the routes of each use case, /metrics, and one clear error for each failure."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from mlops_assets.features.online.key_value_stores import OnlineStoreDown
from mlops_assets.serving.http.admission import retry_after
from mlops_assets.serving.http.request import BadRequest, Headers, Refusal
from mlops_assets.serving.inference.answering import LogUnavailable, NotReady
from mlops_assets.serving.service import NO_CHAMPION, Service
from mlops_assets.serving.services import Services

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

JSON = b"application/json"
CLOSE: Headers = ((b"connection", b"close"),)  # the rest of the body need not be read
RETRY_AFTER_S = 5
SENDING = 0.95  # of the timeout: an answer that is ready later is not logged, as its client may not get it any more
BODIES_AT_ONCE = 16  # of the largest size, in memory at the same time, for each use case
NOT_ALLOWED = "Method Not Allowed"
MAX_PATH = 80  # characters of a path in a message
# What a client may read of a failure; its cause may name paths and hosts, and is in the log.
UNAVAILABLE: dict[type[Exception], str] = {
    NotReady: NO_CHAMPION,
    OnlineStoreDown: "the online feature store does not answer",
    LogUnavailable: "the prediction log cannot be written",
}
# Headers that are refused unless they have this value, and what to do instead. `curl -d` sends a form's type by default.
REQUIRED_HEADERS = {
    b"content-type": (JSON, "application/json", "Send JSON; with curl, add -H 'Content-Type: application/json'."),
    b"content-encoding": (b"identity", "none: plain JSON, uncompressed", "Send the body uncompressed."),
}

log = logging.getLogger("bentoml.mlops_assets")


class Reply(NamedTuple):
    status: int
    body: bytes
    headers: Headers = ()
    content_type: bytes = JSON


class ClientGone(Exception):
    """The client has closed its connection."""


PREDICT, PLAN, READY, METRICS = "/predict", "/plan", "/readyz", "/metrics"


class Route(NamedTuple):
    """One path of the fast path; `observe` gets the status of each reply."""

    method: str
    answer: Callable[[Message, Receive], Awaitable[Reply]]
    observe: Callable[[int], None] | None = None


def build_routes(services: Services) -> dict[str, Route]:
    """By path, in which the use case is first; without it are the routes of the only one. A proxy may leave the prefix there."""
    page = CONTENT_TYPE_PLAIN_0_0_4.encode()
    routes = {
        METRICS: _get(lambda: Reply(200, services.metrics(), content_type=page)),
        "/openapi.json": _get(lambda: Reply(307, b"", ((b"location", b"docs.json"),))),
    }
    for name, reason in services.unavailable.items():
        routes |= {f"/{name}{path}": route for path, route in _unavailable(name, reason).items()}
    for name, service in services.by_name.items():
        own = _routes_of(service)
        routes |= {f"/{name}{path}": route for path, route in own.items()}
        routes |= {path: own[path] for path in (PREDICT, PLAN) if service is services.sole}  # Bento has a /readyz
    return routes | {f"{prefix}{path}": route for prefix in services.path_prefixes for path, route in routes.items()}


def _routes_of(service: Service) -> dict[str, Route]:
    async def predict(scope: Message, receive: Receive) -> Reply:
        return await respond(service, scope["headers"], lambda: _body(service, scope, receive))

    def ready() -> Reply:
        problem = service.problem
        return _refuse(Refusal(503, problem, headers=retry_after(RETRY_AFTER_S))) if problem else Reply(200, b"{}")

    plan = _get(lambda: Reply(200, msgspec.json.encode(service.plan())))
    return {PREDICT: Route("POST", predict, service.telemetry.responded), PLAN: plan, READY: _get(ready)}


def _unavailable(name: str, reason: str) -> dict[str, Route]:
    """Each route of a use case that cannot be served says why; that of the plan as `Answering.plan` does, too."""
    refusal = Refusal(503, f"{name} cannot be served: {reason}", headers=retry_after(RETRY_AFTER_S))
    get = _get(lambda: _refuse(refusal, use_case=name, champion=None, plan=None, last_load_error=reason))
    return {PREDICT: Route("POST", get.answer), PLAN: get, READY: get}


def _get(reply: Callable[[], Reply]) -> Route:
    async def answer(_scope: Message, _receive: Receive) -> Reply:
        return reply()

    return Route("GET", answer)


class ApiApp:
    """A plain ASGI application that serves the routes of the fast path and passes the rest on to `bento`."""

    # Bento's middleware costs 270 µs a request, and a prediction 60.

    def __init__(self, bento: App, services: Callable[[], Services]) -> None:
        self._bento, self._services = bento, services

    @cached_property
    def _routes(self) -> dict[str, Route]:
        return build_routes(self._services())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._bento(scope, receive, send)
            return
        route = self._routes.get(scope["path"])
        if route is None:
            services = self._services()
            path = services.without_prefix(scope["path"])
            if (route := _not_found(services, scope["method"], path)) is None:
                await self._bento({**scope, "path": path, "raw_path": path.encode()}, receive, send)
                return
        try:
            if scope["method"] == route.method:
                reply = await route.answer(scope, receive)
            else:
                allow = ((b"allow", route.method.encode()),)
                reply = _refuse(Refusal(405, NOT_ALLOWED, legal=route.method, next="Change the request.", headers=allow))
        except ClientGone:
            return
        if route.observe:
            route.observe(reply.status)
        headers = [(b"content-type", reply.content_type), (b"content-length", b"%d" % len(reply.body)), *reply.headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})


def _not_found(services: Services, method: str, path: str) -> Route | None:
    """Refuses a path that ends as a route does and names no use case that is served here; None of all others, Bento's."""
    name = f"/{path.rstrip('/').rpartition('/')[2]}"
    if path == READY or name not in (PREDICT, PLAN, READY, METRICS):
        return None
    legal = METRICS if name == METRICS else ", ".join(f"/{use_case}{name}" for use_case in services.by_name)
    refusal = Refusal(404, path[:MAX_PATH], legal=legal, next="Name a use case that is served here.")
    return Route(method, _get(lambda: _refuse(refusal, use_cases=[*services.by_name])).answer)


async def _body(service: Service, scope: Message, receive: Receive) -> bytes:
    max_bytes = service.max_body_bytes
    if b"explain=" in scope["query_string"]:
        raise Refusal(400, "explain in the query", legal='{"rows": [...], "explain": true}', next="Move it into the body.")
    _check_headers(scope["headers"], max_bytes)
    chunks: list[bytes] = []
    size, is_complete = 0, False
    try:
        while not is_complete:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGone
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            service.buffered += len(chunks[-1])
            if size > max_bytes:
                raise _too_large(max_bytes)
            if service.buffered > BODIES_AT_ONCE * max_bytes:
                raise Refusal(503, "too many large requests at once", headers=retry_after(1))
            is_complete = not message.get("more_body")
        return b"".join(chunks)
    finally:
        service.buffered -= size


async def respond(service: Service, headers: Headers, read_body: Callable[[], Awaitable[bytes]]) -> Reply:
    """The reply to one request for predictions: an answer, or the error that a client can act on. Raises ClientGone."""
    deadline = service.answering.clock() + SENDING * service.timeout_s
    try:
        client = await service.admission.admit(headers)
        async with asyncio.timeout(service.timeout_s):
            return Reply(200, await service.predict(headers, await read_body(), client=client, deadline=deadline))
    except ClientGone:
        raise
    except BadRequest as error:
        return Reply(400, msgspec.json.encode(error.to_dict()))
    except Refusal as error:
        return _refuse(error)
    except TimeoutError:
        return _refuse(Refusal(504, "the request took too long", next="Send it again, or less at once.", headers=CLOSE))
    except tuple(UNAVAILABLE) as error:
        service.warn(error)
        return _refuse(Refusal(503, UNAVAILABLE[type(error)], headers=retry_after(RETRY_AFTER_S)))
    except Exception:  # a defect, or what a model raises: the client gets an answer, and the log has the cause
        log.exception("request failed")
        return _refuse(Refusal(500, "the service could not answer; its log has the cause"))


def _refuse(refusal: Refusal, **facts: object) -> Reply:
    return Reply(refusal.status, msgspec.json.encode({"error": refusal.problem, **facts}), refusal.headers)


def _check_headers(headers: Headers, max_bytes: int) -> None:
    """Raises Refusal for bodies that are too large, compressed, or not JSON. A missing type counts as JSON."""
    for name, value in headers:
        if name == b"content-length" and int(value) > max_bytes:  # uvicorn has refused a length that is no number
            raise _too_large(max_bytes)
        if name in REQUIRED_HEADERS:
            required, legal, next_step = REQUIRED_HEADERS[name]
            if value.partition(b";")[0].strip().lower() != required:
                found = f"{name.decode().title()}: {value.decode('latin-1')[:80]}"
                raise Refusal(415, found, legal=legal, next=next_step, headers=CLOSE)


def _too_large(max_bytes: int) -> Refusal:
    legal = f"a body of at most {max_bytes} bytes"
    return Refusal(413, "a body that is too large", legal=legal, next="Send several smaller requests.", headers=CLOSE)
