"""One web page, and metrics for Prometheus, that this process serves, made anew for each visit."""

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from urllib.parse import urlsplit

FRESH_S = 5.0  # for which a page is served again
PROMETHEUS = "text/plain; version=0.0.4"
RELOADED_S = 30  # after which a browser reads it again


@contextmanager
def served_page(url: str, render: Callable[[], str], metrics: Callable[[], str] | None = None) -> Generator[None]:
    """At the host and port of `url`. `render` returns the HTML, and `metrics` what is at /metrics; an error of either is shown in
    its place.
    """
    host, port = urlsplit(url).hostname, urlsplit(url).port
    assert host is not None and port is not None
    pages = {"/": _Page("text/html", render)} | ({"/metrics": _Page(PROMETHEUS, metrics)} if metrics else {})
    server = ThreadingHTTPServer((host, port), _handler(pages))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Page:
    def __init__(self, kind: str, render: Callable[[], str]) -> None:
        self.kind, self._render, self._lock = kind, render, threading.Lock()
        self._last: tuple[float, str] | None = None

    def text(self) -> str:
        with self._lock:
            if self._last is None or monotonic() - self._last[0] > FRESH_S:
                self._last = (monotonic(), self._render())
            return self._last[1]


def _handler(pages: Mapping[str, _Page]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(urlsplit(self.path).path)
            if page is None:
                self._send(HTTPStatus.NOT_FOUND, "text/plain", f"Not found. There is {' and '.join(pages)}.")
                return
            try:
                self._send(HTTPStatus.OK, page.kind, page.text())
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
