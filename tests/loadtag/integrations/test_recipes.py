"""The recipes of docs/tag.md and loadtag/README.md for what comes in and what goes out, run as they are printed."""

import queue
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import httpx
import pytest
from django.utils.module_loading import import_string

from loadtag import current_run, goes_to, keep_inside, serve
from loadtag.integrations import INSTRUMENTABLE, uninstrument
from tests.support.bearing import served, tagged
from tests.support.recipes import PAGE, README, recipe


@pytest.fixture(autouse=True)
def undone() -> Iterator[None]:
    yield
    uninstrument(*INSTRUMENTABLE)
    keep_inside()


async def test_fastapi() -> None:
    app = recipe(PAGE, "FastAPI and Starlette")["app"]
    app.get("/who")(lambda: str(current_run()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        assert (await client.get("/who", headers=tagged("run-1"))).json() == "run-1"
        assert (await client.get("/who")).json() == "None"


def test_flask() -> None:
    app = recipe(PAGE, "Flask")["app"]
    app.route("/who")(lambda: str(current_run()))
    with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://x") as client:
        assert client.get("/who", headers=tagged("run-1")).text == "run-1"
        assert client.get("/who").text == "None"


def test_django() -> None:
    first = recipe(PAGE, "Django")["MIDDLEWARE"][0]
    serving = import_string(first)(lambda _request: current_run())
    meta = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in tagged("run-1").items()}
    assert serving(SimpleNamespace(META=meta)) == "run-1"
    assert serving(SimpleNamespace(META={})) is None


def test_aiohttp() -> None:
    assert recipe(PAGE, "aiohttp")["app"].middlewares  # as in test_frameworks, where it is served


async def test_grpc_servers() -> None:
    names = recipe(PAGE, "gRPC servers")
    names["server"].stop(None)
    await (await names["serve"]()).stop(None)


@pytest.mark.parametrize(("page", "heading"), [(PAGE, "Going out"), (README, "Calls that the app makes")])
def test_instrumenting(page: Path, heading: str) -> None:
    own = grpc.insecure_channel
    recipe(page, heading)
    assert grpc.insecure_channel is not own
    assert all(f'"{name}"' in page.read_text() for name in INSTRUMENTABLE)


def test_kafka() -> None:
    names, sent, shipped = recipe(PAGE, "Queues"), [], []
    producer = SimpleNamespace(
        send=lambda _topic, value, headers: sent.append(SimpleNamespace(value=value, headers=headers))
    )
    with serve(served("run-1")):
        names["send"](producer, b"7")
    names["send"](producer, b"8")
    names["receive"](sent, lambda value: shipped.append((value, current_run())))
    assert shipped == [(b"7", "run-1"), (b"8", None)]


def test_anything_else(capsys: pytest.CaptureFixture[str]) -> None:
    with serve(served("run-1")):
        recipe(PAGE, "Anything else")
    recipe(PAGE, "Anything else")
    assert capsys.readouterr().out == "not charged\ncharged\n"


def test_a_queue_of_ones_own() -> None:
    names, messages = recipe(README, "Calls that the app makes", 1), queue.Queue[Any]()
    with serve(served("run-1")):
        names["send"](messages, "7")
    names["send"](messages, "8")
    assert [names["receive"](messages), names["receive"](messages)] == ["not shipped", "shipped"]


def test_whom_the_tag_may_go_to() -> None:
    recipe(PAGE, "Whom the tag may go to")
    assert [goes_to(host) for host in ("a.svc.cluster.local", "10.1.2.3", "payments:80", "api.stripe.com")] == [
        True,
        True,
        True,
        False,
    ]
