"""A real HTTP server with orders in pages, which fails as a test says."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

PAGE = 2  # records


class Api(ThreadingHTTPServer):
    """`faults`: what happens to the coming requests instead of an answer, in order; None: an answer."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.records: list[Any] = []
        self.faults: list[Any] = []
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Any = None  # instead of a page
        self.link_host = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/orders"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        api = cast(Api, self.server)
        api.requests.append(self.path)
        api.headers.append(dict(self.headers))
        fault = api.faults.pop(0) if api.faults else None
        match fault:
            case None:
                self._send(200, json.dumps(self._page(api)).replace('"<', "").replace('>"', "").encode())
            case "cut":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'{"items": [')
                self.close_connection = True
            case "half":
                self._send(200, b'{"items": [{"number": 1')
            case "closed":
                self.close_connection = True
            case int():
                self._send(fault, b"no " + self.headers.get("Authorization", "").encode())
            case (status, headers):
                self._send(status, b"later", headers)

    def _page(self, api: Api) -> Any:
        if api.answer is not None:
            return api.answer
        query = dict(parse_qsl(urlsplit(self.path).query))
        records = [one for one in api.records if not query.get("since") or one["updated_at"] >= query["since"]]
        start = int(query.get("cursor") or (int(query.get("page") or 1) - 1) * PAGE)
        more = start + PAGE < len(records)
        link = f"http://{api.link_host}:{api.server_port}/orders?cursor={start + PAGE}&since={query.get('since', '')}"
        self._link = link if more else None
        return {
            "items": records[start : start + PAGE],
            "next": str(start + PAGE) if more else None,
            "link": link if more else None,
        }

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if getattr(self, "_link", None):
            self.send_header("Link", f'<{self._link}>; rel="next"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running_api() -> Iterator[Api]:
    api = Api()
    thread = threading.Thread(target=api.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.shutdown()
        api.server_close()
        thread.join()
