"""A server that load scripts send to, and that remembers what it was sent."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Request(NamedTuple):
    at: float
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Sink:
    """Answers everything with a cookie and a redirect, which a load script has to leave alone.

    Some answers take longer, so that requests overtake each other: what a client holds for all of them shows.
    `delay`: seconds that each takes, beside that.
    """

    def __init__(self, delay: float = 0) -> None:
        self.requests: list[Request] = []
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_one_request(self) -> None:
                super().handle_one_request()

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                requests.append(Request(time.monotonic(), self.command, self.path, headers, body))
                time.sleep(delay + len(requests) % 3 * 0.02)
                self.send_response(302)
                for name, value in (("Location", "/elsewhere"), ("Set-Cookie", "evil=1"), ("Content-Length", "0")):
                    self.send_header(name, value)
                self.end_headers()

            do_GET = do_POST = do_PUT = _answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        class Patient(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

        self._server = Patient(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
