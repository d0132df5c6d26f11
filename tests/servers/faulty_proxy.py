"""A server between a client and a store of the tests, which passes requests on, refuses them, or leaves them without a reply."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

HOP = {"connection", "transfer-encoding", "content-length", "content-encoding"}


class FaultyProxy:
    """`fault` of a request: None, "503", or "hang", until `end`. `refused` counts requests by path."""

    def __init__(self, target: str) -> None:
        self.target, self.url, self.refused = target, "", Counter[str]()
        self.fault: Callable[[str], str | None] = lambda _path: None
        self._ended = threading.Event()

    def end(self) -> None:
        """Ends every request that hangs; no other one is affected."""
        self.fault = lambda _path: None
        self._ended.set()
        self._ended = threading.Event()

    def reply(self, method: str, path: str, headers: dict[str, str], body: bytes) -> httpx.Response | None:
        fault = self.fault(path)
        if fault is None:
            return httpx.request(method, f"{self.target}{path}", headers=headers, content=body, trust_env=False)
        self.refused[path] += 1
        if fault == "hang":
            self._ended.wait()
            return None
        return httpx.Response(
            503, content=b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
        )


@contextmanager
def faulty_proxy(target: str) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(target)

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = proxy.reply(self.command, self.path, dict(self.headers), body)
            if reply is None:
                self.close_connection = True
                return
            self.send_response(reply.status_code)
            for name, value in reply.headers.items():
                if name not in HOP:
                    self.send_header(name, value)
            # The answer to HEAD has the size of what it does not send.
            self.send_header("Content-Length", reply.headers.get("content-length") or str(len(reply.content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _reply

        def log_message(self, format: str, *args: object) -> None:
            """Nothing to stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        proxy.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.end()
            server.shutdown()
