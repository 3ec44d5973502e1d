"""nginx, the target that all are measured against, and the reverse proxy that shows the limit. One worker each, unless
more are asked for."""

import http.client
import os
import random
import re
from pathlib import Path
from typing import Self

from tests.support.processes import Process, free_port

ANSWER = '{"item": 4711, "name": "a blue bicycle", "price": 249.0, "currency": "EUR", "stock": 120, "rating": 4.375}\\n'
"""107 bytes (the last two characters are one line feed to nginx)."""

LARGE = 65_536
"""Bytes of the large answer: a file, for nginx takes no such string in its configuration."""

_ALL = """
daemon off;
{user}
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_body_buffer_size 64k;
    {body}
}}
"""

_TARGET = """
    server {{
        listen 127.0.0.1:{port} backlog=4096{shared};
        location / {{ default_type application/json; return 200 '{answer}'; }}
        location = /large {{
            root {folder}/files;
            default_type application/octet-stream;
            sendfile on;
            tcp_nopush on;
            open_file_cache max=10;
        }}
    }}
    server {{
        listen 127.0.0.1:{http2} http2 backlog=4096;
        location / {{ default_type application/json; return 200 '{answer}'; }}
    }}
    server {{
        listen 127.0.0.1:{status};
        location / {{ stub_status; }}
    }}
"""

_PROXY = """
    upstream app {{ server 127.0.0.1:{app}; keepalive 128; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_buffer_size 16k;
            proxy_buffers 16 16k;
        }}
    }}
"""

_REQUESTS = re.compile(r"\n *\d+ +\d+ +(\d+)")


class Nginx:
    """A running nginx in a folder of its own. Ends with the ``with`` block."""

    def __init__(
        self, folder: Path, prefix: list[str], body: str, port: int, status: int = 0, http2: int = 0, workers: int = 1
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "nginx.conf"
        # Started by root, its worker would be nobody, who may not read what is in here.
        user = "" if os.geteuid() else "user root root;"
        config.write_text(_ALL.format(folder=folder, body=body, user=user, workers=workers))
        self.url = f"http://127.0.0.1:{port}"
        self.http2_url = f"http://127.0.0.1:{http2}"
        """The same answers by HTTP/2, without TLS, for those that know it (RFC 9113, 3.3)."""
        self.process = Process([*prefix, "nginx", "-p", str(folder), "-c", str(config)], folder / "nginx.out")
        self.pid = self.process.pid
        self._status = status
        self._reads = 0
        self.process.ready(port)

    def requests(self) -> int:
        """Requests that arrived so far, without those of this question."""
        connection = http.client.HTTPConnection("127.0.0.1", self._status, timeout=10)
        try:
            connection.request("GET", "/")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        self._reads += 1
        found = _REQUESTS.search(text)
        if found is None:
            raise RuntimeError(f"nginx gives no count of requests: {text}")
        return int(found[1]) - self._reads

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.__exit__(None, None, None)


def serving(folder: Path, prefix: list[str], workers: int = 1) -> Nginx:
    """Start the target: the same small JSON answer for every path and method, but for `/large`.

    The body of a POST is read from the connection and dropped.
    """
    port, status, http2, files = free_port(), free_port(), free_port(), folder / "files"
    files.mkdir(parents=True)
    (files / "large").write_bytes(random.Random(1).randbytes(LARGE))
    shared = " reuseport" if workers > 1 else ""  # else whoever wakes up first takes all connections
    body = _TARGET.format(port=port, status=status, http2=http2, answer=ANSWER, folder=folder, shared=shared)
    return Nginx(folder, prefix, body, port, status, http2, workers)


def proxying(folder: Path, prefix: list[str], app: str) -> Nginx:
    """Start nginx as a reverse proxy before `app`."""
    port = free_port()
    return Nginx(folder, prefix, _PROXY.format(port=port, app=app.rpartition(":")[2]), port)
