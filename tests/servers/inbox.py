"""A mail server and a web server of the test, which keep what they are sent, and can refuse it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, cast

from aiosmtpd.controller import Controller


@dataclass
class Inbox:
    """`mails` and `posts` in the order of their arrival; while `is_down` every message is refused."""

    mail_port: int = 0
    web_port: int = 0
    mails: list[EmailMessage] = field(default_factory=list[EmailMessage])
    posts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    is_down: bool = False

    @property
    def mail_address(self) -> str:
        return f"mailto://127.0.0.1:{self.mail_port}?from=platform@example.org&to=oncall@example.org&mode=insecure"

    @property
    def web_address(self) -> str:
        """A webhook in Slack's form, with a secret in its path."""
        return f"json://user:sesame@127.0.0.1:{self.web_port}/hook?:message=text"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.is_down:
            return "451 later"
        self.mails.append(cast(EmailMessage, message_from_bytes(envelope.content, policy=policy.default)))
        return "250 taken"


def _handler(inbox: Inbox) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if not inbox.is_down:
                inbox.posts.append(json.loads(content))
            self.send_response(503 if inbox.is_down else 200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def open_inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    web = ThreadingHTTPServer(("127.0.0.1", 0), _handler(inbox))
    # It connects to itself before it reports that it is ready, and needs to know the port for that.
    inbox.web_port, inbox.mail_port = web.server_port, _free_port()
    mail = Controller(inbox, hostname="127.0.0.1", port=inbox.mail_port)
    thread = Thread(target=web.serve_forever, daemon=True)
    thread.start()
    mail.start()
    try:
        yield inbox
    finally:
        mail.stop()
        web.shutdown()
        web.server_close()
        thread.join()


def _free_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return server.server_port
