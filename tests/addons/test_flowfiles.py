"""mitmproxy's own reader and writer of flow files are what these tests go through."""

import io
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from mitmproxy import flowfilter, http
from mitmproxy.io import FlowReader, FlowWriter, tnetstring
from mitmproxy.test import tflow

from addons.flowfiles import as_flow, as_record, read, write
from captures.exchange.notes import Notes
from captures.records import Record
from tests.captures.making import MS, NOON, record, records


def written(*some: Record) -> bytes:
    file = io.BytesIO()
    write(some, file)
    return file.getvalue()


def back(data: bytes) -> tuple[list[Record], Notes]:
    notes = Notes()
    return list(read(io.BytesIO(data), notes)), notes


@given(records)
@settings(max_examples=200)
def test_a_flow_file_holds_every_record_exactly(one: Record) -> None:
    found, notes = back(written(one))
    assert found == [one]
    assert not notes.lost
    assert not notes.bad


def test_mitmproxy_sees_what_was_recorded() -> None:
    one = record(
        method="POST",
        scheme="https",
        authority="shop.example:8443",
        headers=((b"Host", b"shop.example:8443"), (b"Cookie", b"a=1"), (b"Content-Type", b"application/json")),
        body=b'{"a": 1}',
        body_size=8,
        status=404,
    )
    (flow,) = FlowReader(io.BytesIO(written(one))).stream()
    assert isinstance(flow, http.HTTPFlow)
    assert flow.request.pretty_url == "https://shop.example:8443/item/7?full=1"
    assert (flow.request.host, flow.request.port) == ("shop.example", 8443)
    assert flow.request.first_line_format == "relative"
    assert flow.request.json() == {"a": 1}
    assert flow.response
    assert (flow.response.status_code, flow.response.reason) == (404, "Not Found")
    assert flow.response.timestamp_end == pytest.approx(one.arrival_ns / 1e9 + 0.003)


@pytest.mark.parametrize(
    ("words", "matches"),
    [
        ("~m POST & ~u /item", True),
        ("~d shop.example", True),
        ("~c 200", True),
        ("~hq accept", True),
        ("~b knife", True),
        ("~m GET", False),
        ("~d other.example", False),
        ("~e", False),
    ],
)
def test_mitmproxys_filters_judge_records(words: str, matches: bool) -> None:
    one = record(method="POST", body=b"knife", body_size=5)
    assert bool(flowfilter.match(words, as_flow(one))) == matches


def test_a_flow_that_was_changed_counts_as_it_is_now() -> None:
    flow = as_flow(record(NOON + 123, headers=((b"Host", b"shop.example"),)))
    flow.request.headers["host"] = "other.example"
    changed = as_record(flow)
    assert changed.authority == "other.example"
    assert changed.arrival_ns == NOON + 123
    flow.request.timestamp_start += 1
    assert as_record(flow).arrival_ns == pytest.approx(NOON + 1000 * MS, abs=500)


@pytest.mark.parametrize("known", [None, 7, {"status": "x"}, {"ttfb_ns": -5}, {"authority": 1}, {"body_size": 1 << 70}])
def test_odd_metadata_counts_for_nothing(known: Any) -> None:
    flow = as_flow(record())
    flow.metadata.clear()
    plain = as_record(flow)
    flow.metadata["reamp_record"] = known
    assert as_record(flow) == plain


def test_what_a_record_has_no_place_for_is_told() -> None:
    file = io.BytesIO()
    writer = FlowWriter(file)
    websocket = tflow.twebsocketflow()
    connect = tflow.tflow(req=http.Request.make("CONNECT", "https://shop.example/"))
    for flow in (tflow.tflow(resp=True), websocket, tflow.ttcpflow(), tflow.tdnsflow(), tflow.tflow(err=True), connect):
        writer.add(flow)
    found, notes = back(file.getvalue())
    assert [one.status for one in found] == [200, 101, 0]
    assert found[0].response_size == len(b"message")
    assert notes.lost["headers and bodies of answers: a capture keeps status, size and times"] == 2
    assert notes.lost["WebSocket messages after the upgrade"] == 1
    assert sorted(what.split()[0] for what in notes.skipped.elements()) == ["CONNECT", "DNS", "TCP"]


def test_times_of_a_foreign_flow() -> None:
    flow = tflow.tflow(resp=True)
    flow.metadata.clear()
    flow.request.timestamp_start = 946681200.0
    assert flow.response
    flow.response.timestamp_start, flow.response.timestamp_end = 946681202.0, 946681203.0
    one = as_record(flow)
    assert (one.arrival_ns, one.ttfb_ns, one.duration_ns) == (946681200_000_000_000, 2000 * MS, 3000 * MS)


def test_flows_of_an_old_version_are_converted(caplog: pytest.LogCaptureFixture) -> None:
    """The version before this one; mitmproxy's own converter is at work here."""
    state: dict[str, Any] = tflow.tflow(resp=True).get_state()
    state["version"] = 20
    with caplog.at_level(logging.WARNING):
        found, notes = back(tnetstring.dumps(state))
    assert [one.path for one in found] == ["/path"]
    assert not notes.bad
    assert not caplog.records


def test_a_broken_flow_costs_itself_only() -> None:
    good = as_flow(record()).get_state()
    odd = {**as_flow(record()).get_state(), "request": None}
    unknown = {**as_flow(record()).get_state(), "type": "smoke"}
    found, notes = back(b"".join(map(tnetstring.dumps, (good, odd, unknown, [], good))))
    assert found == [record(), record()]
    assert [line.split(":")[0] for line in notes.bad] == ["flow 2", "flow 3", "flow 4"]


@pytest.mark.parametrize(
    "tail",
    [b"\0\1\2", b"999999999999:x", b"300000000:x,", b"12:abc", b"x" * 20, b"5:" + b"1:" * 5000 + b"~", b"{}", b"3:abc"],
)
def test_bytes_that_are_no_flow_end_the_reading_and_are_told(tail: bytes) -> None:
    found, notes = back(written(record()) + tail)
    assert found == [record()]
    assert notes.bad_count == 1
    assert "what follows is not read" in notes.bad[0]


def test_deep_nesting_does_not_exhaust_the_stack() -> None:
    nested = b"0:]"
    for _ in range(20_000):
        nested = b"%d:%b]" % (len(nested), nested)
    found, notes = back(written(record()) + nested)
    assert found == [record()]
    assert "nested too deep" in notes.bad[0]


def test_reading_streams(tmp_path: Path) -> None:
    path = tmp_path / "flows"
    path.write_bytes(written(*(record(NOON + number) for number in range(20))))
    with path.open("rb") as file:
        stream = read(file, Notes())
        assert next(stream).arrival_ns == NOON
        assert file.tell() < path.stat().st_size
