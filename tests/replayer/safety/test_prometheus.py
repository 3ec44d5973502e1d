"""Rules measured by Prometheus: by a real one, and by servers that lie, hang and flood."""

import asyncio
import json
import math
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.safety.prometheus import BEHIND_NS, FRESH_NS, MOST_BYTES, TIMEOUT, Ages, PrometheusSource, sample
from rules.exits import UserError
from rules.slo import Reading, Rule
from tests.support.origin import Connection, Origin, Script, answering, certificate, once, origin
from tests.support.prometheus import Server

SECOND_NS = 1_000_000_000


def source(url: str, query: str = "vector(1)", environ: dict[str, str] | None = None, **more: str) -> PrometheusSource:
    asked = {"url": url, "query": query, **more}
    rule = Rule.model_validate({"expression": "value<0.8", "prometheus": asked})
    return PrometheusSource(rule, environ or {})


def body(result: object, kind: str = "vector", **more: object) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}, **more}).encode()


NOW = 1111111111.5
"""Stands in an answer for the time at which it is given."""


def one(value: str, at: float = NOW) -> bytes:
    return body([{"metric": {}, "value": [at, value]}])


def now(answer: bytes) -> bytes:
    return answer.replace(str(NOW).encode(), f"{time.time():.1f}".encode())


def http(content: bytes, status: str = "200 OK", *fields: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"content-length: {len(content)}", *fields, "", ""]
    return "\r\n".join(head).encode() + content


async def asked(script: Script) -> Reading:
    async with origin(script) as server:
        return await source(f"http://127.0.0.1:{server.port}").once()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("prometheus"))
    with server.process:
        yield server


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("vector(0.5)", 0.5),
        ("scalar(vector(3))", 3.0),
        ("1e3", 1000.0),
        ("-vector(2)", -2.0),
        ("up", "gives nothing"),
        ("label_replace(vector(1), 'a', 'b', '', '') or vector(2)", "2 values and not one: put them together"),
        ("vector(0) / 0", "gives NaN"),
        ("vector(1) / 0", "gives +Inf"),
        ("'text'", "a text and not one number"),
        ("up[1m]", "a range of values and not one number"),
        ("sum(", "refused the query (bad_data)"),
        ("vector(" + " " * 3000 + "4)", 4.0),
    ],
)
async def test_a_real_prometheus_is_taken_at_its_word(prometheus: Server, query: str, found: float | str) -> None:
    reading = await source(prometheus.url, query).once()
    if isinstance(found, str):
        assert (reading.value, reading.samples) == (None, 0)
        assert found in reading.why
    else:
        assert (reading.value, reading.samples) == (found, 1)


