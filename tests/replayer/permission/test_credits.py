"""Subscribing to a sidecar: under a valid load tag each time, and what it says when it will not have the run."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import count

import httpx
import pytest

from loadtag import headers
from replayer.permission.ceiling import Source
from replayer.permission.credits import follow
from replayer.plan import Plan
from replayer.preparing.sidecars import control_client
from rules.units import Share
from rules.wire import Grant, Lever, Problem, Signal

QUARTER = Share.parse("25%")


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (403, Problem(type="x", title="No", status=403, detail="unknown-key").model_dump_json(), "unknown-key"),
        (401, "not  for\x1b\nyou", "not for you"),
        (403, "", "it gives no reason"),
        (503, "busy", ""),
    ],
)
async def test_a_refusal_is_kept_and_each_attempt_bears_a_new_tag(status: int, body: str, told: str) -> None:
    tokens = []

    def answer(request: httpx.Request) -> httpx.Response:
        found = headers.find(request.headers.raw)
        tokens.append(found and found.token)
        assert request.headers["x-load-test"] == "run"
        return httpx.Response(status, stream=httpx.ByteStream(body.encode()))

    source, numbers = Source("http://sidecar", QUARTER), count()
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        task = asyncio.create_task(
            follow(client, source, "run", lambda: f"token-{next(numbers)}", time.monotonic_ns, lambda _s, _h: None)
        )
        async with asyncio.timeout(5):
            while len(tokens) < 3:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert tokens[:3] == ["token-0", "token-1", "token-2"]
    assert source.refused == told
    assert not source.fresh(time.monotonic_ns())


@pytest.mark.parametrize("pause", [0.0, 0.05])
async def test_a_refusal_without_end_is_a_refusal_all_the_same(pause: float) -> None:
    sent = 0

    async def refuse_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 No\r\n\r\nnot for you")
        with suppress(ConnectionError):
            while True:
                writer.write(b" " * (1 if pause else 65536))
                await writer.drain()
                sent += 1
                await asyncio.sleep(pause)

    server = await asyncio.start_server(refuse_for_ever, "127.0.0.1", 0)
    source = Source(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", QUARTER)
    async with httpx.AsyncClient() as client, server:
        task = asyncio.create_task(
            follow(client, source, "run", lambda: "token", time.monotonic_ns, lambda _s, _h: None)
        )
        async with asyncio.timeout(10):
            while not source.refused:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert source.refused.startswith("not for you")
    assert sent < 1000  # of 64 KiB each


async def test_who_grants_is_verified_even_where_the_target_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(httpx, "AsyncClient", lambda **options: given.append(options["verify"]))
    plan = Plan.model_validate(
        {"recording": "r", "to": "https://a", "sidecars": ["https://b"], "amplify": "1.1x", "insecure": True}
    )
    control_client(plan)
    assert (given[0].check_hostname, given[0].verify_mode.name) == (True, "CERT_REQUIRED")


async def test_who_set_the_clock_shows_a_new_tag_before_anything_more_is_sent() -> None:
    granted = Grant(real=100, granted=10, ratio=QUARTER, lever=Lever(), signal=Signal(window=1, rate=1))
    wall, tokens = 1.7e9, []

    async def lines() -> AsyncIterator[bytes]:
        while True:
            yield granted.model_dump_json().encode() + b"\n"
            await asyncio.sleep(0.01)

    def answer(request: httpx.Request) -> httpx.Response:
        found = headers.find(request.headers.raw)
        tokens.append(found and found.token)
        if len(tokens) > 1:
            return httpx.Response(403, stream=httpx.ByteStream(b"the tag has expired"))
        return httpx.Response(200, content=lines())

    source, numbers = Source("http://sidecar", QUARTER), count()
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        token = lambda: f"token-{next(numbers)}"  # noqa: E731
        hear = lambda _s, _h: None  # noqa: E731
        task = asyncio.create_task(follow(client, source, "run", token, time.monotonic_ns, hear, lambda: wall))
        async with asyncio.timeout(5):
            while not source.fresh(time.monotonic_ns()):
                await asyncio.sleep(0.01)
            wall -= 3600
            while source.fresh(time.monotonic_ns()):
                await asyncio.sleep(0.01)
            while "expired" not in source.refused:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert tokens[:2] == ["token-0", "token-1"]
