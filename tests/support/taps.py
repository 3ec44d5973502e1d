"""The proxies that copy to a tap: those of deploy/, at other addresses."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.processes import Process, free_port
from tests.support.stack import Stack

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


class Copier(NamedTuple):
    """A proxy that carries traffic and copies it."""

    url: str
    process: Process


_NGINX = """\
{user}
worker_processes 2;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    include {folder}/reamp-tap.conf;
}}
"""


def program(name: str) -> str:
    """Where it is; Debian puts such where a user's PATH does not look. Without it the test is skipped."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not here")
    return found


def placed(text: str, places: Mapping[str, str]) -> str:
    """Put other addresses into a configuration; each has to be there."""
    for what, instead in places.items():
        assert what in text, f"{what!r} is nowhere in it"
        text = text.replace(what, instead)
    return text


@contextmanager
def nginx(site: Stack, share: str = "10%", **places: str) -> Iterator[Copier]:
    """deploy/nginx before the site's app, copying to the site's tap."""
    found, port, folder = program("nginx"), free_port(), site.folder
    text = placed(
        (DEPLOY / "nginx" / "reamp-tap.conf").read_text(),
        {
            "127.0.0.1:8080": f"127.0.0.1:{site.listen}",
            "127.0.0.1:8089": f"127.0.0.1:{free_port()}",
            "127.0.0.1:8000": site.app.removeprefix("http://"),
            "listen 80;": f"listen 127.0.0.1:{port};",
            "    10% 1;": f"    {share} 1;",
            "/run/reamp/stop": str(folder / "stop"),
            "/var/log/nginx/": f"{folder}/",
            **places,
        },
    )
    if share == "100%":  # which leaves nothing for the others
        text = placed(text, {"    100% 1;\n    *   0;": "    *   1;"})
    (folder / "reamp-tap.conf").write_text(text)
    user = "" if os.geteuid() else "user root;"  # its workers would be somebody who may not look into this folder
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, user=user))
    with Process([found, "-p", str(folder), "-c", str(folder / "nginx.conf")], folder / "nginx.out") as process:
        process.ready(port)
        yield Copier(f"http://127.0.0.1:{port}", process)


@contextmanager
def haproxy(site: Stack, share: str = "10%", **places: str) -> Iterator[Copier]:
    """deploy/haproxy, likewise."""
    found, port, folder = program("haproxy"), free_port(), site.folder
    text = placed(
        (DEPLOY / "haproxy" / "haproxy.cfg").read_text(),
        {
            "/etc/haproxy/reamp-tap.lua": str(DEPLOY / "haproxy" / "reamp-tap.lua"),
            "reamp_tap 127.0.0.1:8080": f"reamp_tap 127.0.0.1:{site.listen}",
            "127.0.0.1:8901": f"127.0.0.1:{site.control_port}",
            "127.0.0.1:8000": site.app.removeprefix("http://"),
            "bind :80": f"bind 127.0.0.1:{port}",
            "lt 10": f"lt {share.removesuffix('%')}",
            **places,
        },
    )
    (folder / "haproxy.cfg").write_text(text)
    with Process([found, "-db", "-f", str(folder / "haproxy.cfg")], folder / "haproxy.out") as process:
        process.ready(port)
        yield Copier(f"http://127.0.0.1:{port}", process)


PROXIES: dict[str, Callable[..., AbstractContextManager[Copier]]] = {"nginx": nginx, "haproxy": haproxy}
"""By name: before the app of a site, copying a share to its tap."""
