"""The add-ons in mitmproxy's own test context: what a fault of ours may and may not do."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mitmproxy import exceptions, http
from mitmproxy.test import taddons, tflow

from addons.chain import Chain, chain
from addons.passage import Kind, kind_of
from captures.reader import Capture
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


async def test_without_a_redaction_key_nothing_is_recorded_and_traffic_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    made = chain()
    with taddons.context(*made.addons()) as context:
        context.options.update(
            reamp_control="",
            reamp_captures=str(tmp_path / "recordings"),
            reamp_redaction_key=str(tmp_path / "file" / "key"),
        )
        await made.capture.running()
        flow = request()
        arrive(made, flow)
        answer(made, flow)
        assert made.capture.counts.snapshot().reconciles()
        assert made.capture.counts.filtered == 1
        assert not (tmp_path / "recordings").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("reamp_max_extra", "25"),
        ("reamp_window", "0s"),
        ("reamp_window", "soon"),
        ("reamp_control", "8901"),
        ("reamp_body_limit", "much"),
        ("reamp_flush", "1"),
        ("reamp_public_key", ["/nowhere.pub"]),
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
    assert made.meter.signal().error_ratio == 1
    await asyncio.sleep(0)
    assert made.capture.counts.snapshot().reconciles()