async def test_what_is_known_is_kept_fresh_and_goes_when_prometheus_does(tmp_path: Path) -> None:
    server = Server(tmp_path)
    with server.process as process:
        measured = source(server.url)
        assert "not asked yet" in measured.read(time.monotonic_ns()).why
        following = asyncio.create_task(measured.follow())

        async def until(check: Callable[[Reading], bool]) -> None:
            async with asyncio.timeout(20):
                while not check(measured.read(time.monotonic_ns())):
                    await asyncio.sleep(0.02)

        await until(lambda reading: reading.value == 1)
        known_ns = time.monotonic_ns()
        assert measured.read(known_ns + FRESH_NS + SECOND_NS).value is None
        assert "last heard of" in measured.read(known_ns + FRESH_NS + SECOND_NS).why
        await asyncio.to_thread(process.kill)
        await until(lambda reading: reading.value is None)
        assert "can't be asked" in measured.read(time.monotonic_ns()).why
        with server.start():
            await until(lambda reading: reading.value == 1)
            following.cancel()
            with pytest.raises(asyncio.CancelledError):
                await following


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (http(b'{"status":"error","errorType":"timeout","error":"query timed out"}', "503 Busy"), "query timed out"),
        (http(b"<html>Bad Gateway</html>", "502 Bad Gateway"), "no Prometheus (status 502)"),
        (http(b"not found", "404 Not Found"), "no Prometheus (status 404)"),
        (http(one("1"), "500 Oops"), "refused the query"),
        (http(b"", "401 Unauthorized"), "wants to know who asks (status 401)"),
        (http(b"", "302 Found", "location: http://127.0.0.1:1/"), "sends on to another address (status 302)"),
        (http(b""), "no Prometheus"),
        (http(b"{}"), "no Prometheus"),
        (http(b"[" * 100_000), "no Prometheus"),
        (http(b'{"a":' * 40_000), "no Prometheus"),
        (http(b"\xff\xfe"), "no Prometheus"),
        (http(b'{"status":"success"}'), "without data"),
        (http(body(None)), "gives nothing"),
        (http(body([])), "gives nothing"),
        (http(body([None])), "gives no number"),
        (http(body([{"metric": {}, "histogram": [1, {}]}])), "gives no number"),
        (http(body([{"value": [1]}])), "is no number"),
        (http(body([{"value": "12"}])), "is no number"),
        (http(body([{"value": [NOW, "warm"]}])), "is no number"),
        (http(body([{"value": [NOW, None]}])), "is no number"),
        (http(body([NOW, "nan"], "scalar")), "gives nan"),
        (http(body([{"value": ["nan", "1"]}])), "of no time"),
        (http(body([{"value": [0, "1"]}])), "the answer is"),
        (http(one("1", NOW - 1)), "do the clocks agree?"),
        (http(one("1", 4e9)), "s ahead"),
        (http(body([{"value": [1e300, "1"]}])), "ahead"),
        (http(body([{"value": [NOW, "1"]}], warnings=["store 2 is down"])), "store 2 is down"),
        (http(one("1"), "200 OK", "content-encoding: gzip"), "an encoding that was not asked for"),
        (b"\x00\x01 what?\r\n\r\n", "can't be asked"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{", "can't be asked"),
    ],
)
async def test_whatever_is_not_one_fresh_number_is_no_data(answer: bytes, why: str) -> None:
    reading = await asked(once(now(answer)))
    assert reading.value is None
    assert why in reading.why
    assert len(reading.why) < 400


async def test_notes_on_the_query_are_no_warnings() -> None:
    said = body([{"value": [NOW, "1"]}], warnings=["PromQL info: metric might not be a counter"], infos=["x"])
    assert (await asked(once(now(http(said))))).value == 1


