import io
import json
import tracemalloc
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.io import FlowReader

from captures.errors import CaptureError
from captures.exchange import har
from captures.exchange.notes import Notes
from captures.exchange.options import ReadOptions, WriteOptions
from tests.captures.exchange.reading import endless, read
from tests.captures.making import MS, NOON, record


def entry(**changes: Any) -> dict[str, Any]:
    """An entry as Chrome writes it; `changes` name fields like ``request__url``."""
    made: dict[str, Any] = {
        "startedDateTime": "2026-11-21T13:00:00.000+01:00",
        "time": 9.5,
        "request": {
            "method": "POST",
            "url": "https://shop.example/cart?a=b#top",
            "httpVersion": "h2",
            "headers": [{"name": ":authority", "value": "shop.example"}, {"name": "accept", "value": "*/*"}],
            "queryString": [],
            "cookies": [],
            "headersSize": -1,
            "bodySize": 7,
            "postData": {"mimeType": "text/plain", "text": "a=1&b=2"},
        },
        "response": {
            "status": 201,
            "httpVersion": "h2",
            "headers": [],
            "content": {"size": 500, "mimeType": "text/html"},
            "bodySize": -1,
            "_transferSize": 300,
        },
        "timings": {"blocked": 2, "dns": -1, "ssl": 1, "connect": 3, "send": 0.5, "wait": 2, "receive": 2},
        "pageref": "page_1",
    }
    for name, value in changes.items():
        place = made
        *path, last = name.split("__")
        for part in path:
            place = place[part]
        place[last] = value
    return made


def document(*entries: Any, creator: str = "WebInspector") -> bytes:
    pages = [{"id": "page_1", "title": "Shop", "startedDateTime": "2026-11-21T12:00:00Z", "pageTimings": {}}]
    log = {"version": "1.2", "creator": {"name": creator}, "pages": pages, "entries": entries}
    return json.dumps({"log": log}).encode()


def test_an_entry_as_a_browser_writes_it() -> None:
    (one,), notes = read("har", document(entry()))
    assert (one.method, one.scheme, one.authority, one.path) == ("POST", "https", "shop.example", "/cart?a=b")
    assert (one.http_version, one.headers) == ("HTTP/2.0", ((b"accept", b"*/*"),))
    assert (one.body, one.body_size) == (b"a=1&b=2", 7)
    assert one.arrival_ns == NOON + 5 * MS  # after what went before it left: blocked and connecting
    assert (one.ttfb_ns, one.duration_ns) == (2_500_000, 4_500_000)
    assert (one.status, one.response_size) == (201, 500)
    assert notes.lost == {"pages of a HAR, with the times of their loading": 1}


@pytest.mark.parametrize("creator", ["mitmproxy", "mitmproxy har_dump"])
def test_what_a_proxy_wrote_starts_when_it_arrived_however_long_the_server_took_to_connect_to(creator: str) -> None:
    first = entry(startedDateTime="2026-11-21T12:00:00.000Z", timings={"connect": 40, "send": 1, "wait": 42})
    second = entry(startedDateTime="2026-11-21T12:00:00.020Z", timings={"connect": -1, "send": 1, "wait": 2})
    (one, other), _ = read("har", document(first, second, creator=creator))
    assert (one.arrival_ns, one.ttfb_ns) == (NOON, 43 * MS)
    assert (other.arrival_ns, other.ttfb_ns) == (NOON + 20 * MS, 3 * MS)


@pytest.mark.parametrize(
    ("posted", "body"),
    [
        ({"text": b64encode(b"\xff\0").decode(), "encoding": "base64", "mimeType": ""}, b"\xff\0"),
        ({"mimeType": "application/x-www-form-urlencoded", "params": [{"name": "a", "value": "b c"}]}, b"a=b+c"),
        ({"mimeType": "application/x-www-form-urlencoded; charset=UTF-8", "text": "ä=b", "params": []}, "ä=b".encode()),
        ({"mimeType": "text/plain", "text": ""}, b""),
    ],
)
def test_bodies_in_every_spelling(posted: dict[str, Any], body: bytes) -> None:
    (one,), _ = read("har", document(entry(request__postData=posted, request__bodySize=-1)))
    assert (one.body, one.body_size) == (body, len(body))


def test_bodies_that_are_not_there_are_told() -> None:
    (first, second), notes = read(
        "har",
        document(
            entry(request__postData=None, request__bodySize=9),
            entry(request__postData={"mimeType": "multipart/form-data", "params": [{"name": "f", "fileName": "x"}]}),
        ),
    )
    assert (first.body, first.body_size) == (b"", 9)
    assert (second.body, second.body_size) == (b"", 7)
    assert notes.lost["bodies that the HAR does not hold"] == 1
    assert notes.lost["bodies that stand as parameters only (multipart/form-data)"] == 1


def test_what_never_reached_a_server_is_left_out() -> None:
    found, notes = read(
        "har",
        document(
            entry(_fromCache="memory"),
            entry(request__url="data:image/png;base64,xxxx"),
            entry(request__url="chrome-extension://abc/x.js"),
            entry(request__url="wss://shop.example/feed", _webSocketMessages=[{}]),
        ),
    )
    assert [(one.scheme, one.path) for one in found] == [("https", "/feed")]
    assert sum(notes.skipped.values()) == 3
    assert notes.lost["WebSocket messages after the upgrade"] == 1


def test_a_request_without_an_answer() -> None:
    (one,), _ = read("har", document(entry(response__status=0, timings={"send": 0, "wait": 30, "receive": 0})))
    assert (one.status, one.ttfb_ns, one.duration_ns) == (0, -1, 30 * MS)


