"""What loadtag costs an app: its import, its middleware for each request, its hooks for each outgoing call.

Middleware and the plain pair are called as a server calls them, thousands of times between two looks at the clock.
Calls are made by real clients to a real server on loopback (nginx; for aiohttp and gRPC one in this very process,
which has its hook on, too). Each is done without loadtag, with it for something real, and with it for something
synthetic, in turns, a few dozen at a time, and the median of the turns' *differences* counts: what the machine does
besides passes over all three alike. Times are CPU time of this process.
"""

import asyncio
import statistics
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import grpc.aio
import httpx
import requests
import urllib3
from aiohttp import web

import loadtag
from loadtag import asgi, integrations, propagation, wsgi
from loadtag.headers import put
from tests.benchmarks.measuring import Bench
from tests.benchmarks.payloads import BROWSER_HEADERS
from tests.benchmarks.tables import figure, markdown, spread
from tests.benchmarks.target import serving
from tests.support.processes import python

PEERS = ("nginx",)
TURNS = 100
QUICK, SLOW = 2_000, 50
"""How many in a turn: calls of a function, and requests by a client."""
STARTS = 31
"""Fresh processes that import it."""

WAYS = ("without", "real", "synthetic")

REAL = [(name.lower().encode(), value.encode()) for name, value in BROWSER_HEADERS]
TOKEN = loadtag.format_token(loadtag.LoadTag("If4x36FUomF", "20261122-162222-sg8i", 4_102_444_800, "shop"), bytes(64))
SYNTHETIC = put(REAL, TOKEN, "20261122-162222-sg8i")

Block = Callable[[str], Awaitable[None]]
"""Does a turn's worth of requests, by one of the `WAYS`."""


class Case(NamedTuple):
    """Something that is done with and without loadtag."""

    name: str
    times: int
    block: Block


def run(bench: Bench) -> str:
    """Measure, and give the tables."""
    turns = 5 if bench.quick else TURNS
    rows = asyncio.run(_measure(bench, turns))
    head = ["each", "CPU us without", "more, real", "quartiles", "more, synthetic", "quartiles"]
    imports = _imports(3 if bench.quick else STARTS)
    return (
        f"{turns} turns of {QUICK:,} calls or {SLOW} requests:\n\n{markdown(head, rows)}\n\n"
        f"`import` in a fresh process, median of {3 if bench.quick else STARTS}:\n\n"
        f"{markdown(['what', 'ms', 'least-most', 'CPU ms', 'least-most', 'modules loaded'], imports)}"
    )


async def _measure(bench: Bench, turns: int) -> list[list[str]]:
    rows = []
    for case in (_asgi(), _wsgi(), _extract(), _inject()):
        rows.append(await _case(bench, case, turns))
    with serving(bench.folder / "nginx", []) as target:
        for made in CLIENTS:  # one at a time: gRPC's own threads would be counted with the others
            async with made(target.url) as case:
                rows.append(await _case(bench, case, turns))
    return rows


async def _case(bench: Bench, case: Case, turns: int) -> list[str]:
    bench.say(f"  {case.name}")
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(turns + 1):
        # Each begins as often as the others.
        for way in (*WAYS[turn % 3 :], *WAYS[: turn % 3]):
            began = time.process_time()
            await case.block(way)
            if turn:  # the first one warms up
                times[way].append((time.process_time() - began) / case.times * 1e6)
    row = [case.name, figure(statistics.median(times["without"]))]
    for way in WAYS[1:]:
        more = [mine - base for mine, base in zip(times[way], times["without"], strict=True)]
        low, middle, high = statistics.quantiles(more, n=4)
        row += [f"{middle:+.2f}", f"{low:+.2f} to {high:+.2f}"]
    return row


# --- middleware, and the plain pair ---


async def _nothing(_scope: Any, _receive: Any, _send: Any) -> None:
    """Serve nothing."""


def _asgi() -> Case:
    app = asgi.LoadTagMiddleware(_nothing)
    scopes = {way: {"type": "http", "headers": SYNTHETIC if way == "synthetic" else REAL} for way in WAYS}

    async def block(way: str) -> None:
        scope = scopes[way]
        called: Any = _nothing if way == "without" else app
        for _ in range(QUICK):
            await called(scope, None, None)

    return Case("ASGI middleware", QUICK, block)


def _wsgi() -> Case:
    def nothing(_environ: Any, _start_response: Any) -> list[bytes]:
        return []

    app = wsgi.LoadTagMiddleware(nothing)
    environs = {}
    for way in WAYS:
        fields = SYNTHETIC if way == "synthetic" else REAL
        named = {"HTTP_" + name.decode().upper().replace("-", "_"): value.decode() for name, value in fields}
        environs[way] = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", **named}

    async def block(way: str) -> None:
        environ = environs[way]
        called: Any = nothing if way == "without" else app
        for _ in range(QUICK):
            for _part in called(environ, None):
                pass

    return Case("WSGI middleware", QUICK, block)


def _extract() -> Case:
    carriers = {way: {n.decode(): v.decode() for n, v in (SYNTHETIC if way == "synthetic" else REAL)} for way in WAYS}

    async def block(way: str) -> None:
        carrier = carriers[way]
        for _ in range(QUICK):
            if way != "without":
                propagation.extract(carrier)

    return Case("`extract(dict)`", QUICK, block)


