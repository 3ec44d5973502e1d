"""The recipes for what comes in: real apps of each framework on real servers are told what they serve."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Annotated, Any

import aiohttp
import fastapi
import flask
import httpx
import pytest
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from fastapi.responses import StreamingResponse
from werkzeug.serving import WSGIRequestHandler, make_server

from loadtag import current_run
from loadtag.asgi import LoadTagMiddleware
from loadtag.integrations.aiohttp import server_middleware
from loadtag.wsgi import LoadTagMiddleware as WsgiMiddleware
from tests.support.bearing import tagged
from tests.support.processes import ROOT, Process, free_port, python
from tests.support.serving import by_uvicorn, in_thread

seen: list[tuple[str, str | None]] = []


def on_fastapi() -> Any:
    app = fastapi.FastAPI()

    def session() -> Iterator[str | None]:
        yield current_run()
        seen.append(("dependency", current_run()))

    @app.middleware("http")
    async def other(request: fastapi.Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["x-other"] = str(current_run())
        return response

    @app.get("/who")
    def who(found: Annotated[str | None, fastapi.Depends(session)], work: fastapi.BackgroundTasks) -> Any:
        assert found == current_run()
        work.add_task(lambda: seen.append(("background", current_run())))
        return fastapi.Response(str(current_run()))

    @app.get("/who-async")
    async def who_async() -> Any:
        await asyncio.sleep(0.005)
        return fastapi.Response(str(current_run()))

    @app.get("/stream")
    async def stream() -> Any:
        return StreamingResponse(f"{current_run()} " for _ in range(3))

    @app.get("/fail")
    async def fail() -> None:
        raise RuntimeError("the app's own error")

    app.add_middleware(LoadTagMiddleware)  # the last one that is added is the first one that is asked
    return app


def on_flask() -> Any:
    app = flask.Flask(__name__)
    app.wsgi_app = WsgiMiddleware(app.wsgi_app)  # type: ignore[method-assign]

    @app.route("/who")
    def who() -> str:
        return str(current_run())

    @app.route("/who-async")
    async def who_async() -> str:
        await asyncio.sleep(0.005)
        return str(current_run())

    @app.route("/stream")
    def stream() -> Any:
        return flask.Response(flask.stream_with_context(f"{current_run()} " for _ in range(3)))

    @app.route("/fail")
    def fail() -> str:
        raise RuntimeError("the app's own error")

    @app.after_request
    def other(response: Any) -> Any:
        response.headers["x-other"] = str(current_run())
        return response

    @app.teardown_request
    def teardown(_error: Any) -> None:
        seen.append(("teardown", current_run()))

    return app


class OnAiohttp:
    """Its handlers."""

    async def who(self, _request: web.Request) -> web.Response:
        return web.Response(text=str(current_run()))

    async def who_async(self, _request: web.Request) -> web.Response:
        await asyncio.sleep(0.005)
        return web.Response(text=str(await asyncio.get_running_loop().run_in_executor(None, current_run)))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(3):
            await response.write(f"{current_run()} ".encode())
        return response

    async def generated(self, _request: web.Request) -> web.Response:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield f"{current_run()} ".encode()

        return web.Response(body=parts())  # run after all middleware

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        answers = web.WebSocketResponse()
        await answers.prepare(request)
        async for _ in answers:
            await answers.send_str(str(current_run()))
        return answers

    async def fail(self, _request: web.Request) -> web.Response:
        raise RuntimeError("the app's own error")


async def on_aiohttp() -> web.Application:
    @web.middleware
    async def other(request: web.Request, handler: Any) -> Any:
        response = await handler(request)
        if not response.prepared:
            response.headers["x-other"] = str(current_run())
        return response

    app = web.Application(middlewares=[server_middleware, other])
    on = OnAiohttp()
    for handler in (on.who, on.who_async, on.stream, on.generated, on.socket, on.fail):
        app.router.add_get("/" + handler.__name__.replace("_", "-"), handler)
    return app


class Logger(AbstractAccessLogger):
    """Writes down what is being served when a request is logged."""

    def log(self, *_: Any) -> None:
        seen.append(("log", current_run()))


class KeepingAlive(WSGIRequestHandler):
    """One thread for each connection, which serves one request after the other."""

    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        """Say nothing."""


def serving_wsgi(app: Any) -> AbstractContextManager[int]:
    return in_thread(make_server("127.0.0.1", 0, app, threaded=True, request_handler=KeepingAlive))


@asynccontextmanager
async def serving_aiohttp() -> AsyncIterator[int]:
    runner = web.AppRunner(await on_aiohttp(), access_log_class=Logger)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture(scope="module")
def django(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    ports = {"django-wsgi": free_port(), "django-asgi": free_port()}
    command = python("-m", "tests.support.djangoed", *map(str, ports.values()))
    with Process(command, tmp_path_factory.mktemp("django") / "log") as process:
        for port in ports.values():
            process.ready(port)
        yield ports


@asynccontextmanager
async def serving(framework: str, request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    """The framework's app, served, and a client with few connections to it."""
    limits = httpx.Limits(max_connections=4)
    async with httpx.AsyncClient(limits=limits, trust_env=False, timeout=20) as client:
        if framework.startswith("django"):
            client.base_url = httpx.URL(f"http://127.0.0.1:{request.getfixturevalue('django')[framework]}")
            yield client
        elif framework == "flask":
            with serving_wsgi(on_flask()) as port:
                client.base_url = httpx.URL(f"http://127.0.0.1:{port}")
                yield client
        else:
            async with by_uvicorn(on_fastapi()) if framework == "fastapi" else serving_aiohttp() as port:
                client.base_url = httpx.URL(f"http://127.0.0.1:{port}")
                yield client


