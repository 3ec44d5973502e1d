"""Receivers of announcements: a webhook, a mail server, and ones that do not take anything."""

import contextlib
import email
import email.policy
import json
import socket
from collections.abc import Iterator
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.processes import free_port
from tests.support.serving import in_thread


class Webhook:
    """Takes what is posted to it, for as long as `status` says so."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.status = 200
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                webhook.paths.append(self.path)
                if webhook.status == 200:
                    webhook.taken.append(json.loads(body))
                self.send_response(webhook.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the framework's name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]

    def url(self, path: str = "") -> str:
        return f"json://127.0.0.1:{self.port}/{path}"

    @property
    def titles(self) -> list[str]:
        return [str(each["title"]) for each in self.taken]

    @contextlib.contextmanager
    def running(self) -> Iterator["Webhook"]:
        with in_thread(self.server):
            yield self


class Mailbox:
    """A mail server that keeps what it gets."""

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        assert isinstance(envelope.content, bytes)
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.taken.append(message)
        return "250 taken"

    @property
    def url(self) -> str:
        # Without a name and a password Apprise wants to know who it is from; and no TLS, on loopback.
        return f"mailto://127.0.0.1:{self.port}?from=load@test.example&to=team@test.example&mode=insecure"

    @contextlib.contextmanager
    def running(self) -> Iterator["Mailbox"]:
        self._controller.start()
        try:
            yield self
        finally:
            self._controller.stop()


@contextlib.contextmanager
def silent() -> Iterator[int]:
    """A port at which somebody listens, who never says anything."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield listener.getsockname()[1]
