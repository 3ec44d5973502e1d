"""Whole replays onto nginx over TLS and HTTP/2: its access log tells what was spoken, and to whom."""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from loadtag import keys
from replayer.books.folder import read_report
from replayer.books.report import Report
from rules.exits import Exit
from tests.support.authority import Authority
from tests.support.lines import whole_lines
from tests.support.origins import found
from tests.support.processes import Process, free_port, run
from tests.support.recording import record, write

pytestmark = pytest.mark.skipif(found("nginx") is None, reason="nginx is not installed")

_CONFIG = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    log_format lines '$server_protocol $host $ssl_server_name $connection $status';
    access_log {folder}/access.log lines;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 100m;
    root {folder}/files;
    ssl_certificate {folder}/shop.pem;
    ssl_certificate_key {folder}/shop.pem;
    server {{ listen 127.0.0.1:{tls} ssl http2; location = /gone {{ return 404; }} }}
    server {{ listen 127.0.0.1:{plain} http2; http2_max_concurrent_streams 8; }}
    server {{
        listen 127.0.0.1:{strict} ssl http2;
        ssl_verify_client on;
        ssl_client_certificate {folder}/ca.pem;
    }}
}}
"""


class Line(NamedTuple):
    """A request, as nginx logged it."""

    protocol: str
    host: str
    sni: str
    connection: str
    status: int


class Here(NamedTuple):
    folder: Path
    tls: int
    plain: int
    strict: int

    def lines(self) -> list[Line]:
        """What nginx logged since the last look."""
        log = self.folder / "access.log"
        lines = [line.split(" ") for line in whole_lines(log)]
        log.write_text("")
        return [Line(a, b, c, d, int(status)) for a, b, c, d, status in lines]

    def replay(self, *arguments: str, code: Exit = Exit.DONE) -> Report:
        runs = self.folder / "runs"
        before = set(runs.iterdir()) if runs.exists() else set()
        done = run(
            "replay", str(self.folder / "recordings"), "--idle-target", "--key", str(self.folder / "load.key"),
            "--runs", str(runs), "--max-lag", "5s", *arguments,
        )  # fmt: skip
        # On a busy machine the sender may lag, which is not the point here.
        assert done.returncode in (code, Exit.INVALID), done.stdout + done.stderr
        (folder,) = set(runs.iterdir()) - before
        report = read_report(folder)
        assert report.accounts.reconciles()
        return report


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    folder = tmp_path_factory.mktemp("wire")
    authority = Authority(folder)
    authority.issue("shop", "shop.example", "127.0.0.1")
    authority.issue("client", "somebody")
    keys.generate(folder, "load")
    (folder / "files").mkdir()
    (folder / "files" / "large").write_bytes(bytes(5_000_000))
    (folder / "files" / "index.html").write_text("hello")
    paths = ["/large" if n % 20 == 4 else "/gone" if n % 4 == 2 else "/" for n in range(80)]
    methods = ["HEAD" if n % 10 == 9 else "GET" for n in range(80)]
    write(folder / "recordings", (record(n * 0.005, *what) for n, what in enumerate(zip(paths, methods, strict=True))))
    here = Here(folder, free_port(), free_port(), free_port())
    config = folder / "nginx.conf"
    user = "" if os.geteuid() else "user root root;"
    config.write_text(_CONFIG.format(user=user, **here._asdict()))
    with contextlib.ExitStack() as stack:
        process = Process([found("nginx") or "nginx", "-p", str(folder), "-c", str(config)], folder / "out")
        stack.enter_context(process)
        process.ready(here.plain)
        yield here


def test_tls_speaks_http_2_where_the_target_agrees(here: Here) -> None:
    report = here.replay("--to", f"https://127.0.0.1:{here.tls}", "--ca", str(here.folder / "ca.pem"))
    lines = here.lines()
    assert Counter(line.protocol for line in lines) == {"HTTP/2.0": 80}
    assert report.accounts.statuses == Counter(line.status for line in lines) == {200: 60, 404: 20}
    assert len({line.connection for line in lines}) == 1  # all on one
    assert report.accounts.bytes_received > 4 * 5_000_000  # windows were opened again and again


def test_or_not_if_it_is_told_not_to(here: Here) -> None:
    here.replay("--to", f"https://127.0.0.1:{here.tls}", "--ca", str(here.folder / "ca.pem"), "--no-http2")
    assert Counter(line.protocol for line in here.lines()) == {"HTTP/1.1": 80}


def test_without_tls_by_prior_knowledge(here: Here) -> None:
    report = here.replay("--to", f"http://127.0.0.1:{here.plain}", "--http2")
    lines = here.lines()
    assert Counter(line.protocol for line in lines) == {"HTTP/2.0": 80}
    assert report.accounts.answered == 80
    assert not report.accounts.errors


def test_the_recorded_host_is_asked_for_and_verified(here: Here) -> None:
    target = ("--to", f"https://127.0.0.1:{here.tls}", "--ca", str(here.folder / "ca.pem"))
    report = here.replay(*target, "--host", "recorded")
    assert {(line.host, line.sni) for line in here.lines()} == {("shop.example", "shop.example")}
    assert report.accounts.answered == 80
    report = here.replay(*target, "--host", "other.example", code=Exit.FAILED)
    assert set(report.accounts.errors) == {"certificate"}
    assert "other.example" in report.reasons["certificate"]
    assert here.lines() == []


def test_a_name_is_resolved_as_told(here: Here) -> None:
    url = f"https://shop.example:{here.tls}"
    rule = f"shop.example:{here.tls}:127.0.0.1"
    here.replay("--to", url, "--ca", str(here.folder / "ca.pem"), "--resolve", rule)
    assert {line.sni for line in here.lines()} == {"shop.example"}


@pytest.mark.parametrize("version", ["--http2", "--no-http2"])
def test_a_client_certificate_is_shown(here: Here, version: str) -> None:
    target = ("--to", f"https://127.0.0.1:{here.strict}", "--ca", str(here.folder / "ca.pem"), version)
    report = here.replay(*target, "--cert", str(here.folder / "client.pem"))
    assert {line.status for line in here.lines()} == {200, 404}
    assert report.accounts.answered == 80
    report = here.replay(*target)
    assert set(report.accounts.statuses) == {400}  # nginx's own way to say so, in the place of an alert
    assert {line.status for line in here.lines()} == {400}
