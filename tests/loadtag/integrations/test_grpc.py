"""Calls by gRPC, of all four kinds, between real channels and real servers, with threads and with asyncio."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from loadtag import current_run, keep_inside, serve
from loadtag.integrations import instrument, uninstrument
from loadtag.integrations.grpc import (
    aio_client_interceptors,
    aio_server_interceptor,
    client_interceptor,
    host,
    server_interceptor,
)
from tests.support.bearing import served, told

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
SAYS = 3
"""How often a streaming answer says what is being served."""


def told_of(context: Any) -> bytes:
    """What the app is told, and what it could read: is the metadata that it was sent still there?"""
    own = [value for name, value in context.invocation_metadata() if name == "own"]
    return json.dumps([told(), own]).encode()


class Threads:
    """An app with threads."""

    def unary_unary(self, _request: bytes, context: Any) -> bytes:
        return told_of(context)

    def unary_stream(self, _request: bytes, context: Any) -> Iterator[bytes]:
        for _ in range(SAYS):
            yield told_of(context)

    def stream_unary(self, requests: Iterator[bytes], context: Any) -> bytes:
        assert [*requests] == [b"1", b"2"]
        return told_of(context)

    def stream_stream(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        assert [*requests] == [b"1", b"2"]
        for _ in range(SAYS):
            yield told_of(context)


class Tasks:
    """The same with asyncio."""

    async def unary_unary(self, _request: bytes, context: Any) -> bytes:
        await asyncio.sleep(0.001)
        return told_of(context)

    async def unary_stream(self, _request: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(SAYS):
            await asyncio.sleep(0.001)
            yield told_of(context)

    async def stream_unary(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        assert [one async for one in requests] == [b"1", b"2"]
        return told_of(context)

    async def stream_stream(self, requests: AsyncIterator[bytes], context: Any) -> None:
        assert [one async for one in requests] == [b"1", b"2"]
        for _ in range(SAYS):  # the other way to stream
            await context.write(told_of(context))


def handlers(app: Any) -> grpc.GenericRpcHandler:
    made = {kind: getattr(grpc, f"{kind}_rpc_method_handler")(getattr(app, kind)) for kind in KINDS}
    return grpc.method_handlers_generic_handler("app", made)


@contextmanager
def threads(interceptors: Any = None) -> Iterator[str]:
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool, interceptors=interceptors)
        server.add_generic_rpc_handlers((handlers(Threads()),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


@asynccontextmanager
async def tasks(app: Any, interceptors: Any = None) -> AsyncIterator[str]:
    server = grpc.aio.server(ThreadPoolExecutor(4), interceptors=interceptors)
    server.add_generic_rpc_handlers((handlers(app),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def arguments(kind: str) -> Any:
    return iter([b"1", b"2"]) if kind.startswith("stream") else b"1"


def said(answer: Any, kind: str) -> list[Any]:
    parts = [*answer] if kind.endswith("stream") else [answer]
    return [json.loads(part) for part in parts]


def by_thread(channel: grpc.Channel, kind: str) -> list[Any]:
    call = getattr(channel, kind)(f"/app/{kind}")
    return said(call(arguments(kind), timeout=20, metadata=(("own", "1"), ("own-bin", b"\xff"))), kind)


async def by_task(channel: grpc.aio.Channel, kind: str) -> list[Any]:
    call = getattr(channel, kind)(f"/app/{kind}")
    answer = call(arguments(kind), timeout=20, metadata=(("own", "1"), ("own-bin", b"\xff")))
    return said([part async for part in answer] if kind.endswith("stream") else await answer, kind)


@pytest.fixture
def hooked() -> Iterator[None]:
    instrument("grpc")
    instrument("grpc")
    yield
    uninstrument("grpc")
    keep_inside()


def expected(kind: str, run: str | None) -> list[Any]:
    return [[run, ["1"]]] * (SAYS if kind.endswith("stream") else 1)


@pytest.mark.usefixtures("hooked")
@pytest.mark.parametrize("server", ["threads", "tasks", "threads of tasks"])
async def test_every_kind_of_call_brings_its_tag_to_every_kind_of_server(server: str) -> None:
    """60 calls at once on one connection each, synthetic and real."""
    runs = [f"run-{number}" if number % 3 else None for number in range(60)]

    async def with_task(number: int, run: str | None) -> None:
        with serve(served(run) if run else None):
            assert await by_task(channel, KINDS[number % 4]) == expected(KINDS[number % 4], run)

    def with_thread(number: int, run: str | None) -> None:
        with serve(served(run) if run else None):
            assert by_thread(sync_channel, KINDS[number % 4]) == expected(KINDS[number % 4], run)

    async with AsyncExitStack() as stack:
        if server == "threads":
            target = stack.enter_context(threads())
        else:
            target = await stack.enter_async_context(tasks(Tasks() if server == "tasks" else Threads()))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(target))
        await asyncio.gather(*(with_task(number, run) for number, run in enumerate(runs)))
        sync_channel = stack.enter_context(grpc.insecure_channel(target))
        await asyncio.gather(*(asyncio.to_thread(with_thread, number, run) for number, run in enumerate(runs)))


async def test_interceptors_can_be_given_by_hand() -> None:
    with threads([server_interceptor()]) as target, grpc.insecure_channel(target) as bare:
        channel = grpc.intercept_channel(bare, client_interceptor(target))
        with serve(served("run-1")):
            assert [await asyncio.to_thread(by_thread, channel, kind) for kind in KINDS] == [
                expected(kind, "run-1") for kind in KINDS
            ]
        assert await asyncio.to_thread(by_thread, channel, "unary_unary") == expected("unary_unary", None)
    async with (
        tasks(Tasks(), [aio_server_interceptor()]) as target,
        grpc.aio.insecure_channel(target, interceptors=aio_client_interceptors(target)) as aio_channel,
    ):
        with serve(served("run-1")):
            assert [await by_task(aio_channel, kind) for kind in KINDS] == [expected(kind, "run-1") for kind in KINDS]
        assert await by_task(aio_channel, "unary_unary") == expected("unary_unary", None)


class Adding(grpc.aio.UnaryUnaryClientInterceptor):
    """Another interceptor, which adds to the baggage, as OpenTelemetry's does."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        metadata = grpc.aio.Metadata(*(client_call_details.metadata or ()), ("baggage", "user=alice"))
        return await continuation(client_call_details._replace(metadata=metadata), request)


