"""Real servers, each with an access log of its own: of each request its `x-record` field, status and HTTP version.

- `nginx`: the line is written by nginx itself, with the answer, which it gives at once.
- `asgi`: uvicorn and a small ASGI app, which writes the line when it takes the request up. `node`: Node's own server,
  the same.
- `nginx_tls`: the same nginx behind TLS.
- `nginx_http2`, `nginx_http2_tls`, `node_http2`: HTTP/2, by prior knowledge, by TLS (ALPN), by prior knowledge again.

All know the same paths: `/item/N` gives 200 and a body whose length depends on N, `/missing/N` 404, `/broken/N` 500,
`/empty/N` 204.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.lines import whole_lines
from tests.support.origin import certificate
from tests.support.processes import Process, free_port, python

STATUSES = {"item": 200, "missing": 404, "broken": 500, "empty": 204}
"""By the first part of a path."""

_NGINX = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    log_format lines '$http_x_record $status $server_protocol';
    access_log {folder}/access.log lines;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} {how};
        {more}
        location /item {{ return 200 '$request_uri, one of many'; }}
        location /missing {{ return 404; }}
        location /broken {{ return 500; }}
        location /empty {{ return 204; }}
    }}
}}
"""


_GOES_AWAY = 1500
"""Requests on a connection of HTTP/2, after which nginx says GOAWAY and takes no more that is on its way."""


class Line(NamedTuple):
    """A request in a server's log."""

    number: int
    """Which record it was."""
    status: int
    protocol: str
    """Like HTTP/1.1 or HTTP/2.0."""


class Served(NamedTuple):
    """A server that runs."""

    url: str
    log: Path
    options: tuple[str, ...] = ()
    """Of `reamp replay`, to reach it."""

    def lines(self) -> list[Line]:
        """All requests so far, in the order of the log."""
        lines = (line.split() for line in whole_lines(self.log))
        return [Line(int(number), int(status), protocol) for number, status, protocol in lines]


def found(name: str) -> str | None:
    """Where a server's program is; None if it is missing."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin")


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[Served]:
    """Start nginx as it comes: it closes each connection after its thousandth request, for one thing."""
    with _nginx(folder) as served:
        yield served


@contextlib.contextmanager
def nginx_http2(folder: Path, goes_away: int = _GOES_AWAY) -> Iterator[Served]:
    """Start nginx for clients that know it speaks HTTP/2."""
    with _nginx(folder, "http2", f"keepalive_requests {goes_away};") as served:
        yield served._replace(options=("--http2",))


@contextlib.contextmanager
def nginx_tls(folder: Path) -> Iterator[Served]:
    """Start nginx for clients that speak HTTP/1.1 over TLS."""
    with _secured(folder, "ssl") as served:
        yield served


@contextlib.contextmanager
def nginx_http2_tls(folder: Path) -> Iterator[Served]:
    """Start nginx for clients that agree on HTTP/2 in the TLS handshake."""
    with _secured(folder, "ssl http2", f"keepalive_requests {_GOES_AWAY};") as served:
        yield served


@contextlib.contextmanager
def _secured(folder: Path, how: str, more: str = "") -> Iterator[Served]:
    trust, _ = certificate(folder, "127.0.0.1")
    pem = folder / "server.pem"
    with _nginx(folder, how, f"{more} ssl_certificate {pem}; ssl_certificate_key {pem};") as served:
        yield served._replace(url=served.url.replace("http:", "https:"), options=("--ca", str(trust)))


@contextlib.contextmanager
def _nginx(folder: Path, how: str = "", more: str = "") -> Iterator[Served]:
    port, config = free_port(), folder / "nginx.conf"
    # Started by root, its worker would be nobody, who may not write in here.
    user = "" if os.geteuid() else "user root root;"
    config.write_text(_NGINX.format(folder=folder, port=port, user=user, how=how, more=more))
    with _running([found("nginx") or "nginx", "-p", str(folder), "-c", str(config)], folder, port) as served:
        yield served


@contextlib.contextmanager
def asgi(folder: Path) -> Iterator[Served]:
    """Start a Python app behind uvicorn."""
    port = free_port()
    command = python(
        "-m", "uvicorn", "tests.support.origins.asgi:app", "--port", str(port), "--no-access-log",
        "--log-level", "warning",
    )  # fmt: skip
    with _running(command, folder, port) as served:
        yield served


@contextlib.contextmanager
def node(folder: Path) -> Iterator[Served]:
    """Start Node."""
    with _node(folder, "http") as served:
        yield served


@contextlib.contextmanager
def node_http2(folder: Path) -> Iterator[Served]:
    """Start Node for clients that know it speaks HTTP/2."""
    with _node(folder, "http2") as served:
        yield served._replace(options=("--http2",))


@contextlib.contextmanager
def _node(folder: Path, module: str) -> Iterator[Served]:
    port = free_port()
    script = Path(__file__).with_name("server.js")
    with _running([found("node") or "node", str(script), module, str(port)], folder, port) as served:
        yield served


@contextlib.contextmanager
def _running(command: list[str], folder: Path, port: int) -> Iterator[Served]:
    log = folder / "access.log"
    log.touch()
    with Process(command, folder / "out", {"ACCESS_LOG": str(log)}) as process:
        process.ready(port)
        yield Served(f"http://127.0.0.1:{port}", log)


Start = Callable[[Path], contextlib.AbstractContextManager[Served]]
