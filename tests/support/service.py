"""A service that an app calls: it answers everything, and keeps what came as it came."""

import contextlib
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Arrived(NamedTuple):
    """One request as it came."""

    method: str
    target: str
    fields: list[tuple[str, str]]
    size: int
    """Bytes of its body."""

    def get(self, name: str) -> str | None:
        """Give a field, of which there must be no two."""
        values = [value for key, value in self.fields if key.lower() == name]
        assert len(values) < 2
        return values[0] if values else None


class Service:
    """``/slow`` is answered when `slow` is set, ``/big/N`` with N bytes, everything else with its own path."""

    def __init__(self) -> None:
        self.arrived: list[Arrived] = []
        self.slow = threading.Event()
        self.port = 0

    @contextlib.contextmanager
    def running(self, tls: ssl.SSLContext | None = None) -> Iterator["Service"]:
        """Serve on loopback, at a port of its own."""
        server = _Server(("127.0.0.1", 0), _Handler)
        server.service = self
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self.slow.set()
            server.shutdown()
            server.server_close()
            thread.join()

    def last(self, target: str) -> Arrived:
        """Give the last request for a target."""
        return next(one for one in reversed(self.arrived) if one.target == target)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    service: Service


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            super().handle_one_request()

    def do_GET(self) -> None:
        service, size = self.server.service, 0
        left = int(self.headers.get("content-length", 0))
        while left and (piece := self.rfile.read(min(left, 65536))):
            left -= len(piece)
            size += len(piece)
        service.arrived.append(Arrived(self.command, self.path, list(self.headers.items()), size))
        if self.headers.get("upgrade") == "echo":
            self._echo()
            return
        if self.path == "/slow":
            service.slow.wait(30)
        name, _, count = self.path.removeprefix("/").partition("/")
        body = self.path.encode() if name != "big" else b""
        self.send_response(200)
        self.send_header("content-length", str(int(count) if name == "big" else len(body)))
        self.end_headers()
        self.wfile.write(body)
        for _ in range(int(count) // 65536 if name == "big" else 0):
            self.wfile.write(bytes(65536))

    do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815 - as the library calls them

    def _echo(self) -> None:
        self.send_response(101)
        self.send_header("connection", "upgrade")
        self.send_header("upgrade", "echo")
        self.end_headers()
        while data := self.connection.recv(65536):
            self.connection.sendall(data)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's
        """Say nothing."""
