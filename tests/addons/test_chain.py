"""The add-ons in mitmproxy's own test context: what a fault of ours may and may not do."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mitmproxy import exceptions, http
from mitmproxy.flow import Error
from mitmproxy.io import tnetstring
from mitmproxy.test import taddons, tflow

from addons.books import Kind
from addons.chain import Chain, chain
from addons.passage import KIND, kind_of
from captures.reader import Capture
from captures.records import Record
from loadtag import keys


@pytest.fixture
async def sidecar(tmp_path: Path) -> AsyncIterator[tuple[Chain, taddons.context]]:
    """A whole chain, recording into `tmp_path`, without sockets."""
    _, public = keys.generate(tmp_path, "load")
    made = chain()
    with taddons.context(*made.addons()) as context:
        context.options.update(
            reamp_control="",
            reamp_captures=str(tmp_path / "recordings"),
            reamp_redaction_key=str(tmp_path / "redaction.key"),
            reamp_public_key=[str(public)],
        )
        await made.capture.running()
        yield made, context
        await made.capture.done()


def request(**headers: str) -> http.HTTPFlow:
    flow = tflow.tflow()
    flow.request.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return flow


def arrive(made: Chain, flow: http.HTTPFlow) -> None:
    for addon in (made.tag, made.meter, made.guard, made.capture):
        addon.requestheaders(flow)


def answer(made: Chain, flow: http.HTTPFlow) -> None:
    if flow.response is None:
        flow.response = http.Response.make(200, b"hello")
        flow.response.timestamp_start = flow.request.timestamp_start + 0.1
        flow.response.timestamp_end = flow.request.timestamp_start + 0.2
    for addon in (made.meter, made.capture):
        addon.response(flow)


async def test_a_flow_is_settled_once_however_often_it_ends(sidecar: tuple[Chain, taddons.context]) -> None:
    made, _ = sidecar
    flow = request()
    arrive(made, flow)
    answer(made, flow)
    made.capture.error(flow)
    made.capture.response(flow)
    assert made.capture.counts.in_flight == 0
    await made.capture.done()
    assert made.capture.counts.snapshot().reconciles()
    assert made.capture.counts.written == 1


async def test_a_request_that_cannot_be_recorded_is_counted_and_does_no_harm(
    sidecar: tuple[Chain, taddons.context], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = sidecar
    flow = request()
    arrive(made, flow)

    def broken(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("addons.capture._record", broken)
    answer(made, flow)
    assert (made.capture.counts.dropped, made.capture.counts.in_flight) == (1, 0)
    assert made.capture.counts.snapshot().reconciles()


async def test_a_flow_that_was_never_classified_earns_nothing_and_is_not_recorded(
    sidecar: tuple[Chain, taddons.context],
) -> None:
    """Whatever kept the tag add-on from doing its work, the doubt goes against synthetic load, not against users."""
    made, _ = sidecar
    flow = request()
    for addon in (made.meter, made.guard, made.capture):
        addon.requestheaders(flow)
    assert kind_of(flow) is Kind.UNTRUSTED
    assert flow.response is None
    assert made.guard.credit() == 0
    answer(made, flow)
    assert (made.capture.counts.untrusted, made.capture.counts.queued) == (1, 0)


@pytest.mark.parametrize("missing", ["reamp_redaction_key", "reamp_redaction_rules"])
async def test_without_what_redaction_needs_nothing_is_recorded_and_traffic_goes_on(
    tmp_path: Path, missing: str
) -> None:
    (tmp_path / "file").touch()
    made = chain()
    with taddons.context(*made.addons()) as context:
        context.options.update(
            reamp_control="",
            reamp_captures=str(tmp_path / "recordings"),
            **{"reamp_redaction_key": str(tmp_path / "key"), missing: str(tmp_path / "file" / "missing")},
        )
        await made.capture.running()
        flow = request()
        arrive(made, flow)
        answer(made, flow)
        assert made.capture.counts.snapshot().reconciles()
        assert made.capture.counts.filtered == 1
        assert not (tmp_path / "recordings").exists()


async def test_a_disk_that_hangs_with_the_redaction_key_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free = threading.Event()

    def hangs(_path: Path) -> bytes:
        free.wait()
        return b""

    monkeypatch.setattr("addons.capture.load_key", hangs)
    monkeypatch.setattr("addons.capture._PATIENCE", 0.05)
    made = chain()
    with taddons.context(*made.addons()) as context:
        context.options.update(reamp_control="", reamp_captures=str(tmp_path / "recordings"))
        async with asyncio.timeout(5):
            await made.capture.running()
        free.set()
    assert made.capture.writer is None
    assert "the disk does not answer" in caplog.text


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("reamp_max_extra", "25"),
        ("reamp_window", "0s"),
        ("reamp_window", "soon"),
        ("reamp_slo", ["p(95)<500ms", "p(95)<500"]),
        ("reamp_slo", ["p(99)<1.1x baseline"]),
        ("reamp_control", "8901"),
        ("reamp_body_limit", "much"),
        ("reamp_body_limit", "16MiB"),
        ("reamp_queue_size", "0B"),
        ("reamp_flush", "1"),
        ("reamp_public_key", ["/nowhere.pub"]),
        ("reamp_only", "~nonsense x"),
        ("reamp_except", "~u ["),
        ("reamp_except", "~u " + "x" * 5000),
        ("reamp_only", "~u \udcff"),
        ("reamp_bodies", "\udcff/*=keep"),
        ("reamp_sample", "0%"),
        ("reamp_sample", "101%"),
        ("reamp_sample", "10"),
        ("reamp_session_by", "cookie"),
        ("reamp_bodies", "image/*=some"),
        ("reamp_bodies", "image/*=8MiB"),
        ("reamp_max_bytes", "0B"),
        ("reamp_max_age", "0s"),
        ("reamp_max_age", "a week"),
        ("reamp_min_free_disk", "10%"),
    ],
)
async def test_wrong_options_are_told(option: str, value: object) -> None:
    with taddons.context(*chain().addons()) as context, pytest.raises(exceptions.OptionsError, match="reamp"):
        context.options.update(**{option: value})


async def test_secrets_are_replaced_before_they_reach_the_disk(
    sidecar: tuple[Chain, taddons.context], tmp_path: Path
) -> None:
    made, _ = sidecar
    for secret in ("hunter2secret", "hunter2secret", "anothersecret"):
        flow = request(
            authorization=f"Bearer {secret}", cookie=f"session={secret}; theme={secret}", x_api_key=secret, accept="*/*"
        )
        arrive(made, flow)
        answer(made, flow)
        assert flow.request.headers["authorization"] == f"Bearer {secret}"  # the app gets what its users sent
    await made.capture.done()
    records = list(Capture(tmp_path / "recordings").records())
    seen = [dict(record.headers) for record in records]
    for headers in seen:
        assert b"secret" not in b"".join(headers.values())
        assert headers[b"accept"] == b"*/*"
        assert headers[b"cookie"].startswith(b"session=")
    for name in (b"authorization", b"cookie", b"x-api-key"):
        assert seen[0][name] == seen[1][name] != seen[2][name]


async def test_a_client_that_hangs_up_is_an_error_of_the_window(sidecar: tuple[Chain, taddons.context]) -> None:
    made, _ = sidecar
    flow = request()
    arrive(made, flow)
    made.meter.error(flow)
    made.capture.error(flow)
    assert made.control
    assert made.control.port.signal().error_ratio == 1
    await asyncio.sleep(0)
    assert made.capture.counts.snapshot().reconciles()


async def recorded(made: Chain, folder: Path) -> list[Record]:
    await made.capture.done()
    return list(Capture(folder / "recordings").records())


async def test_a_record_holds_what_came_and_the_outline_of_its_answer(
    sidecar: tuple[Chain, taddons.context], tmp_path: Path
) -> None:
    made, _ = sidecar
    flow = tflow.tflow(client_conn=tflow.tclient_conn())
    flow.client_conn.tls = True
    flow.request = http.Request.make("POST", "http://ignored/cart?x=1", b"0123456789")
    flow.request.headers.update({"host": "shop.example", "x": "y"})
    flow.request.timestamp_start = 1_800_000_000.25
    arrive(made, flow)
    flow.response = http.Response.make(201, b"hello")
    flow.response.timestamp_start = flow.request.timestamp_start + 0.1
    flow.response.timestamp_end = flow.request.timestamp_start + 0.3
    answer(made, flow)
    (record,) = await recorded(made, tmp_path)
    assert (record.method, record.scheme, record.authority, record.path) == (
        "POST",
        "https",
        "shop.example",
        "/cart?x=1",
    )
    assert (record.http_version, record.body, record.body_size) == ("HTTP/1.1", b"0123456789", 10)
    assert (b"x", b"y") in record.headers
    assert record.arrival_ns == pytest.approx(1_800_000_000_250_000_000, abs=1000)  # as fine as the clock is
    assert (record.status, record.response_size) == (201, 5)
    assert record.ttfb_ns == pytest.approx(100e6, abs=1000)
    assert record.duration_ns == pytest.approx(300e6, abs=1000)


async def test_long_bodies_are_passed_through_in_pieces_counted_and_cut(
    sidecar: tuple[Chain, taddons.context], tmp_path: Path
) -> None:
    made, context = sidecar
    context.options.update(reamp_body_limit="4B")
    flow = request(transfer_encoding="chunked")
    flow.request.headers.pop("content-length", None)
    arrive(made, flow)
    assert callable(flow.request.stream)
    assert [flow.request.stream(piece) for piece in (b"012", b"345", b"")] == [b"012", b"345", b""]
    flow.response = http.Response.make(200)
    flow.response.headers["content-length"] = "1000000"
    flow.response.timestamp_start = flow.response.timestamp_end = flow.request.timestamp_start
    made.capture.responseheaders(flow)
    assert callable(flow.response.stream)
    flow.response.stream(b"x" * 999)
    answer(made, flow)
    (record,) = await recorded(made, tmp_path)
    assert (record.body, record.body_size, record.response_size) == (b"0123", 6, 999)


async def test_an_answer_that_broke_off_is_recorded_as_none(
    sidecar: tuple[Chain, taddons.context], tmp_path: Path
) -> None:
    """The client did not get it whole; how long it waited is part of the record all the same."""
    made, _ = sidecar
    flow = request()
    arrive(made, flow)
    flow.response = http.Response.make(200, b"half")
    flow.response.timestamp_start = flow.request.timestamp_start + 0.1
    flow.error = Error("the connection was closed", flow.request.timestamp_start + 2)
    made.meter.error(flow)
    made.capture.error(flow)
    (record,) = await recorded(made, tmp_path)
    assert record.status == 0
    assert record.duration_ns == pytest.approx(2e9, abs=1000)


async def test_what_is_malformed_earns_nothing_and_is_filtered(
    sidecar: tuple[Chain, taddons.context], tmp_path: Path
) -> None:
    """mitmproxy shows such requests to its add-ons with an error already set, and never to the app."""
    made, _ = sidecar
    for _ in range(100):
        flow = request()
        flow.error = Error("both Content-Length and Transfer-Encoding")
        arrive(made, flow)
        made.meter.error(flow)
        made.capture.error(flow)
    assert made.guard.credit() == made.meter.real == 0
    assert await recorded(made, tmp_path) == []
    assert made.capture.counts.filtered == 100
    assert made.capture.counts.snapshot().reconciles()


async def test_a_record_holds_the_headers_that_came_whatever_add_ons_make_of_them(
    sidecar: tuple[Chain, taddons.context], tmp_path: Path
) -> None:
    made, _ = sidecar
    flow = request(host="shop.example", x_mine="1", upgrade="websocket")
    arrive(made, flow)
    assert tnetstring.dumps(flow.get_state())  # and mitmproxy can still save the flow
    sent = flow.request.headers.fields
    flow.request.headers["host"] = "elsewhere"
    flow.request.headers["x-forwarded-for"] = "192.0.2.1"
    answer(made, flow)
    (record,) = await recorded(made, tmp_path)
    assert record.headers == sent
    assert record.authority == "shop.example"


async def test_a_request_of_http_2_names_its_host_without_a_header(
    sidecar: tuple[Chain, taddons.context], tmp_path: Path
) -> None:
    made, _ = sidecar
    flow = request()
    flow.request.headers.pop("host", None)
    flow.request.http_version, flow.request.authority = "HTTP/2.0", "shop.example:8443"
    arrive(made, flow)
    answer(made, flow)
    (record,) = await recorded(made, tmp_path)
    assert (record.authority, record.http_version) == ("shop.example:8443", "HTTP/2.0")


async def test_an_app_can_not_pretend_to_be_the_guard(sidecar: tuple[Chain, taddons.context]) -> None:
    made, _ = sidecar
    flow = request()
    arrive(made, flow)
    flow.response = http.Response.make(429, b"", {"Reamp-Withheld": "credit", "x": "y"})
    made.guard.responseheaders(flow)
    assert "reamp-withheld" not in flow.response.headers
    assert flow.response.headers["x"] == "y"


async def test_without_anybody_to_pull_the_lever_nothing_synthetic_passes(
    sidecar: tuple[Chain, taddons.context],
) -> None:
    made, _ = sidecar
    for _ in range(8):
        arrive(made, request())
    made.guard.orphaned = True
    assert made.guard.credit() == 0
    flow = request()
    flow.metadata[KIND] = "synthetic"
    made.guard.requestheaders(flow)
    assert flow.response
    assert flow.response.status_code == 429
    made.guard.orphaned = False
    assert made.guard.credit() == 2


MARKS = ["x-reamp-dark", "X-Reamp-Dark", "x_reamp_dark"]


@pytest.mark.parametrize("name", MARKS)
async def test_a_mark_of_dark_copies_from_outside_is_taken_away_and_makes_nobody_real(
    sidecar: tuple[Chain, taddons.context], name: str
) -> None:
    made, context = sidecar
    flow = tflow.tflow()
    flow.request.headers.fields = (*flow.request.headers.fields, (name.encode(), b"next"))
    before = flow.request.headers.fields[:-1]
    arrive(made, flow)
    assert kind_of(flow) is Kind.UNTRUSTED
    assert flow.request.headers.fields == before
    context.options.update(reamp_untrusted="deny")
    refused = tflow.tflow()
    refused.request.headers.fields = (*refused.request.headers.fields, (name.encode(), b"next"))
    arrive(made, refused)
    assert refused.response is not None
    assert refused.response.status_code == 403


async def test_where_the_mark_is_trusted_it_is_kept_and_still_makes_nobody_real(
    sidecar: tuple[Chain, taddons.context],
) -> None:
    made, context = sidecar
    context.options.update(reamp_trust_dark=True, reamp_untrusted="deny")
    flow = request(x_reamp_dark="next")
    arrive(made, flow)
    assert kind_of(flow) is Kind.UNTRUSTED
    assert flow.request.headers["x-reamp-dark"] == "next"
    assert flow.response is None
    several = request(x_reamp_dark="next")
    several.request.headers.fields = (*several.request.headers.fields, (b"X_Reamp_Dark", b"other"))
    forged = request(x_reamp_dark="next", baggage="loadtest=nonsense")
    for one in (several, forged):
        arrive(made, one)
        assert kind_of(one) is Kind.UNTRUSTED
        assert not [name for name, _ in one.request.headers.fields if b"dark" in name.lower()]
