"""The ASGI middleware in a real app on a real server."""

import asyncio
import base64
import contextvars
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from loadtag import LoadTag, current_run, current_tag, format_token, is_load_test
from loadtag.asgi import LoadTagMiddleware
from loadtag.headers import put
from tests.support.serving import by_uvicorn

background: list[str | None] = []


def token(run: str) -> str:
    return format_token(LoadTag("key", run, 1_800_000_000, "shop"), bytes(64))


def tagged(run: str) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in put([], token(run), run)}


async def who(_request: Request) -> JSONResponse:
    await asyncio.sleep(0.02)  # others are served meanwhile
    tag = current_tag()
    return JSONResponse({"run": current_run(), "test": is_load_test(), "audience": tag and tag.audience})


async def in_thread(_request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(await asyncio.to_thread(current_run)))


def sync(_request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(current_run()))  # Starlette runs it in its thread pool


async def stream(_request: Request) -> StreamingResponse:
    async def chunks() -> AsyncIterator[str]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield f"{current_run()} "

    return StreamingResponse(chunks(), background=BackgroundTask(lambda: background.append(current_run())))


async def fail(_request: Request) -> PlainTextResponse:
    raise RuntimeError("the app's own error")


async def socket(connection: WebSocket) -> None:
    await connection.accept()
    await connection.send_text(str(current_run()))
    await connection.close()


APP = Starlette(
    routes=[
        Route("/who", who),
        Route("/thread", in_thread),
        Route("/sync", sync),
        Route("/stream", stream),
        Route("/fail", fail),
        WebSocketRoute("/socket", socket),
    ],
    middleware=[Middleware(LoadTagMiddleware)],
)


@asynccontextmanager
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with (
        by_uvicorn(APP, lifespan="on") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        yield http


async def test_a_tagged_request_is_told_from_a_real_one() -> None:
    async with client() as http:
        synthetic = await http.get("/who", headers=tagged("run-1"))
        real = await http.get("/who", headers={"baggage": "user=alice"})
    assert synthetic.json() == {"run": "run-1", "test": True, "audience": "shop"}
    assert real.json() == {"run": None, "test": False, "audience": None}


async def test_requests_at_the_same_time_do_not_mix() -> None:
    async with client() as http:
        runs = [f"run-{number}" if number % 3 else None for number in range(60)]
        answers = await asyncio.gather(*(http.get("/who", headers=tagged(run) if run else {}) for run in runs))
    assert [answer.json()["run"] for answer in answers] == runs


@pytest.mark.parametrize("path", ["/thread", "/sync"])
async def test_the_tag_reaches_threads(path: str) -> None:
    async with client() as http:
        assert (await http.get(path, headers=tagged("run-1"))).text == "run-1"
        assert (await http.get(path)).text == "None"


async def test_the_tag_holds_while_the_response_streams_and_for_background_work() -> None:
    background.clear()
    async with client() as http:
        assert (await http.get("/stream", headers=tagged("run-1"))).text == "run-1 run-1 run-1 "
        assert (await http.get("/stream")).text == "None None None "
    assert background == ["run-1", None]


@pytest.mark.parametrize(
    "headers",
    [
        {"baggage": "loadtest=rubbish"},
        {"baggage": "loadtest=v1.k.r.1.a.b"},
        {"baggage": "LoadTest=" + token("run-1")},
        {"baggage": f"loadtest={token('a')},loadtest={token('b')}"},
        {"x-load-test": "run-1"},
    ],
)
async def test_a_broken_tag_is_no_tag(headers: dict[str, str]) -> None:
    async with client() as http:
        answer = await http.get("/who", headers=headers)
    assert (answer.status_code, answer.json()["run"]) == (200, None)


async def test_an_error_of_the_app_stays_the_apps_and_leaves_no_tag_behind() -> None:
    async with client() as http:
        assert (await http.get("/fail", headers=tagged("run-1"))).status_code == 500
        assert (await http.get("/who")).json()["run"] is None


async def test_a_pipelined_request_does_not_inherit_the_tag_of_the_one_before_it() -> None:
    async with by_uvicorn(APP, lifespan="on") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        first = f"GET /who HTTP/1.1\r\nhost: x\r\nbaggage: loadtest={token('run-1')}\r\n\r\n"
        second = "GET /who HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        writer.write((first + second).encode())
        answer = (await reader.read(-1)).decode()
        writer.close()
        await writer.wait_closed()
    assert answer.index('"run":"run-1"') < answer.index('"run":null')


@pytest.mark.parametrize("run", ["run-1", None])
async def test_a_websocket_has_the_tag_of_its_handshake(run: str | None) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ["GET /socket HTTP/1.1", "host: x", "upgrade: websocket", "connection: upgrade"]
    lines += [f"sec-websocket-key: {key}", "sec-websocket-version: 13"]
    lines += [f"baggage: loadtest={token(run)}"] if run else []
    async with by_uvicorn(APP, lifespan="on") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write("\r\n".join([*lines, "", ""]).encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        _, length = await reader.readexactly(2)
        assert (await reader.readexactly(length)).decode() == str(run)
        writer.write(b"\x88\x80\x00\x00\x00\x00")  # a masked close frame: the end of the closing handshake
        await reader.read(-1)
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "headers", [iter([(b"baggage", b"loadtest=" + token("run-1").encode())]), [(b"baggage", 5)], None]
)
async def test_headers_of_any_kind_reach_the_app(headers: Any) -> None:
    """Servers give lists; the specification asks for no more than an iterable."""
    seen: list[tuple[Any, str | None]] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(([*(scope["headers"] or ())], current_run()))

    nothing: Any = None
    await LoadTagMiddleware(app)({"type": "http", "headers": headers}, nothing, nothing)
    expected = {"list": [(b"baggage", 5)], "NoneType": []}.get(type(headers).__name__)
    if expected is None:
        assert seen == [([(b"baggage", b"loadtest=" + token("run-1").encode())], "run-1")]
    else:
        assert seen == [(expected, None)]


async def test_an_app_that_is_wrapped_as_a_whole_handles_its_errors_knowing_what_it_serves() -> None:
    async def handled(_request: Request, _error: Exception) -> PlainTextResponse:
        return PlainTextResponse(f"failed for {current_run()}", 500)

    inner = Starlette(routes=[Route("/fail", fail)], exception_handlers={Exception: handled})
    transport = httpx.ASGITransport(LoadTagMiddleware(inner), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        assert (await http.get("/fail", headers=tagged("run-1"))).text == "failed for run-1"
        assert (await http.get("/fail")).text == "failed for None"
    assert current_run() is None


def test_a_request_that_a_closed_loop_leaves_behind_ends_quietly() -> None:
    """Its coroutine is closed by whoever collects it, in another context than it ran in."""

    async def wait(_scope: Any, _receive: Any, _send: Any) -> None:
        await asyncio.sleep(0)

    serving = LoadTagMiddleware(wait)({"type": "http", "headers": put([], token("run-1"), "run-1")}, None, None)  # type: ignore[arg-type]
    contextvars.copy_context().run(serving.send, None)
    serving.close()
    assert not is_load_test()
