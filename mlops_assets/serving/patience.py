"""What uvicorn leaves out: clients that send slowly, send endless headers, or open connections without end are cut off.

Belongs here: connections before a request is complete enough to be answered. Not here: requests (web.py, admission.py).
A slow body is the application's to end, which knows its own time-out; what is left of it afterwards is cut off here.
"""

import asyncio
import resource
from typing import Any, ClassVar

from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mlops_assets.serving.one_write import answer_in_one_write

HEADER_TIMEOUT_S = 10.0
MAX_HEADER_BYTES = 64 * 1024
MAX_CONNECTIONS = 2000
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class PatientProtocol(HttpToolsProtocol):
    """Closes a connection when the headers of its request are not complete in `header_timeout_s` (from its opening; on a
    kept-alive one from the first byte of the next request), answers headers above `max_header_bytes` (with URL, or after a
    body) with 431, and closes a new connection at once while there are `max_connections`.

    No timer runs for a kept-alive request that arrives in one piece, as nearly all do.
    """

    header_timeout_s: ClassVar[float] = HEADER_TIMEOUT_S
    max_header_bytes: ClassVar[int] = MAX_HEADER_BYTES
    max_connections: ClassVar[int] = MAX_CONNECTIONS

    _cut_off: asyncio.TimerHandle | None = None
    _between_requests = True  # the last request has arrived whole: what comes now begins another, or is its headers
    _in_headers = False
    _header_bytes = 0  # received since headers ended or a piece of body came: headers, or the trailers after a body

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.access_log = False  # Bento's logger drops the lines, which cost 5 µs all the same

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.close()
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._header_bytes += len(data)
        if self._between_requests:
            self._in_headers = True  # also when the parser sees none, as in bare line ends, which may be sent for ever
        super().data_received(data)
        if self._in_headers:
            self._wait()
        if self._header_bytes > self.max_header_bytes:
            self._refuse()

    def on_message_begin(self) -> None:
        self._in_headers = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._wait_no_more()
        # Counted exactly only where it matters: what was received in one piece may hold a body, too.
        too_large = self._header_bytes > self.max_header_bytes and self._size() > self.max_header_bytes
        self._in_headers = self._between_requests = False
        self._header_bytes = 0
        if too_large:
            self._refuse()
            raise ValueError("the headers are too large")  # keeps the parser from the body
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            answer_in_one_write(self.cycle)

    def on_body(self, body: bytes) -> None:
        self._header_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._wait_no_more()
        self._between_requests = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        waited = self._cut_off is not None
        self._wait_no_more()  # for what came of the next request meanwhile, time begins now
        if waited or not self._between_requests:  # or the rest of a body that was answered before its end
            self._wait()

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def _size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + len(b": \r\n") for name, value in self.headers)

    def _refuse(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(TOO_LARGE)
            self.transport.close()

    def _wait(self) -> None:
        if self._cut_off is None and not self.transport.is_closing():
            self._cut_off = self.loop.call_later(self.header_timeout_s, self._lose_patience)

    def _wait_no_more(self) -> None:
        if self._cut_off is not None:
            self._cut_off.cancel()
            self._cut_off = None

    def _lose_patience(self) -> None:
        """While an answer is being made, its client may have been kept from sending by us (flow control)."""
        self._cut_off = None
        if self.cycle is not None and not self.cycle.response_complete:  # pyright: ignore[reportUnnecessaryComparison]
            self._wait()
        else:
            self.transport.abort()


def cut_off_slow_clients() -> None:
    """Makes PatientProtocol what uvicorn takes by default; has to be called before uvicorn loads its configuration.

    Bento builds uvicorn.Config itself, offers no `http` option (_bentoml_impl/worker/service.py), and loads the service
    before. Half of the files that the process may open stay free for everything but connections.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY:
        PatientProtocol.max_connections = min(MAX_CONNECTIONS, most // 2)
    HTTP_PROTOCOLS["auto"] = f"{PatientProtocol.__module__}:{PatientProtocol.__qualname__}"
