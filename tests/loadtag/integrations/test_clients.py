"""Calls by the real HTTP clients, to a real server: which of them bear the tag, and what else they bear."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import requests.adapters
import urllib3
from multidict import CIMultiDict
from requests.structures import CaseInsensitiveDict

from loadtag import Dark, is_load_test, keep_inside, serve
from loadtag.integrations import instrument, uninstrument
from loadtag.integrations.aiohttp import client_middleware
from loadtag.integrations.httpx import LoadTagAsyncTransport, LoadTagTransport
from loadtag.integrations.requests import LoadTagAdapter
from tests.support.bearing import Origin, origin, served

Call = Callable[..., Awaitable[Any]]
"""``(url, headers=None, body=None)``; a body is sent by POST, in the library's way of streaming."""

POOL = 4
LIMITS = httpx.Limits(max_connections=POOL)


def pieces(body: list[bytes]) -> Iterator[bytes]:
    yield from body


async def pieces_async(body: list[bytes]) -> AsyncIterator[bytes]:
    for piece in body:
        yield piece


@asynccontextmanager
async def by_httpx(transport: httpx.BaseTransport | None = None) -> AsyncIterator[Call]:
    with httpx.Client(transport=transport, trust_env=False, follow_redirects=True) as client:

        def call(url: str, headers: Any = None, body: list[bytes] | None = None) -> None:
            # One thread may take a connection for idle and done for, on which another has just begun to read.
            with contextlib.suppress(httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                return once(url, headers, body)
            return call(url, headers, body)

        def once(url: str, headers: Any, body: list[bytes] | None) -> None:
            client.request("GET" if body is None else "POST", url, headers=headers, content=body and pieces(body))

        yield lambda *args: asyncio.to_thread(call, *args)


@asynccontextmanager
async def by_httpx_async(transport: httpx.AsyncBaseTransport | None = None) -> AsyncIterator[Call]:
    async with httpx.AsyncClient(transport=transport, limits=LIMITS, trust_env=False, follow_redirects=True) as client:

        async def call(url: str, headers: Any = None, body: list[bytes] | None = None) -> None:
            method = "GET" if body is None else "POST"
            await client.request(method, url, headers=headers, content=body and pieces_async(body))

        yield call


@asynccontextmanager
async def by_requests(adapter: type[requests.adapters.HTTPAdapter] | None = None) -> AsyncIterator[Call]:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", (adapter or requests.adapters.HTTPAdapter)(pool_maxsize=POOL, pool_block=True))

        def call(url: str, headers: Any = None, body: list[bytes] | None = None) -> None:
            session.request("GET" if body is None else "POST", url, headers=headers, data=body and pieces(body))

        yield lambda *args: asyncio.to_thread(call, *args)


@asynccontextmanager
async def by_urllib3() -> AsyncIterator[Call]:
    with urllib3.PoolManager(maxsize=POOL, block=True) as manager:

        def call(url: str, headers: Any = None, body: list[bytes] | None = None) -> None:
            manager.request("GET" if body is None else "POST", url, headers=headers, body=body and pieces(body))

        yield lambda *args: asyncio.to_thread(call, *args)


@asynccontextmanager
async def by_aiohttp(*middlewares: Any) -> AsyncIterator[Call]:
    connector = aiohttp.TCPConnector(limit=POOL)
    async with aiohttp.ClientSession(connector=connector, middlewares=middlewares) as session:

        async def call(url: str, headers: Any = None, body: list[bytes] | None = None) -> None:
            method = "GET" if body is None else "POST"
            async with session.request(method, url, headers=headers, data=body and pieces_async(body)) as answer:
                await answer.read()

        yield call


LIBRARIES: dict[str, tuple[str, Any]] = {
    "httpx": ("httpx", by_httpx),
    "httpx-async": ("httpx", by_httpx_async),
    "requests": ("requests", by_requests),
    "urllib3": ("urllib3", by_urllib3),
    "aiohttp": ("aiohttp", by_aiohttp),
}
BY_HAND: dict[str, Any] = {
    "httpx": lambda: by_httpx(LoadTagTransport()),
    "httpx-async": lambda: by_httpx_async(LoadTagAsyncTransport(httpx.AsyncHTTPTransport(limits=LIMITS))),
    "requests": lambda: by_requests(LoadTagAdapter),
    "aiohttp": lambda: by_aiohttp(client_middleware),
}
WAYS = [*LIBRARIES, *(f"{name}, by hand" for name in BY_HAND)]


@pytest.fixture(scope="module")
def server() -> Iterator[Origin]:
    with origin() as server:
        yield server


@pytest.fixture
def site(server: Origin) -> Iterator[Origin]:
    server.arrived.clear()
    yield server
    keep_inside()


@asynccontextmanager
async def calling(way: str) -> AsyncIterator[Call]:
    """A client of one library, hooked into or given what is to be given by hand."""
    name, _, by_hand = way.partition(", ")
    if by_hand:
        async with BY_HAND[name]() as call:
            yield call
        return
    library, client = LIBRARIES[name]
    async with client() as call:  # made before the hooks are there
        instrument(library)
        try:
            yield call
        finally:
            uninstrument(library)


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_bears_the_tag_if_it_is_made_for_a_synthetic_request(way: str, site: Origin) -> None:
    async with calling(way) as call:
        with serve(served("run-1")):
            await call(site.url())
        with serve(None):
            await call(site.url())
        await call(site.url())
    assert [arrived.run for arrived in site.arrived] == ["run-1", None, None]


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_made_for_a_dark_copy_is_marked_as_such(way: str, site: Origin) -> None:
    async with calling(way) as call:
        with serve(Dark("new-prices")):
            await call(site.url())
    (arrived,) = site.arrived
    assert (arrived.run, arrived.all("x-reamp-dark")) == (None, ["new-prices"])


@pytest.mark.parametrize("way", WAYS)
async def test_all_else_that_the_app_sends_arrives_as_it_would_have(way: str, site: Origin) -> None:
    headers = {"Baggage": "user=alice", "X-Own": "1", "traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}
    given = dict(headers)
    async with calling(way) as call:
        await call(site.url("/a"), headers, [b"one", b"two"])
        with serve(served("run-1")):
            await call(site.url("/a"), headers, [b"one", b"two"])
    real, synthetic = site.arrived
    assert (real.run, synthetic.run) == (None, "run-1")
    assert real.body == synthetic.body == b"onetwo"
    assert synthetic.all("baggage") == [f"user=alice,loadtest={served('run-1').token}"]
    ours = {"baggage", "x-load-test"}
    assert [(name, value) for name, value in synthetic.fields if name.lower() not in ours] == [
        (name, value) for name, value in real.fields if name.lower() not in ours
    ]
    assert headers == given, "what the app holds in its hands is not changed"


@pytest.mark.parametrize("way", WAYS)
async def test_calls_at_the_same_time_share_connections_and_no_tags(way: str, site: Origin) -> None:
    runs = [f"run-{number}" if number % 3 else None for number in range(60)]

    async def one(number: int, run: str | None) -> None:
        with serve(served(run) if run else None):
            await call(site.url(f"/{number}"))

    async with calling(way) as call:
        await asyncio.gather(*(one(number, run) for number, run in enumerate(runs)))
    arrivals = {(arrived.path, arrived.run) for arrived in site.arrived}
    assert arrivals == {(f"/{number}", run) for number, run in enumerate(runs)}
    by_threads_of_httpx = way.partition(",")[0] == "httpx"  # as many connections as there are threads, see above
    assert len({arrived.connection for arrived in site.arrived}) <= (len(runs) // 2 if by_threads_of_httpx else POOL)


@pytest.mark.parametrize("way", WAYS)
async def test_a_third_party_gets_no_tag_not_even_by_a_redirect(way: str, site: Origin) -> None:
    keep_inside("127.0.0.1")
    outside = site.url("/outside", "localhost")
    async with calling(way) as call:
        with serve(served("run-1")):
            await call(outside, {"Baggage": "user=alice"})
            await call(site.url(f"/inside?to={outside}"), {"Baggage": "user=alice"})
            await call(site.url(f"/way-back?to={site.url('/inside')}", "localhost"))
    assert [(arrived.path.partition("?")[0], arrived.run) for arrived in site.arrived] == [
        ("/outside", None),
        ("/inside", "run-1"),
        ("/outside", None),
        ("/way-back", None),
        ("/inside", "run-1"),
    ]
    assert [arrived.all("baggage") for arrived in site.arrived if arrived.path == "/outside"] == [["user=alice"]] * 2


@pytest.mark.parametrize("way", LIBRARIES)
async def test_instrumenting_twice_is_instrumenting_once_and_can_be_undone(way: str, site: Origin) -> None:
    library, client = LIBRARIES[way]
    try:
        instrument(library)
        instrument(library)
        async with client() as call:
            with serve(served("run-1")):
                await call(site.url())
                uninstrument(library)
                await call(site.url())
                uninstrument(library)
                instrument(library)
                await call(site.url())
    finally:
        uninstrument(library)
    assert [arrived.run for arrived in site.arrived] == ["run-1", None, "run-1"]


@pytest.mark.parametrize("way", WAYS)
async def test_an_error_of_the_library_stays_the_librarys(way: str) -> None:
    with origin() as gone:
        url = gone.url()
    async with calling(way) as call:
        with serve(served("run-1")), pytest.raises((OSError, httpx.ConnectError, urllib3.exceptions.MaxRetryError)):
            await call(url)


@pytest.mark.parametrize("way", WAYS)
async def test_what_can_not_be_tagged_goes_as_it_is(way: str, site: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours in the middle of a call: planted where every hook asks whom the tag may go to."""

    def broken(_host: str) -> bool:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("loadtag.propagation.goes_to", broken)
    async with calling(way) as call:
        with serve(served("run-1")):
            await call(site.url(), {"X-Own": "1"})
    (arrived,) = site.arrived
    assert (arrived.run, arrived.all("x-own")) == (None, ["1"])


@pytest.mark.parametrize("way", ["aiohttp", "aiohttp, by hand", "httpx", "requests", "urllib3"])
async def test_a_tunnel_bears_no_tag_since_it_stays_for_others(way: str, site: Origin) -> None:
    """The proxy refuses it, which is enough to see what it was asked."""
    url, proxy = "https://payments.test/", site.url()

    async def call() -> None:
        if way.startswith("aiohttp"):
            async with aiohttp.ClientSession(middlewares=[client_middleware] if "hand" in way else []) as session:
                await session.get(url, proxy=proxy)
        elif way == "httpx":
            async with httpx.AsyncClient(proxy=proxy) as client:
                await client.get(url)
        elif way == "requests":
            await asyncio.to_thread(requests.get, url, proxies={"https": proxy}, timeout=20)
        else:
            manager = urllib3.ProxyManager(proxy, retries=False)
            await asyncio.to_thread(manager.request, "GET", url)

    library = way.partition(",")[0]
    instrument(library)
    try:
        with (
            serve(served("run-1")),
            pytest.raises((OSError, httpx.HTTPError, aiohttp.ClientError, urllib3.exceptions.HTTPError)),
        ):
            await call()
    finally:
        uninstrument(library)
    assert {(arrived.path, arrived.run) for arrived in site.arrived} == {("CONNECT payments.test:443", None)}


def test_libraries_that_stand_on_each_other_can_all_be_hooked_into(site: Origin) -> None:
    instrument("requests", "urllib3")
    try:
        with serve(served("run-1")):
            requests.get(site.url(), headers={"baggage": "user=alice"}, timeout=20)
    finally:
        uninstrument("requests", "urllib3")
    (arrived,) = site.arrived
    assert (arrived.run, len(arrived.all("baggage"))) == ("run-1", 1)


def test_what_an_app_makes_of_an_answer_is_made_of_its_own_request(site: Origin) -> None:
    """requests answers a digest's challenge by sending the answer's request again; apps log it."""
    instrument("requests", "httpx")
    own = requests.Request("GET", site.url(), headers={"X-Own": "1"}).prepare()
    try:
        with serve(served("run-1")), requests.Session() as session, httpx.Client(trust_env=False) as client:
            by_requests = session.send(own)
            by_httpx = client.get(site.url())
    finally:
        uninstrument("requests", "httpx")
    assert [arrived.run for arrived in site.arrived] == ["run-1", "run-1"]
    assert by_requests.request is own
    assert "baggage" not in own.headers
    assert "baggage" not in by_httpx.request.headers


@pytest.mark.parametrize("kind", [dict, urllib3.HTTPHeaderDict, CaseInsensitiveDict, CIMultiDict])
def test_the_headers_of_a_pool_are_not_changed(kind: type, site: Origin) -> None:
    own = kind({"Baggage": "user=alice"})
    instrument("urllib3")
    try:
        with urllib3.HTTPConnectionPool("127.0.0.1", site.server_port, headers=own) as pool, serve(served("run-1")):
            assert is_load_test()
            pool.request("GET", "/")
            with serve(None):
                pool.request("GET", "/")
    finally:
        uninstrument("urllib3")
    assert [arrived.run for arrived in site.arrived] == ["run-1", None]
    assert dict(own.items()) == {"Baggage": "user=alice"}


def test_a_library_without_a_hook_is_named() -> None:
    with pytest.raises(ValueError, match=r"no hook for 'htpx': choose from aiohttp, "):
        instrument("httpx", "htpx")


def test_a_name_that_is_wrong_leaves_nothing_half_done(site: Origin) -> None:
    with pytest.raises(ValueError, match="htpx"):
        instrument("requests", "htpx")
    with serve(served("run-1")):
        requests.get(site.url(), timeout=20)
    assert [arrived.run for arrived in site.arrived] == [None]
