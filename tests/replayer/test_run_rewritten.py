"""A whole run whose requests are changed on the way, seen from the target and from the run's folder."""

import json
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest

from captures.batch import BatchWriter
from captures.records import Record
from loadtag import keys
from replayer.books.folder import read_report
from rules.exits import Exit
from tests.support.place import PATIENT
from tests.support.processes import run
from tests.support.recording import record

SECRET = "hush-c2VjcmV0"
PLUGIN = """
from replayer.plugins import PluginRequest


def change(request: PluginRequest) -> PluginRequest | None:
    if request.path == "/v2/admin":
        return None
    if request.path == "/v2/broken":
        raise ValueError("no idea")
    return request.with_header("X-Api-Version", "2")
"""


class Arrived(NamedTuple):
    line: str
    fields: dict[str, str]
    body: bytes


@pytest.fixture
def target() -> Iterator[tuple[str, list[Arrived]]]:
    """A server that answers 200 and notes what came; a field that came twice would be noted as such."""
    found: list[Arrived] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            fields = {name.lower(): ", ".join(self.headers.get_all(name, [])) for name in self.headers}
            body = self.rfile.read(int(fields.get("content-length", "0")))
            found.append(Arrived(f"{self.command} {self.path}", fields, body))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        do_GET = do_POST = answer  # noqa: N815 - names that the base class wants

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def recorded() -> Iterator[Record]:
    usual = [(b"host", b"shop.example"), (b"traceparent", b"00-1-2-01"), (b"Authorization", b"Bearer old")]
    usual += [(b"If-None-Match", b'"7"'), (b"X-Forwarded-For", b"203.0.113.9"), (b"Accept-Language", b"de")]
    paths = ["GET /v1/item/%d"] * 20 + ["POST /v1/cart/%d"] * 10 + ["POST /v1/orders"] * 5
    paths += ["GET /v1/admin"] * 3 + ["GET /v1/broken"] * 2
    for number, what in enumerate(paths):
        method, path = (what % number if "%d" in what else what).split()
        own = [(b"Idempotency-Key", b"key-%d" % number)] if method == "POST" else []
        yield record(number / 50, path, method, usual + own, b"{}" if method == "POST" else b"")


@pytest.mark.parametrize("factor", [1, 3])
def test_a_run_with_everything_changed(tmp_path: Path, target: tuple[str, list[Arrived]], factor: int) -> None:
    url, arrived = target
    keys.generate(tmp_path, "load")
    (tmp_path / "own_plugin.py").write_text(PLUGIN)
    with BatchWriter(tmp_path / "recording") as batch:
        for item in recorded():
            batch.write(item)
    arguments = ["replay", str(tmp_path / "recording"), "--to", url, "--idle-target", "--amplify", f"{factor}x"]
    arguments += ["--key", str(tmp_path / "load.key"), "--runs", str(tmp_path / "runs"), "--token-from", "SHOP_TOKEN"]
    arguments += ["--allow", "POST /v2/cart/{id}", "--rewrite", "^/v1/ => /v2/", "--set-header", "Accept-Language: en"]
    arguments += ["--remove-header", "X-Forwarded-*", "--plugin", "own_plugin:change"]
    env = {"PYTHONPATH": str(tmp_path), "SHOP_TOKEN": SECRET, **PATIENT}

    dry = run(*arguments, "--dry-run", env=env)
    assert dry.returncode == Exit.DONE, dry.stdout + dry.stderr
    told = " ".join(dry.stdout.split())
    assert "POST /v2/cart/{id} (10)" in told
    assert "POST /v2/orders (5)" in told
    assert "own_plugin:change: ValueError: no idea (own_plugin.py:9) (2 times)" in told
    assert arrived == []

    done = run(*arguments, env=env)
    assert done.returncode == Exit.DONE, done.stdout + done.stderr
    assert Counter(one.line.rpartition("/")[0] for one in arrived) == {
        "GET /v2/item": 20 * factor,
        "POST /v2/cart": 10 * factor,
    }
    for one in arrived:
        assert one.fields["authorization"] == f"Bearer {SECRET}"
        assert one.fields["accept-language"] == "en"
        assert one.fields["if-none-match"] == '"7"'
        assert one.fields["x-api-version"] == "2"
        assert one.fields["baggage"].startswith("loadtest=v1.")
        assert not {"traceparent", "x-forwarded-for"} & one.fields.keys()
    posts = [one for one in arrived if one.line.startswith("POST")]
    assert len({one.fields["idempotency-key"] for one in posts}) == 10 * factor
    assert {one.body for one in posts} == {b"{}"}

    (folder,) = (tmp_path / "runs").iterdir()
    report = read_report(folder)
    assert report.accounts.skipped == {"unsafe": 5, "plugin": 3, "plugin-error": 2}
    assert report.accounts.answered == 30 * factor
    assert report.reasons == {"plugin-error": "own_plugin:change: ValueError: no idea (own_plugin.py:9) (2 times)"}
    journal = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert [entry["how"] for entry in journal if entry["event"] == "plugin failed"] == [
        "own_plugin:change: ValueError: no idea (own_plugin.py:9)"
    ]
    # The token is nowhere but on the wire.
    assert SECRET not in dry.stdout + dry.stderr + done.stdout + done.stderr
    for file in folder.rglob("*"):
        assert file.is_dir() or SECRET.encode() not in file.read_bytes(), file
    assert report.plan["token_from"] == ["SHOP_TOKEN"]
