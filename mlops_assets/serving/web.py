"""The HTTP face, in front of Bento's: /predict, /plan, /metrics, /openapi.json, and one clear error for what can go wrong.

Belongs here: routes, bodies, status codes. Not here: /livez, /readyz and the page at /, which Bento behind it answers.
Plain ASGI, because every layer on the way counts: Bento's middleware costs 270 µs a request, an answer 60.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from mlops_assets.ports.blob_stores import OnlineStoreDown
from mlops_assets.serving.admission import NotAdmitted
from mlops_assets.serving.answering import Ask, LogUnavailable, NotReady
from mlops_assets.serving.openapi import openapi
from mlops_assets.serving.request import SHOWN_CHARACTERS, BadRequest, Problem
from mlops_assets.serving.service import Service
from mlops_assets.serving.telemetry import CONTENT_TYPE

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

JSON = b"application/json"
RETRY_AFTER_S = 5
INLINE_BYTES = 100_000  # are read in a millisecond; what is larger must not hold the others up
MAX_EXPLAINED = 10  # rows of a request, each of which may take 50 ms
BODIES_AT_ONCE = 16  # of the largest size, in memory at the same time

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
    """Nobody is there to be answered."""


class Front:
    """An ASGI application that answers what is ours and hands the rest to the one behind it, Bento's."""

    def __init__(self, behind: App, service: Callable[[], Service]) -> None:
        self._behind, self._service = behind, service
        self._buffered = 0
        document = self._openapi
        self._routes: dict[str, tuple[str, Callable[[Scope, Receive], Awaitable[Reply]]]] = {
            "/predict": ("POST", self._predict),
            "/plan": ("GET", self._plan),
            "/metrics": ("GET", self._metrics),
            "/openapi.json": ("GET", document),
            "/docs.json": ("GET", document),  # what the page at / reads
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if route is None:
            await self._behind(scope, receive, send)
            return
        method, answer = route
        try:
            reply = await answer(scope, receive) if scope["method"] == method else _wrong_method(method)
        except ClientGone:
            return
        if scope["path"] == "/predict":
            self._service().telemetry.responded(reply.status)
        await _send(send, reply)

    async def _predict(self, scope: Scope, receive: Receive) -> Reply:
        service = self._service()
        try:
            service.admission.admit(scope["headers"])
            async with asyncio.timeout(service.timeout_s):
                return await self._answer(service, scope, await self._body(service, scope, receive))
        except Refused as refused:
            return refused.reply
        except (NotAdmitted, BadRequest, NotReady, OnlineStoreDown, LogUnavailable, TimeoutError) as error:
            return _refusal(error)
        # What the service itself got wrong: the details go to the log, not to strangers.
        except Exception:
            log.exception("request failed")
            return _problem(500, "the service could not answer; its log says why")

    async def _answer(self, service: Service, scope: Scope, body: bytes) -> Reply:
        started = service.answering.clock()
        service.admission.enter()
        try:
            with service.tracing.span(scope["headers"]) as trace_id:
                asked = service.decode(body) if len(body) <= INLINE_BYTES else await asyncio.to_thread(service.decode, body)
                ask = Ask(asked, started, trace_id, _wants_explanation(scope))
                if ask.explain and len(asked) > MAX_EXPLAINED:
                    raise BadRequest([_too_many_to_explain(len(asked))])
                batching = service.batching if service.blocks(ask) else service.loop_batching
                return Reply(200, await batching.submit(ask))
        finally:
            service.admission.leave()

    async def _body(self, service: Service, scope: Scope, receive: Receive) -> bytes:
        most = service.max_body_bytes
        if _announced(scope["headers"]) > most:
            raise Refused(_too_large(most))
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            return _within(message.get("body", b""), most)
        chunks: list[bytes] = []
        size = 0
        try:
            while True:
                if message["type"] != "http.request":
                    raise ClientGone
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                self._buffered += len(chunks[-1])
                if size > most:
                    raise Refused(_too_large(most))
                if self._buffered > BODIES_AT_ONCE * most:
                    raise Refused(_problem(503, "too many large requests at once", headers=_retry_after(1)))
                if not message.get("more_body"):
                    return b"".join(chunks)
                message = await receive()
        finally:
            self._buffered -= size

    async def _plan(self, scope: Scope, receive: Receive) -> Reply:
        return Reply(200, msgspec.json.encode(self._service().answering.plan()))

    async def _metrics(self, scope: Scope, receive: Receive) -> Reply:
        service = self._service()
        service.measure()
        return Reply(200, service.telemetry.page(), content_type=CONTENT_TYPE.encode())

    async def _openapi(self, scope: Scope, receive: Receive) -> Reply:
        return Reply(200, msgspec.json.encode(openapi(self._service().answering.use_case)))


async def _send(send: Send, reply: Reply) -> None:
    length = b"%d" % len(reply.body)
    headers = [(b"content-type", reply.content_type), (b"content-length", length), *reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def _refusal(error: Exception) -> Reply:
    if isinstance(error, BadRequest):
        return Reply(400, msgspec.json.encode(error.to_dict()))
    if isinstance(error, NotAdmitted):
        headers = _retry_after(error.retry_after_s) if error.retry_after_s else [(b"www-authenticate", b"Bearer")]
        return _problem(error.status, error.found, legal=error.legal, next=error.next, headers=headers)
    if isinstance(error, TimeoutError):
        return _problem(504, "the request took too long", next="Send it again, or less at once.", headers=_CLOSE)
    return _problem(503, str(error), headers=_retry_after(RETRY_AFTER_S))


def _problem(
    status: int, found: str, *, legal: str = "see /openapi.json", next: str = "Try again later.", headers: Headers = ()
) -> Reply:
    said = {"row": None, "field": None, "found": found, "legal": legal, "next": next}
    return Reply(status, msgspec.json.encode({"error": said}), headers)


_CLOSE = ((b"connection", b"close"),)  # what is still to come of the body need not be read


def _too_large(most: int) -> Reply:
    legal = f"a body of at most {most} bytes"
    return _problem(413, "a body that is too large", legal=legal, next="Send several smaller requests.", headers=_CLOSE)


def _too_many_to_explain(count: int) -> Problem:
    return Problem(None, "explain", f"{count} rows", f"at most {MAX_EXPLAINED} rows", "Explain fewer at once.")


def _wrong_method(method: str) -> Reply:
    allow = ((b"allow", method.encode()),)
    return _problem(405, HTTPStatus(405).phrase, legal=method, next="Change the request.", headers=allow)


def _retry_after(seconds: int) -> Headers:
    return ((b"retry-after", b"%d" % seconds),)


def _within(body: bytes, most: int) -> bytes:
    if len(body) > most:
        raise Refused(_too_large(most))
    return body


def _announced(headers: Headers) -> int:
    """The length that the client says its body has; uvicorn has refused what is no number."""
    return next((int(value) for name, value in headers if name == b"content-length"), 0)


def _wants_explanation(scope: Scope) -> bool:
    """Other parameters mean nothing here. Raises BadRequest."""
    if not (query := scope["query_string"]):
        return False
    said = [value for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True) if name == "explain"]
    if said not in ([], ["false"], ["true"]):
        raise BadRequest([Problem(None, "explain", ", ".join(said)[:SHOWN_CHARACTERS], "true or false, once", "Correct it.")])
    return said == ["true"]