FRAMEWORKS = ["fastapi", "flask", "django-wsgi", "django-asgi", "aiohttp"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_each_request_is_told_from_the_others(framework: str, request: pytest.FixtureRequest) -> None:
    seen.clear()
    runs = [f"run-{number}" if number % 3 else None for number in range(40)]
    async with serving(framework, request) as client:
        paths = ["/who", "/who-async"]
        answers = await asyncio.gather(
            *(client.get(paths[number % 2], headers=tagged(run)) for number, run in enumerate(runs))
        )
        assert [answer.text for answer in answers] == [str(run) for run in runs]
        if not framework.startswith("django"):
            assert [answer.headers["x-other"] for answer in answers] == [str(run) for run in runs]
    kinds = {"fastapi": ["dependency", "background"], "flask": ["teardown"], "aiohttp": ["log"]}.get(framework, [])
    for kind in kinds:  # what is done after the answer, or around it
        told = [run for name, run in seen if name == kind]
        assert sorted(map(str, told)) == sorted(map(str, runs if kind in {"teardown", "log"} else runs[::2]))


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_the_tag_holds_while_the_answer_streams(framework: str, request: pytest.FixtureRequest) -> None:
    more = {"django-wsgi": ["/stream-async"], "django-asgi": ["/stream-async"], "aiohttp": ["/generated"]}
    paths = ["/stream", *more.get(framework, [])]
    async with serving(framework, request) as client:
        for path in paths:
            assert (await client.get(path, headers=tagged("run-1"))).text == "run-1 run-1 run-1 "
            assert (await client.get(path)).text == "None None None "


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_fault_leaves_no_tag_behind(framework: str, request: pytest.FixtureRequest) -> None:
    async with serving(framework, request) as client:
        for path, status in (("/fail", 500), ("/nowhere", 404)):
            for _ in range(8):  # on each of the few connections and threads there are
                assert (await client.get(path, headers=tagged("run-1"))).status_code == status
            answers = await asyncio.gather(*(client.get("/who") for _ in range(8)))
            assert {answer.text for answer in answers} == {"None"}
        for name, value in (
            (b"baggage", b"loadtest=rubbish"),
            (b"x-load-test", b"run-1"),
            (b"baggage", b"\xff,loadtest=\xfe"),
        ):
            answer = await client.get("/who", headers=[(name, value)])
            assert (answer.status_code, answer.text) == (200, "None")


@pytest.mark.parametrize("framework", ["django-wsgi", "django-asgi"])
async def test_a_file_is_sent_whole(framework: str, request: pytest.FixtureRequest) -> None:
    async with serving(framework, request) as client:
        answer = await client.get("/file", headers=tagged("run-1"))
    assert answer.content == (ROOT / "tests" / "support" / "djangoed.py").read_bytes()


async def test_a_websocket_has_the_tag_of_its_handshake() -> None:
    async with serving_aiohttp() as port, aiohttp.ClientSession() as session:
        for run in ("run-1", None):
            async with session.ws_connect(f"http://127.0.0.1:{port}/socket", headers=tagged(run)) as socket:
                for _ in range(2):
                    await socket.send_str("who?")
                    assert await socket.receive_str(timeout=20) == str(run)
