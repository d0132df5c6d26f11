"""One web page that this process serves on its own machine, made anew for each visit."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from urllib.parse import urlsplit

FRESH_S = 5.0  # for which a page is served again
RELOADED_S = 30  # after which a browser reads it again


@contextmanager
def served_page(url: str, render: Callable[[], str]) -> Generator[None]:
    """`render` returns the HTML; an error of it is shown in its place."""
    port = urlsplit(url).port
    assert port is not None
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(_Page(render)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Page:
    def __init__(self, render: Callable[[], str]) -> None:
        self._render, self._lock = render, threading.Lock()
        self._last: tuple[float, str] | None = None

    def html(self) -> str:
        with self._lock:
            if self._last is None or monotonic() - self._last[0] > FRESH_S:
                self._last = (monotonic(), self._render())
            return self._last[1]


def _handler(page: _Page) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if urlsplit(self.path).path != "/":
                self._send(HTTPStatus.NOT_FOUND, "text/plain", "Not found. The page is at /.")
                return
            try:
                self._send(HTTPStatus.OK, "text/html", page.html())
            except Exception as error:  # noqa: BLE001 - the next visit may find the cause removed
                self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", f"{type(error).__name__}: {error}")

        def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": f"{kind}; charset=utf-8",
                "Content-Length": len(body),
                "Refresh": RELOADED_S,
            }.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the terminal of `mlops up` is for its own messages."""

    return Handler
