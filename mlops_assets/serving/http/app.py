"""The fast path of HTTP, in front of Bento: /predict, /plan, /metrics, and one clear error for each failure."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec

from mlops_assets.features.online.key_value_stores import OnlineStoreDown
from mlops_assets.serving.http.admission import NotAdmitted
from mlops_assets.serving.http.request import BadRequest
from mlops_assets.serving.inference.answering import LogUnavailable, NotReady
from mlops_assets.serving.service import Service
from mlops_assets.serving.telemetry import CONTENT_TYPE

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

JSON = b"application/json"
CLOSE: Headers = ((b"connection", b"close"),)  # the rest of the body need not be read
RETRY_AFTER_S = 5
BODIES_AT_ONCE = 16  # of the largest size, in memory at the same time
# What a client may read of a failure; its cause may name paths and hosts, and is in the log.
UNAVAILABLE: dict[type[Exception], str] = {
    NotReady: "no champion serves yet",
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


class Refused(Exception):
    """A request that gets `reply` and nothing else."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class ClientGone(Exception):
    """The client has closed its connection."""


class ApiApp:
    """A plain ASGI application that serves the routes of the fast path and passes the rest on to `bento`."""

    # Bento's middleware costs 270 µs a request, and a prediction 60.

    def __init__(self, bento: App, service: Callable[[], Service]) -> None:
        self._bento, self._service = bento, service
        self._buffered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["type"] == "http" else None
        if path != PREDICT and path not in GET:
            await self._bento(scope, receive, send)
            return
        try:
            reply = await self._predict(scope, receive) if path == PREDICT else _get(path, scope["method"], self._service())
        except ClientGone:
            return
        if path == PREDICT:
            self._service().telemetry.responded(reply.status)
        headers = [(b"content-type", reply.content_type), (b"content-length", b"%d" % len(reply.body)), *reply.headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _predict(self, scope: Scope, receive: Receive) -> Reply:
        if scope["method"] != "POST":
            return _wrong_method("POST")
        if b"explain=" in scope["query_string"]:
            return _problem(400, "explain in the query", legal='{"rows": [...], "explain": true}', next="Move it into the body.")
        service, headers = self._service(), scope["headers"]
        return await respond(service, headers, lambda: self._body(service.max_body_bytes, headers, receive))

    async def _body(self, max_bytes: int, headers: Headers, receive: Receive) -> bytes:
        _check_headers(headers, max_bytes)
        chunks: list[bytes] = []
        size, is_complete = 0, False
        try:
            while not is_complete:
                message = await receive()
                if message["type"] != "http.request":
                    raise ClientGone
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                self._buffered += len(chunks[-1])
                if size > max_bytes:
                    raise Refused(_too_large(max_bytes))
                if self._buffered > BODIES_AT_ONCE * max_bytes:
                    raise Refused(_problem(503, "too many large requests at once", headers=_retry_after(1)))
                is_complete = not message.get("more_body")
            return b"".join(chunks)
        finally:
            self._buffered -= size


def _metrics(service: Service) -> Reply:
    service.measure()
    return Reply(200, service.telemetry.page(), content_type=CONTENT_TYPE.encode())


PREDICT = "/predict"
GET: dict[str, Callable[[Service], Reply]] = {
    "/plan": lambda service: Reply(200, msgspec.json.encode(service.answering.plan())),
    "/metrics": _metrics,
    "/openapi.json": lambda _: Reply(307, b"", ((b"location", b"/docs.json"),)),
}


def _get(path: str, method: str, service: Service) -> Reply:
    return GET[path](service) if method == "GET" else _wrong_method("GET")


async def respond(service: Service, headers: Headers, read_body: Callable[[], Awaitable[bytes]]) -> Reply:
    """The reply to one request for predictions: an answer, or the error that a client can act on. Raises ClientGone."""
    try:
        await service.admission.admit(headers)
        async with asyncio.timeout(service.timeout_s):
            return Reply(200, await service.predict(headers, await read_body()))
    except Refused as refused:
        return refused.reply
    except (BadRequest, NotAdmitted, TimeoutError) as error:
        return _refusal(error)
    except tuple(UNAVAILABLE) as error:
        service.warn(error)
        message = next(message for kind, message in UNAVAILABLE.items() if isinstance(error, kind))
        return _problem(503, message, headers=_retry_after(RETRY_AFTER_S))
    except ClientGone:
        raise
    except Exception:
        log.exception("request failed")
        return _problem(500, "the service could not answer; its log has the cause")


def _refusal(error: BadRequest | NotAdmitted | TimeoutError) -> Reply:
    if isinstance(error, BadRequest):
        return Reply(400, msgspec.json.encode(error.to_dict()))
    if isinstance(error, TimeoutError):
        return _problem(504, "the request took too long", next="Send it again, or less at once.", headers=CLOSE)
    headers = _retry_after(error.retry_after_s) if error.retry_after_s else [(b"www-authenticate", b"Bearer")]
    return _problem(error.status, error.found, legal=error.legal, next=error.next, headers=headers)


def _problem(
    status: int, found: str, *, legal: str = "see /docs.json", next: str = "Try again later.", headers: Headers = ()
) -> Reply:
    problem = {"row": None, "field": None, "found": found, "legal": legal, "next": next}
    return Reply(status, msgspec.json.encode({"error": problem}), headers)


def _check_headers(headers: Headers, max_bytes: int) -> None:
    """Raises Refused for bodies that are too large, compressed, or not JSON. A missing type counts as JSON."""
    for name, value in headers:
        if name == b"content-length" and int(value) > max_bytes:  # uvicorn has refused a length that is no number
            raise Refused(_too_large(max_bytes))
        if name in REQUIRED_HEADERS:
            required, legal, next_step = REQUIRED_HEADERS[name]
            if value.partition(b";")[0].strip().lower() != required:
                found = f"{name.decode().title()}: {value.decode('latin-1')[:80]}"
                raise Refused(_problem(415, found, legal=legal, next=next_step, headers=CLOSE))


def _too_large(max_bytes: int) -> Reply:
    legal = f"a body of at most {max_bytes} bytes"
    return _problem(413, "a body that is too large", legal=legal, next="Send several smaller requests.", headers=CLOSE)


def _wrong_method(method: str) -> Reply:
    allow = ((b"allow", method.encode()),)
    return _problem(405, HTTPStatus(405).phrase, legal=method, next="Change the request.", headers=allow)


def _retry_after(seconds: int) -> Headers:
    return ((b"retry-after", b"%d" % seconds),)
