"""The example of an app: behind a real sidecar, with a payment provider, a stock and a mail server on loopback."""

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from loadtag import keys
from tests.support.processes import Process, free_port, python
from tests.support.receivers import Mailbox
from tests.support.serving import in_thread
from tests.support.stack import Stack

APP = Path(__file__).resolve().parents[2] / "deploy" / "app"


class Other:
    """Another service: keeps what is posted to it, and the headers that came with it."""

    def __init__(self) -> None:
        self.taken: list[tuple[dict[str, object], dict[str, str]]] = []
        other = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                posted = json.loads(self.rfile.read(int(self.headers["content-length"])))
                other.taken.append((posted, {name.lower(): value for name, value in self.headers.items()}))
                body = b'{"id": "ch_1", "status": "succeeded"}'
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the framework's name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]

    @contextmanager
    def running(self) -> Iterator["Other"]:
        with in_thread(self.server):
            yield self


def test_a_load_test_does_all_of_the_work_and_leaves_out_what_can_not_be_taken_back(tmp_path: Path) -> None:
    private, _ = keys.generate(tmp_path, "load")
    port, database = free_port(), tmp_path / "orders.sqlite3"
    stack = Stack(tmp_path, f"http://127.0.0.1:{port}", Path(), keys.load_private(private))
    with Other().running() as stock, Other().running() as payments, Mailbox().running() as mail:
        environment = {
            "STOCK_URL": f"http://127.0.0.1:{stock.port}",
            "PAYMENTS_URL": f"http://127.0.0.1:{payments.port}",
            "MAIL": f"127.0.0.1:{mail.port}",
            "DATABASE": f"sqlite:///{database}",
        }

        command = python("-m", "uvicorn", "checkout:app", "--app-dir", str(APP), "--port", str(port))
        with Process(command, tmp_path / "app.out", environment) as app, stack.sidecar(**{"max-extra": "100%"}):
            app.ready(port)
            order = {"email": "alice@shop.example", "item": "bicycle", "amount": 249}
            with httpx.Client(base_url=stack.url, trust_env=False) as client:
                real = client.post("/orders", json=order)
                synthetic = client.post("/orders", json=order, headers=stack.tagged("run-7"))
                assert (real.status_code, real.json()["id"]) == (201, "ch_1")
                assert (synthetic.status_code, synthetic.json()["id"]) == (201, "ch_none")
                metrics = client.get("/metrics").text
            assert 'shop_orders_total{kind="real"} 1.0' in metrics
            assert 'shop_orders_total{kind="synthetic"} 1.0' in metrics
            # The stock has worked for both, and could tell them apart.
            assert [headers.get("x-load-test") for _, headers in stock.taken] == [None, "run-7"]
            assert "INFO [-] bicycle was ordered" in app.output
            assert "INFO [run-7] bicycle was ordered" in app.output
            app.stop()  # which sends the mails that are left
        assert len(payments.taken) == len(mail.taken) == 1
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT receipt, load_test_run FROM orders").fetchall()
        assert rows == [("ch_1", None), ("ch_none", "run-7")]
        removing = python("-c", "import checkout; print(checkout.remove('run-7'))")
        removed = subprocess.run(
            removing, cwd=APP, env={"DATABASE": f"sqlite:///{database}"}, capture_output=True, check=True
        )
        assert removed.stdout.strip() == b"{'orders': 1}"
        assert connection.execute("SELECT receipt FROM orders").fetchall() == [("ch_1",)]
