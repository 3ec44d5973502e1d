"""nginx and the lanes of the sidecar, each before an origin of its own."""

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.differential.origin import RecordingOrigin, Script
from tests.support.lanes import LANES, Lane, flags
from tests.support.processes import Process, answers, eventually, free_port, reamp

_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    large_client_header_buffers 8 160k;
    underscores_in_headers on;
    merge_slashes off;
    upstream app {{ server 127.0.0.1:{app} max_fails=0; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_next_upstream off;
        }}
    }}
}}
"""
"""As close to what a sidecar does as nginx gets: nothing rewritten, nothing kept back, nothing tried twice."""


@dataclass
class Proxy:
    """A proxy and the app behind it."""

    name: str
    port: int
    origin: RecordingOrigin


def find_nginx() -> str | None:
    """Where nginx is; Debian puts it where a user's PATH does not look."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def _nginx(folder: Path, scripts: Mapping[bytes, Script], program: str) -> Iterator[Proxy]:
    folder.mkdir(parents=True)
    port, config = free_port(), folder / "nginx.conf"
    with RecordingOrigin(scripts) as origin:
        config.write_text(_NGINX.format(folder=folder, app=origin.port, port=port))
        with Process([program, "-p", str(folder), "-c", str(config)], folder / "nginx.out") as process:
            process.ready(port)
            yield Proxy("nginx", port, origin)


@contextlib.contextmanager
def _sidecar(folder: Path, scripts: Mapping[bytes, Script], lane: Lane) -> Iterator[Proxy]:
    folder.mkdir(parents=True)
    port, control = free_port(), free_port()
    with RecordingOrigin(scripts) as origin:
        command = reamp(
            "sidecar", "--upstream", f"http://127.0.0.1:{origin.port}", "--listen", f"127.0.0.1:{port}",
            "--control", f"127.0.0.1:{control}", "--captures", str(folder / "recordings"),
            "--state", str(folder / "state"), *flags(lane),
        )  # fmt: skip
        with Process(command, folder / "sidecar.out") as process:
            process.ready(control)
            eventually(answers(port))
            yield Proxy(lane, port, origin)


@contextlib.contextmanager
def proxies(folder: Path, scripts: Mapping[bytes, Script] | None = None) -> Iterator[dict[str, Proxy]]:
    """Start them all, by name. nginx is left out where it is not installed."""
    program = find_nginx()
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(_sidecar(folder / lane, scripts or {}, lane)) for lane in LANES]
        if program:
            found.append(stack.enter_context(_nginx(folder / "nginx", scripts or {}, program)))
        yield {proxy.name: proxy for proxy in found}
