"""What a worker notes of traces, and when it begins one."""

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from mitmproxy import exceptions, http
from mitmproxy.test import taddons, tflow

from addons.learning import Learning
from addons.passage import KIND, REFUSED, RUN
from addons.traceheaders import LOW, find
from addons.traces import Found, Run, Traces
from loadtag import LoadTag, format_token

TOKEN = format_token(LoadTag("key", "run-1", 2**40 // 1000, "production"), bytes(64))
BEARING = Run(TOKEN, "run-1")


@pytest.fixture
def traces() -> Iterator[Traces]:
    made = Traces.create(sets=1 << 8, cells=1 << 16)
    yield made
    made.close()


@pytest.fixture
def learning(traces: Traces) -> Iterator[SimpleNamespace]:
    made = Learning(traces)
    with taddons.context(made) as context:
        context.configure(made)
        yield SimpleNamespace(addon=made, options=context.options, traces=traces)


def request(kind: str, **fields: str) -> http.HTTPFlow:
    flow = tflow.tflow()
    tag = {"baggage": f"user=1,loadtest={TOKEN}", "x-load-test": "run-1"} if kind == "synthetic" else {}
    flow.request.headers = http.Headers(
        [(name.replace("_", "-").encode(), value.encode()) for name, value in {"host": "x", **tag, **fields}.items()]
    )
    flow.metadata[KIND] = kind
    if kind == "synthetic":
        flow.metadata[RUN] = "run-1"
    return flow


def key_of(flow: http.HTTPFlow) -> int:
    (key,) = find(flow.request.headers.fields)
    return key


def known(traces: Traces, key: int) -> Run | Found:
    return traces.find(key, int(time.monotonic()))


PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
KEY = 0xA3CE929D0E0E4736


def test_a_synthetic_request_without_a_trace_begins_one(learning: SimpleNamespace) -> None:
    flow = request("synthetic")
    before = flow.request.headers.fields
    learning.addon.requestheaders(flow)
    assert flow.request.headers.fields[:-1] == before
    assert flow.request.headers["traceparent"].endswith("-00")
    assert known(learning.traces, key_of(flow)) == BEARING
    other = request("synthetic")
    learning.addon.requestheaders(other)
    assert key_of(other) != key_of(flow)


def test_one_that_has_a_trace_keeps_it(learning: SimpleNamespace) -> None:
    flow = request("synthetic", traceparent=PARENT, tracestate="a=b")
    before = flow.request.headers.fields
    learning.addon.requestheaders(flow)
    assert flow.request.headers.fields == before
    assert known(learning.traces, KEY) == BEARING


@pytest.mark.parametrize("kind", ["real", "untrusted"])
def test_what_is_not_synthetic_is_not_touched_and_its_trace_is_nobody_elses(
    learning: SimpleNamespace, kind: str
) -> None:
    for fields in ({}, {"traceparent": PARENT}):
        flow = request(kind, **fields)
        before = flow.request.headers.fields
        learning.addon.requestheaders(flow)
        assert flow.request.headers.fields is before
    assert known(learning.traces, KEY) is Found.REAL
    flow = request("synthetic", traceparent=PARENT, tracestate="a=b", b3=f"{'0' * 15}1-{'0' * 15}2-1")
    learning.addon.requestheaders(flow)
    assert key_of(flow) not in (KEY, 1), "all of a trace that is not its own is replaced"
    assert "tracestate" not in flow.request.headers
    assert flow.request.headers["baggage"] == f"user=1,loadtest={TOKEN}"
    assert known(learning.traces, key_of(flow)) == BEARING
    assert known(learning.traces, KEY) is Found.REAL


def test_what_is_refused_teaches_nothing(learning: SimpleNamespace) -> None:
    flow = request("synthetic", traceparent=PARENT)
    flow.metadata[REFUSED] = "credit"
    learning.addon.requestheaders(flow)
    assert known(learning.traces, KEY) is Found.UNKNOWN


def test_a_trace_begins_in_the_headers_that_the_app_knows(learning: SimpleNamespace) -> None:
    learning.options.update(reamp_trace=["b3multi", "datadog"], reamp_trace_sampled=True)
    flow = request("synthetic")
    learning.addon.requestheaders(flow)
    headers = flow.request.headers
    assert "traceparent" not in headers
    assert headers["x-b3-sampled"] == headers["x-datadog-sampling-priority"] == "1"
    assert int(headers["x-b3-traceid"], 16) & LOW == int(headers["x-datadog-trace-id"]) == key_of(flow)
    assert known(learning.traces, key_of(flow)) == BEARING
    with pytest.raises(exceptions.OptionsError, match="'zipkin' is none of traceparent"):
        learning.options.update(reamp_trace=["zipkin"])


@pytest.mark.parametrize("traceparent", ["", PARENT])
def test_when_all_traces_look_real_a_synthetic_request_is_refused(learning: SimpleNamespace, traceparent: str) -> None:
    """Real users come first: and what it had the app call would be taken for theirs."""
    now = int(time.monotonic())
    for key in range(1, 300_000):
        learning.traces.meet_real(key, now)
    flow = request("synthetic", **({"traceparent": traceparent} if traceparent else {}))
    learning.addon.requestheaders(flow)
    assert flow.response
    assert (flow.response.status_code, flow.metadata[REFUSED]) == (429, "credit")


def test_a_run_that_can_not_be_noted_now_is_refused_for_now(
    learning: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning.traces._lock, "acquire", lambda: False)
    flow = request("synthetic", traceparent=PARENT)
    learning.addon.requestheaders(flow)
    assert flow.response
    monkeypatch.undo()
    again = request("synthetic", traceparent=PARENT)
    learning.addon.requestheaders(again)
    assert (again.response, key_of(again)) == (None, KEY)


COPIES = Run.of_copies("next")


def test_a_dark_copy_that_is_believed_to_be_one_is_known_by_its_trace_like_a_synthetic_request(
    learning: SimpleNamespace,
) -> None:
    flow = request("untrusted", x_reamp_dark="next", traceparent=PARENT)
    before = flow.request.headers.fields
    learning.addon.requestheaders(flow)
    assert flow.request.headers.fields == before
    assert known(learning.traces, KEY) == COPIES
    # The trace of a user is none of it.
    learning.addon.requestheaders(request("real", traceparent=PARENT))
    assert known(learning.traces, KEY) is Found.CONTESTED
    other = request("untrusted", x_reamp_dark="next", traceparent=PARENT)
    learning.addon.requestheaders(other)
    assert key_of(other) != KEY
    assert known(learning.traces, key_of(other)) == COPIES


def test_a_copy_that_goes_out_gets_a_trace_of_its_own(learning: SimpleNamespace) -> None:
    fields = ((b"host", b"x"), (b"TraceParent", PARENT.encode()), (b"tracestate", b"a=b"), (b"b3", b"1" * 16))
    learning.traces.meet_real(KEY, int(time.monotonic()))
    host, parent, state = learning.addon.apart(fields, "next")
    assert host == fields[0]
    (key,) = find([parent])
    assert known(learning.traces, key) == COPIES
    assert state == (b"tracestate", b"reamp=4bf92f3577b34da6a3ce929d0e0e4736"), "which says whose copy it is"
    assert [name for name, _ in learning.addon.apart(fields[:1], "next")] == [b"host", b"traceparent"]
    assert known(learning.traces, KEY) is Found.REAL


def test_what_a_dark_service_asks_the_app_is_no_users_for_that(learning: SimpleNamespace) -> None:
    """It came with the mark, which was taken away: the app's own calls for it are the copy's all the same."""
    _, parent = learning.addon.apart(((b"host", b"x"),), "next")
    learning.addon.requestheaders(request("untrusted", traceparent=parent[1].decode()))
    assert known(learning.traces, *find([parent])) == COPIES


def test_a_copy_for_which_no_trace_can_be_had_is_none(learning: SimpleNamespace) -> None:
    now = int(time.monotonic())
    for key in range(200_000):
        learning.traces.meet_real(key, now)
    assert learning.addon.apart(((b"host", b"x"),), "next") is None