@pytest.mark.parametrize(
    "changes",
    [
        {"startedDateTime": "yesterday"},
        {"request__url": 7},
        {"request__headers": [{"name": "x"}]},
        {"request__headers": [7]},
        {"request": []},
        {"request__bodySize": "many"},
        {"timings__wait": "long"},
        {"response__status": 1e300},
        {"request__postData": {"text": "?", "encoding": "base64"}},
        {"startedDateTime": "1066-10-14T12:00:00Z"},
    ],
)
def test_a_broken_entry_costs_itself_only(changes: dict[str, Any]) -> None:
    found, notes = read("har", document(entry(), entry(**changes), 7, entry()))
    assert len(found) == 2
    assert [line.split(":")[0] for line in notes.bad] == ["entry 2", "entry 3"]


@pytest.mark.parametrize(
    "data", [b"{}", b"[]", b'{"log": {"entries": 7}}', b"", b"nonsense", document(entry())[:-3], b'{"log": {"x": 01}}']
)
def test_what_is_no_har_is_refused(data: bytes) -> None:
    with pytest.raises(CaptureError, match=r"it is no (HAR|JSON)"):
        read("har", data)


def test_the_mark_that_windows_tools_put_first_is_skipped() -> None:
    assert len(read("har", b"\xef\xbb\xbf" + document(entry()))[0]) == 1


@pytest.mark.parametrize(
    ("start", "more", "size"),
    [
        (b'{"log": {"entries": [{"request": {"url": "', b"x" * 65536, 300 << 20),
        (b'{"log": {"entries": [{"request": {"headers": [', b"0," * 30_000, 3 << 20),
    ],
)
def test_a_value_without_end_fills_no_memory(start: bytes, more: bytes, size: int) -> None:
    file, notes = endless(start, more, size), Notes()
    tracemalloc.start()
    try:
        with pytest.raises(CaptureError):
            list(har.read(file, ReadOptions(iter(())), notes))
        assert tracemalloc.get_traced_memory()[1] < 300 << 20
    finally:
        tracemalloc.stop()


def test_deep_nesting_costs_its_entry_only() -> None:
    deep = "[" * 5000 + "]" * 5000
    data = document(entry(), entry()).replace(b'"page_1"}', b'"page_1", "x": ' + deep.encode() + b"}", 1)
    found, notes = read("har", data)
    assert len(found) == 1
    assert notes.bad == ["entry 1: it is nested too deep"]


def test_large_answers_are_not_held() -> None:
    data = document(*(entry(response__content={"size": 9, "text": "x" * 20_000_000}) for _ in range(3)))
    file = io.BytesIO(data)
    tracemalloc.start()
    try:
        assert len(list(har.read(file, ReadOptions(iter(())), Notes()))) == 3
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
    finally:
        tracemalloc.stop()


def written(*some: Any) -> bytes:
    file = io.BytesIO()
    har.write(iter(some), file, WriteOptions(), Notes())
    return file.getvalue()


def test_mitmproxy_reads_what_was_written() -> None:
    one = record(
        NOON + 123_456_789,
        method="POST",
        body="ä=b".encode(),
        body_size=4,
        headers=((b"Host", b"shop.example"), (b"Cookie", b"a=b; c=d"), (b"Content-Type", b"application/json")),
        status=404,
    )
    (flow,) = FlowReader(io.BytesIO(written(one))).stream()
    assert isinstance(flow, http.HTTPFlow)
    assert flow.request.pretty_url == "http://shop.example/item/7?full=1"
    assert flow.request.content == "ä=b".encode()
    assert flow.request.cookies["c"] == "d"
    assert flow.request.timestamp_start == pytest.approx(one.arrival_ns / 1e9, abs=1e-5)
    assert flow.response
    assert flow.response.status_code == 404


def test_what_is_written_has_every_field_that_the_specification_demands() -> None:
    log = json.loads(written(record(), record(body=b"\xff", body_size=1)))["log"]
    assert (log["version"], set(log["creator"])) == ("1.2", {"name", "version"})
    demanded = {
        "": {"startedDateTime", "time", "request", "response", "cache", "timings"},
        "request": {
            *("method", "url", "httpVersion", "cookies", "headers", "queryString", "headersSize", "bodySize"),
        },
        "response": {
            *("status", "statusText", "httpVersion", "cookies", "headers", "content", "redirectURL", "headersSize"),
            "bodySize",
        },
        "timings": {"send", "wait", "receive"},
    }
    for one in log["entries"]:
        for name, fields in demanded.items():
            assert fields <= set(one[name] if name else one)
        assert all(one["timings"][name] >= 0 for name in demanded["timings"])
        assert one["time"] == pytest.approx(sum(one["timings"].values()))
    assert log["entries"][1]["request"]["postData"]["encoding"] == "base64"


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda x: st.lists(x, max_size=2)))
@settings(max_examples=200)
def test_no_value_in_any_place_breaks_the_reader(odd: Any) -> None:
    places = ("request", "request__url", "request__headers", "request__postData", "response", "response__content")
    entries = [entry(**{place: odd}) for place in (*places, "timings", "timings__wait", "response__bodySize")]
    found, notes = read(
        "har",
        json.dumps({"log": {"entries": entries}}, allow_nan=False)
        if "NaN" not in json.dumps(entries) and "Infinity" not in json.dumps(entries)
        else document(),
    )
    assert len(found) + notes.bad_count + sum(notes.skipped.values()) in {0, len(entries)}
