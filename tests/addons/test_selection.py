"""What of the real traffic is recorded, told to the chain as options."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.flow import Error
from mitmproxy.test import taddons, tflow

from addons.chain import Chain, chain
from captures.reader import Capture
from captures.records import Record
from captures.redaction import load_key
from captures.sampling import Sampler, SessionBy
from rules.units import Share
from tests.captures.making import eventually


@asynccontextmanager
async def recording(folder: Path, **options: str) -> AsyncIterator[Chain]:
    made = chain()
    with taddons.context(*made.addons()) as context:
        context.options.update(
            reamp_control="",
            reamp_captures=str(folder / "recordings"),
            reamp_redaction_key=str(folder / "redaction.key"),
            **options,
        )
        await made.capture.running()
        yield made
        await made.capture.done()


def carry(
    made: Chain,
    path: str = "/",
    method: str = "GET",
    body: bytes = b"",
    status: int = 200,
    headers: dict[str, str] | None = None,
    at: int = 0,
) -> http.HTTPFlow:
    """One request on its way through the add-ons. Status 0: it gets no answer."""
    flow = tflow.tflow()
    fields = http.Headers([(name.encode(), value.encode()) for name, value in (headers or {}).items()])
    flow.request = http.Request.make(method, f"http://shop.example{path}", body, fields)
    flow.request.timestamp_start = 1_000_000.0 + at
    # As in the proxy: the head comes first, a long body piece by piece, any other whole.
    whole, flow.request.data.content = flow.request.data.content, None
    for addon in (made.tag, made.meter, made.guard, made.capture):
        addon.requestheaders(flow)
    if callable(flow.request.stream):
        for begin in range(0, len(body), 50_000):
            flow.request.stream(body[begin : begin + 50_000])
    else:
        flow.request.data.content = whole
    if status:
        flow.response = http.Response.make(status, b"hello", {"content-type": "text/plain"})
        flow.response.timestamp_start = flow.request.timestamp_start + 0.1
        flow.response.timestamp_end = flow.request.timestamp_start + 0.2
        made.meter.response(flow)
        made.capture.response(flow)
    else:
        flow.error = Error("gone")
        made.meter.error(flow)
        made.capture.error(flow)
    return flow


def records(folder: Path) -> list[Record]:
    return list(Capture(folder / "recordings").records())


SHOP: list[dict[str, Any]] = [
    {"path": "/"},
    {"path": "/api/cart", "method": "POST", "body": b"{}", "headers": {"content-type": "application/json"}},
    {"path": "/api/items?page=2"},
    {"path": "/health"},
    {"path": "/api/broken", "status": 500},
    {"path": "/api/slow", "status": 0},
    {"path": "/upload", "method": "PUT", "body": b"x" * 200_000},
]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6]),
        ({"reamp_only": "~m POST & ~u /api"}, [1]),
        ({"reamp_only": "~u /api"}, [1, 2, 4, 5]),
        ({"reamp_except": "~u /health$"}, [0, 1, 2, 4, 5, 6]),
        ({"reamp_only": "~u /api", "reamp_except": "~c 500 | ~m POST"}, [2, 5]),
        ({"reamp_except": "!~s"}, [0, 1, 2, 3, 4, 6]),
        ({"reamp_only": "~e"}, [5]),
        ({"reamp_only": "~d shop.example & ~tq json"}, [1]),
        ({"reamp_only": "~hq elsewhere"}, []),
    ],
)
async def test_filters_choose_and_the_rest_is_counted(tmp_path: Path, options: dict[str, str], kept: list[int]) -> None:
    async with recording(tmp_path, **options) as made:
        for number, request in enumerate(SHOP):
            carry(made, at=number, **request)
        counts = made.capture.counts
    assert (counts.written, counts.filtered, counts.seen) == (len(kept), len(SHOP) - len(kept), len(SHOP))
    assert counts.snapshot().reconciles()
    assert [one.path for one in records(tmp_path)] == [SHOP[number]["path"] for number in kept]


async def test_a_filter_that_fails_costs_the_record_and_not_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with recording(tmp_path, reamp_only="~u x") as made:

        def fail(_: http.HTTPFlow) -> bool:
            raise RuntimeError("a fault of ours")

        monkeypatch.setattr(made.capture, "_wanted", fail)
        assert carry(made).response
        assert (made.capture.counts.dropped, made.capture.counts.in_flight) == (1, 0)
        assert made.capture.counts.snapshot().reconciles()


async def test_sessions_are_recorded_whole_and_by_the_key_alone(tmp_path: Path) -> None:
    """Two runs, as two workers or before and after a restart: who is recorded is the same."""
    for run in range(2):
        async with recording(tmp_path, reamp_sample="20%") as made:
            for number in range(600):
                session = number % 300
                carry(made, f"/{run}/{session}", headers={"cookie": f"n={number}; sid={session}"}, at=number)
            counts = made.capture.counts
        assert counts.snapshot().reconciles()
        assert counts.written + counts.sampled_out == counts.seen == 600
    sampler = Sampler(load_key(tmp_path / "redaction.key"), Share.parse("20%"), SessionBy.parse("auto"))
    expected = [n for n in range(300) if sampler.takes(((b"cookie", b"n=0; sid=%d" % n),), "")]
    assert 25 <= len(expected) <= 100
    found = sorted(one.path for one in records(tmp_path))
    assert found == sorted([f"/{run}/{n}" for run in range(2) for n in expected] * 2), "each session whole, both times"


async def test_the_cookie_that_was_named_makes_the_session(tmp_path: Path) -> None:
    async with recording(tmp_path, reamp_sample="50%", reamp_session_by="cookie:who") as made:
        for number in range(200):
            headers = {"cookie": f"sid={number}; who=w{number % 20}", "authorization": f"Bearer {number}"}
            carry(made, f"/{number % 20}", headers=headers, at=number)
    sampler = Sampler(load_key(tmp_path / "redaction.key"), Share.parse("50%"), SessionBy.parse("cookie:who"))
    expected = [n for n in range(20) if sampler.takes(((b"cookie", b"who=w%d" % n),), "")]
    assert sorted(one.path for one in records(tmp_path)) == sorted([f"/{n}" for n in expected] * 10)


@pytest.mark.parametrize(
    ("bodies", "kind", "size", "kept"),
    [
        ("image/*=drop, *=keep", "image/png", 1000, 0),
        ("image/*=drop, *=keep", "image/png", 200_000, 0),
        ("image/*=drop, *=keep", "text/plain", 1000, 1000),
        ("image/*=drop, *=keep", "text/plain", 200_000, 64 << 10),
        ("application/json=100KiB, *=drop", "application/json; charset=utf-8", 200_000, 100 << 10),
        ("application/json=5B, *=drop", "application/json", 1000, 5),
        ("application/json=5B, *=drop", "", 1000, 0),
    ],
)
async def test_how_much_of_a_body_is_kept_depends_on_what_it_is(
    tmp_path: Path, bodies: str, kind: str, size: int, kept: int
) -> None:
    headers = {"content-length": str(size)} | ({"content-type": kind} if kind else {})
    body = (b"ab " * size)[:size]
    async with recording(tmp_path, reamp_bodies=bodies) as made:
        carry(made, "/upload", "POST", body, headers=headers)
    (one,) = records(tmp_path)
    assert one.body_size == size
    assert body.startswith(one.body)
    # The last word of what was cut may be half a secret, and redaction takes it away.
    assert kept - (3 if kept < size else 0) <= len(one.body) <= kept


def header_extra(folder: Path) -> dict[str, Any]:
    header = Capture(folder / "recordings").segments[0].header
    assert header
    return header.extra


async def test_each_segment_says_what_was_recorded(tmp_path: Path) -> None:
    async with recording(tmp_path / "all") as made:
        carry(made)
    said = {"bodies": "image/*=drop, audio/*=drop, video/*=drop, *=keep", "body_limit": 64 << 10}
    assert header_extra(tmp_path / "all") == {"recorded": said}
    options = {"reamp_only": " ~u /api ", "reamp_except": "~c 500", "reamp_sample": "12.5%", "reamp_bodies": "*=drop"}
    async with recording(tmp_path / "some", **options) as made:
        carry(made)
    said = {"bodies": "*=drop", "body_limit": 64 << 10, "only": "~u /api", "except": "~c 500"}
    assert header_extra(tmp_path / "some") == {"recorded": {**said, "sample": "12.5%", "session_by": "auto"}}


async def test_what_is_left_out_is_not_kept_in_memory(tmp_path: Path) -> None:
    async with recording(tmp_path, reamp_sample="0.0001%") as made:
        flow = carry(made, "/upload", "POST", b"x" * 200_000, headers={"content-length": "200000", "cookie": "sid=1"})
        assert made.capture.counts.sampled_out == 1
        tap = flow.request.stream
        assert (getattr(tap, "kept", None), getattr(tap, "size", None)) == (b"", 200_000)


async def test_limits_are_kept_to(tmp_path: Path) -> None:
    async with recording(tmp_path, reamp_segment_size="1B", reamp_flush="20ms") as made:
        for number in range(3):
            carry(made, at=number)
    assert len(records(tmp_path)) == 3
    async with recording(tmp_path, reamp_max_bytes="1B", reamp_max_age="1d") as made:
        keeper = made.capture._keeper
        assert keeper
        await eventually(lambda: made.capture.counts.removed_segments >= 1)
    assert not records(tmp_path)


async def test_a_small_queue_holds_several_blocks(tmp_path: Path) -> None:
    async with recording(tmp_path, reamp_queue_size="256KiB", reamp_flush="60s") as made:
        for number in range(100):
            carry(made, "/upload", "POST", b"some words " * 500, at=number)
            await eventually(lambda: made.capture.counts.queued < 40)
        assert made.capture.counts.dropped == 0
    assert len(records(tmp_path)) == 100