def _inject() -> Case:
    async def block(way: str) -> None:
        with _served(way):
            for _ in range(QUICK):
                carrier = {"accept": "*/*", "user-agent": "shop"}
                if way != "without":
                    propagation.inject(carrier)

    return Case("`inject(dict)`", QUICK, block)


# --- clients ---


def _served(way: str) -> loadtag.serve:
    return loadtag.serve(propagation.extract(SYNTHETIC) if way == "synthetic" else None)


def _hooked(library: str, request: Callable[[], Awaitable[object]]) -> Block:
    """Requests by a client whose library is hooked into, or not."""

    async def block(way: str) -> None:
        if way != "without":
            integrations.instrument(library)
        try:
            with _served(way):
                for _ in range(SLOW):
                    await request()
        finally:
            if way != "without":
                integrations.uninstrument(library)

    return block


@asynccontextmanager
async def _httpx(url: str) -> AsyncIterator[Case]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield Case("call by httpx, async", SLOW, _hooked("httpx", lambda: client.get(url)))


@asynccontextmanager
async def _httpx_sync(url: str) -> AsyncIterator[Case]:
    with httpx.Client(trust_env=False) as client:

        async def request() -> None:
            client.get(url)

        yield Case("call by httpx, sync", SLOW, _hooked("httpx", request))


@asynccontextmanager
async def _requests(url: str) -> AsyncIterator[Case]:
    with requests.Session() as session:
        session.trust_env = False

        async def request() -> None:
            session.get(url, timeout=10)

        yield Case("call by requests", SLOW, _hooked("requests", request))


@asynccontextmanager
async def _urllib3(url: str) -> AsyncIterator[Case]:
    with urllib3.PoolManager() as pool:

        async def request() -> None:
            pool.request("GET", url)

        yield Case("call by urllib3", SLOW, _hooked("urllib3", request))


@asynccontextmanager
async def _aiohttp(_: str) -> AsyncIterator[Case]:
    from loadtag.integrations.aiohttp import server_middleware  # noqa: PLC0415 - as an app imports it

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"item": 4711})

    async with AsyncExitStack() as stack:
        urls = {}
        for name, middlewares in (("without", []), ("with", [server_middleware])):
            app = web.Application(middlewares=middlewares)
            app.router.add_get("/", answer)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            urls[name] = "http://127.0.0.1:{1}/".format(*runner.addresses[0])
        session = await stack.enter_async_context(aiohttp.ClientSession())
        where = ""

        async def request() -> None:
            async with session.get(where) as answered:
                await answered.read()

        hooked = _hooked("aiohttp", request)

        async def block(way: str) -> None:
            nonlocal where
            where = urls["without" if way == "without" else "with"]
            await hooked(way)

        yield Case("call by aiohttp to aiohttp", SLOW, block)


@asynccontextmanager
async def _grpc(_: str) -> AsyncIterator[Case]:
    from loadtag.integrations.grpc import (  # noqa: PLC0415 - as an app imports it
        aio_client_interceptors,
        aio_server_interceptor,
    )

    async def answer(request: bytes, _context: Any) -> bytes:
        return request

    async with AsyncExitStack() as stack:
        calls: dict[str, Any] = {}
        for name, interceptors in (("without", []), ("with", [aio_server_interceptor()])):
            server = grpc.aio.server(interceptors=interceptors)
            handlers: dict[str, Any] = {"Echo": grpc.unary_unary_rpc_method_handler(answer)}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Bench", handlers),))
            target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
            await server.start()
            stack.push_async_callback(server.stop, None)
            mine = aio_client_interceptors(target) if interceptors else []
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(target, interceptors=mine))
            calls[name] = channel.unary_unary("/bench.Bench/Echo")

        async def block(way: str) -> None:
            call = calls["without" if way == "without" else "with"]
            with _served(way):
                for _ in range(SLOW):
                    await call(b"x")

        yield Case("call by gRPC (asyncio) to gRPC", SLOW, block)


CLIENTS = (_httpx, _httpx_sync, _requests, _urllib3, _aiohttp, _grpc)


# --- import ---

_IMPORT = """
import sys, time
{0}
before, began, cpu = len(sys.modules), time.perf_counter(), time.process_time()
{1}
cpu, spent = time.process_time() - cpu, time.perf_counter() - began
print(spent * 1e3, cpu * 1e3, len(sys.modules) - before)
"""
_FASTAPI = "from loadtag import is_load_test; from loadtag.asgi import LoadTagMiddleware"
_ALL = "from loadtag import *"
_IMPORTS = (
    ("`import loadtag`", "", "import loadtag"),
    ("`is_load_test` and the ASGI middleware", "", _FASTAPI),
    ("all that `loadtag` offers", "", _ALL),
    ("the same where `asyncio` is imported already", "import asyncio", _ALL),
)


def _imports(starts: int) -> list[list[str]]:
    found: dict[str, list[list[float]]] = {name: [] for name, *_ in _IMPORTS}
    for _ in range(starts):
        for name, before, line in _IMPORTS:
            command = python("-c", _IMPORT.format(before, line))
            ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=Path("/"))
            found[name].append([float(told) for told in ended.stdout.split()])
    rows = []
    for name, several in found.items():
        spent, cpu, modules = zip(*several, strict=True)
        row = [part for times in (spent, cpu) for part in (figure(statistics.median(times)), spread(times))]
        rows.append([name, *row, f"{modules[0]:.0f}"])
    return rows
