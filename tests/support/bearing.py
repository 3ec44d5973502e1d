"""Who gets a load tag and who does not: tags to give, and a server that writes down what arrives."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from loadtag import LoadTag, Served, current_run, format_token
from loadtag.headers import put


def served(run: str) -> Served:
    """What is being served for a request of `run`."""
    tag = LoadTag("key", run, 1_800_000_000, "shop")
    return Served(tag, format_token(tag, bytes(64)))


def told() -> str | None:
    """The run that is being served, as whoever asks is told, here and in a thread of an executor."""
    with ThreadPoolExecutor(1) as executor:
        there = executor.submit(current_run).result()
    assert there == current_run()
    return there


def tagged(run: str | None) -> dict[str, str]:
    """The headers of a request of `run`, as they leave a sidecar; none for a real one."""
    return {} if run is None else {name.decode(): value.decode() for name, value in put([], served(run).token, run)}


class Arrived(NamedTuple):
    """One request as it arrived."""

    path: str
    fields: list[tuple[str, str]]
    body: bytes
    connection: int
    """The client's port: the same for requests on one connection."""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name]

    @property
    def run(self) -> str | None:
        """Of which run it bears the tag, as people see it; whether the tag agrees is asserted."""
        runs = self.all("x-load-test")
        members = [member for value in self.all("baggage") for member in value.split(",")]
        tags = [member.strip() for member in members if member.strip().startswith("loadtest=")]
        assert tags == [f"loadtest={served(run).token}" for run in runs], "the tag is there once, and is the run's"
        return runs[0] if runs else None


class Origin(ThreadingHTTPServer):
    """Answers everything and keeps connections alive. ``/to?URL`` redirects there."""

    daemon_threads = True
    request_queue_size = 100

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.arrived: list[Arrived] = []

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}{path}"


@contextmanager
def origin() -> Iterator[Origin]:
    with Origin() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Origin

    def _answer(self) -> None:
        body = self._body()
        self.server.arrived.append(Arrived(self.path, self.headers.items(), body, self.client_address[1]))
        target = parse_qs(urlsplit(self.path).query).get("to")
        self.send_response(307 if target else 200)
        if target:
            self.send_header("Location", target[0])
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_GET = do_POST = _answer  # noqa: N815 - names that are given

    def do_CONNECT(self) -> None:
        self.server.arrived.append(Arrived(f"CONNECT {self.path}", self.headers.items(), b"", self.client_address[1]))
        self.send_error(403)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