@pytest.mark.parametrize(
    "script",
    [
        once(end="hang"),
        once(b"HTTP/1.1 200 OK\r\n", end="hang"),
        once(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", end="hang"),
    ],
)
async def test_who_does_not_answer_in_time_is_not_waited_for(script: Script) -> None:
    began = time.monotonic()
    reading = await asked(script)
    assert "did not answer within" in reading.why
    assert time.monotonic() - began < TIMEOUT + 5


async def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    given = 0

    async def flood(connection: Connection, _here: Origin) -> None:
        nonlocal given
        await connection.request()
        await connection.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await connection.say(b" " * 65536)
            given += 65536

    async def trickle(connection: Connection, _here: Origin) -> None:
        await connection.request()
        await connection.say(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await connection.say(b" ")
            await asyncio.sleep(0.1)

    assert "more than 256 KiB" in (await asked(flood)).why
    assert given < 64 * MOST_BYTES
    assert "did not answer within" in (await asked(trickle)).why


async def test_nobody_listens() -> None:
    assert "can't be asked" in (await source("http://127.0.0.1:1").once()).why


async def test_an_answer_kept_by_a_cache_gets_old() -> None:
    async with origin(answering(now(http(one("1"))))) as server:
        now_ns = time.monotonic_ns()
        measured = source(f"http://127.0.0.1:{server.port}")
        measured._clock = lambda: now_ns  # time goes on, and what answers does not
        assert (await measured.once()).value == 1
        now_ns += BEHIND_NS // 2
        assert (await measured.once()).value == 1
        now_ns += BEHIND_NS
        assert "time stands still" in (await measured.once()).why


async def test_what_proves_who_asks_is_sent_and_shown_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    script = answering(now(http(one("1"))))
    async with origin(script) as server:
        url = f"http://127.0.0.1:{server.port}"
        asking = source(url, environ={"TOKEN": "hush-hush"}, token_from="TOKEN")
        assert (await asking.once()).value == 1
        assert (await source(url, environ={"LOGIN": "me:hush-hush"}, login_from="LOGIN").once()).value == 1
    assert b"authorization: Bearer hush-hush\r\n" in server.requests[0].replace(b"Authorization", b"authorization")
    assert b"authorization: Basic bWU6aHVzaC1odXNo\r\n" in server.requests[1].replace(
        b"Authorization", b"authorization"
    )
    assert "hush-hush" not in caplog.text + repr(vars(asking).get("_reading")) + str(asking._server)


@pytest.mark.parametrize(
    ("more", "environ", "words"),
    [
        ({"token_from": "TOKEN"}, {}, "TOKEN is not set"),
        ({"token_from": "TOKEN"}, {"TOKEN": "hush\nhush"}, "can't be sent"),
        ({"login_from": "LOGIN"}, {"LOGIN": "hush-hush"}, "like name:password"),
        ({"ca": "nowhere.pem"}, {}, "nowhere.pem: No such file"),
    ],
)
def test_a_mistake_is_told_before_anything_is_sent(more: dict[str, str], environ: dict[str, str], words: str) -> None:
    with pytest.raises(UserError) as told:
        source("https://127.0.0.1:1", environ=environ, **more)
    assert words in str(told.value)
    assert "hush" not in str(told.value)


async def test_tls_is_verified_by_the_authority_that_is_named(tmp_path: Path) -> None:
    trust, serving = certificate(tmp_path, "127.0.0.1")
    async with origin(answering(now(http(one("1")))), tls=serving) as server:
        url = f"https://127.0.0.1:{server.port}"
        assert (await source(url, ca=str(trust)).once()).value == 1
        assert "can't be asked" in (await source(url).once()).why
    assert isinstance(serving, ssl.SSLContext)


@given(st.binary(max_size=300), st.integers(100, 599))
def test_no_answer_however_odd_makes_a_number_that_is_none(raw: bytes, status: int) -> None:
    found = sample(status, raw)
    assert isinstance(found, str) or math.isfinite(found.value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["value", "metric"]), inner, max_size=2)
    ),
    max_leaves=8,
)


@given(_JSON, st.sampled_from(["vector", "scalar", "matrix", "string", ""]))
def test_no_result_however_odd_makes_a_number_that_is_none(result: object, kind: str) -> None:
    found = sample(200, body(result, kind))
    assert isinstance(found, str) or (math.isfinite(found.value) and math.isfinite(found.at))


@given(st.lists(st.integers(0, 600 * SECOND_NS), min_size=1), st.floats(-30, 30), st.floats(0, 1e10))
def test_a_clock_that_is_right_never_looks_old(steps: list[int], off: float, wall: float) -> None:
    ages, now_ns = Ages(wall, 0), 0
    for step in steps:
        now_ns += step
        assert ages.trouble(wall + off + now_ns / SECOND_NS, now_ns) == ""


@given(st.lists(st.integers(SECOND_NS, 600 * SECOND_NS), min_size=12), st.floats(-30, 30))
def test_an_answer_that_stays_the_same_gets_old_whatever_it_says(steps: list[int], off: float) -> None:
    ages, now_ns = Ages(1.7e9, 0), 0
    assert ages.trouble(1.7e9 + off, 0) == ""
    for step in steps:
        now_ns += step
        if now_ns > 2 * BEHIND_NS:
            assert ages.trouble(1.7e9 + off, now_ns)
        else:
            ages.trouble(1.7e9 + off, now_ns)


@given(st.floats() | st.integers().map(float))
def test_no_time_however_odd_breaks_the_judgement(at: float) -> None:
    if math.isfinite(at):
        Ages(1.7e9, 0).trouble(at, 0)