class Noting(grpc.aio.ServerInterceptor):
    """Another interceptor of a server, which asks what is being served."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        baggage = [value for name, value in handler_call_details.invocation_metadata if name == "baggage"]
        self.seen.append([current_run(), baggage])
        return await continuation(handler_call_details)


@pytest.mark.usefixtures("hooked")
async def test_interceptors_of_the_app_stay_and_know() -> None:
    noting = Noting()
    async with (
        tasks(Tasks(), [noting]) as target,
        grpc.aio.insecure_channel(target, None, None, [Adding()]) as channel,  # by place, too
    ):
        with serve(served("run-1")):
            await by_task(channel, "unary_unary")
        await by_task(channel, "unary_unary")
    tagged = f"user=alice,loadtest={served('run-1').token}"
    assert noting.seen == [["run-1", [tagged]], [None, ["user=alice"]]]


@pytest.mark.usefixtures("hooked")
async def test_a_third_party_gets_no_tag() -> None:
    keep_inside("127.0.0.1")
    async with tasks(Tasks()) as target:
        port = target.rpartition(":")[2]
        for name, run in ((f"ipv4:127.0.0.1:{port}", "run-1"), (f"dns:///localhost:{port}", None)):
            async with grpc.aio.insecure_channel(name) as channel:
                with serve(served("run-1")):
                    assert await by_task(channel, "unary_unary") == expected("unary_unary", run)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (None, None),
        ("payments:50051", "payments:50051"),
        ("10.0.0.1", "10.0.0.1"),
        ("dns:///payments.svc:50051", "payments.svc:50051"),
        ("dns://10.0.0.53/payments.svc", "payments.svc"),
        ("dns:payments.svc:50051", "payments.svc:50051"),
        ("xds:///payments", "payments"),
        ("ipv4:10.0.0.1:50051,10.0.0.2:50051", "10.0.0.1:50051"),
        ("ipv6:[::1]:50051", "[::1]:50051"),
        ("unix:relative", "localhost"),
        ("unix:///run/payments", "localhost"),
    ],
)
def test_the_host_of_a_target(target: str | None, name: str | None) -> None:
    assert host(target) == name


@pytest.mark.usefixtures("hooked")
async def test_an_error_of_the_app_stays_the_apps_and_leaves_no_tag_behind() -> None:
    class Failing(Tasks):
        async def unary_unary(self, _request: bytes, context: Any) -> bytes:
            if current_run() is None:
                return told_of(context)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the app's own")
            raise AssertionError

    async with tasks(Failing()) as target, grpc.aio.insecure_channel(target) as channel:
        with serve(served("run-1")), pytest.raises(grpc.aio.AioRpcError) as failed:
            await by_task(channel, "unary_unary")
        assert failed.value.details() == "the app's own"
        assert await by_task(channel, "unary_unary") == expected("unary_unary", None)
        missing_call: Any = channel.unary_unary("/app/nothing")
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await missing_call(b"")
        assert missing.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.usefixtures("hooked")
@pytest.mark.parametrize("module", [grpc, grpc.aio])
@pytest.mark.parametrize("name", ["insecure_channel", "secure_channel", "server"])
def test_wrong_arguments_are_refused_by_the_library(module: Any, name: str) -> None:
    with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected keyword argument 'nonsense'"):
        getattr(module, name)(nonsense=1)


@pytest.mark.usefixtures("hooked")
def test_a_target_may_be_named() -> None:
    with threads() as target, grpc.insecure_channel(target=target) as channel, serve(served("run-1")):
        assert by_thread(channel, "unary_unary") == expected("unary_unary", "run-1")


async def test_others_may_stand_before_the_functions_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """As OpenTelemetry's instrumentations of servers and of asyncio's channels do: they take anything."""

    def before(own: Any) -> Any:
        def theirs(*args: Any, **kwargs: Any) -> Any:
            return own(*args, **kwargs)

        return theirs

    monkeypatch.setattr(grpc, "server", before(grpc.server))
    monkeypatch.setattr(grpc.aio, "server", before(grpc.aio.server))
    monkeypatch.setattr(grpc.aio, "insecure_channel", before(grpc.aio.insecure_channel))
    noting = Noting()
    instrument("grpc")
    try:
        async with tasks(Tasks(), [noting]) as target, grpc.aio.insecure_channel(target) as channel:
            with serve(served("run-1")):
                assert await by_task(channel, "unary_unary") == expected("unary_unary", "run-1")
        with ThreadPoolExecutor(1) as pool:
            server = grpc.server(pool, [handlers(Threads())], [server_interceptor()])  # by place
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                with serve(served("run-2")):
                    assert await by_task(channel, "unary_unary") == expected("unary_unary", "run-2")
            server.stop(None).wait()
    finally:
        uninstrument("grpc")
    assert [run for run, _ in noting.seen] == ["run-1"]
