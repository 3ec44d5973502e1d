"""Beside OpenTelemetry's instrumentations, which hook into the same functions, before ours or after them."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import httpx
import pytest
import urllib3
from opentelemetry import baggage, context
from opentelemetry.instrumentation.grpc import GrpcAioInstrumentorClient, GrpcInstrumentorClient
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
from opentelemetry.sdk.trace import TracerProvider

from loadtag import keep_inside, serve
from loadtag.integrations import instrument, uninstrument
from tests.support.bearing import Origin, origin, served

THEIRS: list[Any] = [HTTPXClientInstrumentor, URLLib3Instrumentor, GrpcInstrumentorClient, GrpcAioInstrumentorClient]
OURS = ("httpx", "urllib3", "grpc")


@pytest.fixture(params=["theirs first", "ours first"])
def both(request: pytest.FixtureRequest) -> Iterator[None]:
    provider = TracerProvider()
    if request.param == "ours first":
        instrument(*OURS)
    for instrumentor in THEIRS:
        instrumentor().instrument(tracer_provider=provider)
    instrument(*OURS)
    yield
    uninstrument(*OURS)
    for instrumentor in THEIRS:
        instrumentor().uninstrument()
    uninstrument(*OURS)
    keep_inside()


@contextmanager
def bags(**members: str) -> Iterator[None]:
    """OpenTelemetry's baggage."""
    found = context.get_current()
    for name, value in members.items():
        found = baggage.set_baggage(name, value, found)
    token = context.attach(found)
    try:
        yield
    finally:
        context.detach(token)


@pytest.fixture(scope="module")
def server() -> Iterator[Origin]:
    with origin() as server:
        yield server


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[int, list[Any]]]:
    arrived: list[Any] = []

    def answer(_request: bytes, call: Any) -> bytes:
        found = dict(call.invocation_metadata())
        arrived.append((found.get("baggage"), found.get("x-load-test")))
        return b""

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        handlers: Any = {"call": grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("app", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield port, arrived
        server.stop(None).wait()


async def call_all(server: Origin, service: tuple[int, list[Any]], host: str) -> list[Any]:
    """Call by all of them, and tell what arrived: baggage and run."""
    server.arrived.clear()
    service[1].clear()
    url = server.url("/", host)
    with httpx.Client(trust_env=False) as client:
        client.get(url)
    async with httpx.AsyncClient(trust_env=False) as async_client:
        await async_client.get(url)
    with urllib3.PoolManager() as manager:
        manager.request("GET", url)
    with grpc.insecure_channel(f"{host}:{service[0]}") as channel:
        call: Any = channel.unary_unary("/app/call")
        await asyncio.to_thread(call, b"", timeout=20)
    async with grpc.aio.insecure_channel(f"{host}:{service[0]}") as aio_channel:
        call = aio_channel.unary_unary("/app/call")
        await call(b"", timeout=20)
    by_http = [(",".join(one.all("baggage")), ",".join(one.all("x-load-test")) or None) for one in server.arrived]
    assert [len(one.all("traceparent")) for one in server.arrived] == [1, 1, 1], "theirs are at work"
    return [*by_http, *service[1]]


@pytest.mark.usefixtures("both")
async def test_the_tag_joins_their_baggage(server: Origin, service: tuple[int, list[Any]]) -> None:
    with bags(user="alice"):
        with serve(served("run-1")):
            synthetic = await call_all(server, service, "127.0.0.1")
        real = await call_all(server, service, "127.0.0.1")
    assert synthetic == [(f"user=alice,loadtest={served('run-1').token}", "run-1")] * 5
    assert real == [("user=alice", None)] * 5


@pytest.mark.usefixtures("both")
async def test_a_third_party_gets_no_tag_even_if_their_baggage_has_it(
    server: Origin, service: tuple[int, list[Any]]
) -> None:
    keep_inside("127.0.0.1")
    with bags(user="alice", loadtest=served("run-1").token), serve(served("run-1")):
        inside = await call_all(server, service, "127.0.0.1")
        outside = await call_all(server, service, "localhost")
    assert inside == [(f"user=alice,loadtest={served('run-1').token}", "run-1")] * 5
    assert outside == [("user=alice", None)] * 5
