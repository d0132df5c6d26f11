"""The fast path of HTTP, in front of Bento: /predict, /plan, /metrics, and one clear error for each failure."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from mlops_assets.features.online.key_value_stores import OnlineStoreDown
from mlops_assets.serving.http.admission import retry_after
from mlops_assets.serving.http.request import BadRequest, Headers, Refusal
from mlops_assets.serving.inference.answering import LogUnavailable, NotReady
from mlops_assets.serving.service import NO_CHAMPION, Service

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

JSON = b"application/json"
CLOSE: Headers = ((b"connection", b"close"),)  # the rest of the body need not be read
RETRY_AFTER_S = 5
SENDING = 0.95  # of the timeout: an answer that is ready later is not logged, as its client may not get it any more
BODIES_AT_ONCE = 16  # of the largest size, in memory at the same time
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


PREDICT = "/predict"
GET: dict[str, Callable[[Service], Reply]] = {
    "/plan": lambda service: Reply(200, msgspec.json.encode(service.plan())),
    "/metrics": lambda service: Reply(200, service.metrics(), content_type=CONTENT_TYPE_PLAIN_0_0_4.encode()),
    "/openapi.json": lambda _: Reply(307, b"", ((b"location", b"docs.json"),)),
}


class ApiApp:
    """A plain ASGI application that serves the routes of the fast path and passes the rest on to `bento`."""

    # Bento's middleware costs 270 µs a request, and a prediction 60.

    def __init__(self, bento: App, service: Callable[[], Service]) -> None:
        self._bento, self._service = bento, service
        self._buffered = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._bento(scope, receive, send)
            return
        service = self._service()
        # With the prefix or without: some proxies remove it.
        path = scope["path"].removeprefix(service.path_prefix) or "/"
        if path != PREDICT and path not in GET:
            await self._bento({**scope, "path": path, "raw_path": path.encode()}, receive, send)
            return
        method = "POST" if path == PREDICT else "GET"
        try:
            if scope["method"] != method:
                allow = ((b"allow", method.encode()),)
                reply = _refuse(Refusal(405, HTTPStatus(405).phrase, legal=method, next="Change the request.", headers=allow))
            elif path == PREDICT:
                reply = await respond(service, scope["headers"], lambda: self._body(service.max_body_bytes, scope, receive))
            else:
                reply = GET[path](service)
        except ClientGone:
            return
        if path == PREDICT:
            service.telemetry.responded(reply.status)
        headers = [(b"content-type", reply.content_type), (b"content-length", b"%d" % len(reply.body)), *reply.headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _body(self, max_bytes: int, scope: Message, receive: Receive) -> bytes:
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
                self._buffered += len(chunks[-1])
                if size > max_bytes:
                    raise _too_large(max_bytes)
                if self._buffered > BODIES_AT_ONCE * max_bytes:
                    raise Refusal(503, "too many large requests at once", headers=retry_after(1))
                is_complete = not message.get("more_body")
            return b"".join(chunks)
        finally:
            self._buffered -= size


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
    except Exception:
        log.exception("request failed")
        return _refuse(Refusal(500, "the service could not answer; its log has the cause"))


def _refuse(refusal: Refusal) -> Reply:
    return Reply(refusal.status, msgspec.json.encode({"error": refusal.problem}), refusal.headers)


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
