"""The egress's own add-ons on single calls: what a fault of ours may and may not do, and what is left for others."""

from collections.abc import Iterator

import pytest
from mitmproxy import http
from mitmproxy.test import taddons, tflow

from addons.dark.mark import is_mark
from addons.egress.attribution import Attribution
from addons.egress.calls import Calls, Passage
from addons.egress.destinations import Destinations
from addons.egress.marks import BY, CALL, OUTCOME, PARTY, TOKEN, attribution_of, mark
from addons.egress.naming import COUNTED
from addons.passage import RUN
from addons.processes.tallies import Tallies
from addons.traces import Found, Run, Traces
from loadtag import headers

BEARING = Run("v1.key.run-1.1.production.signature", "run-1")
TRACED = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}


class Broken(Traces):
    """Fails when it is asked."""

    def find(self, key: int, now: int) -> Run | Found:
        raise OSError(f"{key} at {now}")


@pytest.fixture
def tallies() -> Iterator[Tallies]:
    made = Tallies.create(COUNTED)
    yield made
    made.close()


def call(**fields: str) -> http.HTTPFlow:
    flow = tflow.tflow()
    fields = {"host": "address:22", **fields}
    flow.request.headers = http.Headers([(name.encode(), value.encode()) for name, value in fields.items()])
    return flow


def test_a_fault_leaves_a_call_alone(tallies: Tallies) -> None:
    traces = Broken.create(sets=1, cells=64)
    flow = call(**TRACED)
    before = flow.request.headers.fields
    passage = Passage(Destinations(), tallies)
    for addon in (Calls(traces, tallies), passage):
        addon.requestheaders(flow)
    assert flow.request.headers.fields == before
    assert flow.response is None
    assert attribution_of(flow) == Attribution("unattributed", "fault")
    flow.response = http.Response.make(204)
    passage.response(flow)
    assert tallies["unattributed/fault/2xx"] == 1
    traces.close()


def test_one_that_nobody_has_looked_at_is_left_alone(tallies: Tallies) -> None:
    flow = call(**TRACED)
    before = flow.request.headers.fields
    passage = Passage(Destinations(), tallies)
    passage.requestheaders(flow)
    passage.error(flow)
    assert flow.request.headers.fields == before
    assert tallies["unattributed/fault/error"] == 1


def test_a_synthetic_call_that_can_not_be_tagged_does_not_go_out(tallies: Tallies) -> None:
    flow = call()
    mark(flow, Attribution("synthetic", "trace", Run("a token that\r\ncan't be written", "run-1")))
    passage = Passage(Destinations(), tallies)
    passage.requestheaders(flow)
    assert flow.response is not None
    assert flow.response.status_code == 502
    assert "must not pass without its tag" in (flow.response.get_text() or "")
    passage.response(flow)
    assert tallies["synthetic/trace/refused"] == 1


def test_what_leaves_the_trust_boundary_bears_no_tag(tallies: Tallies) -> None:
    flow = call(baggage=f"user=1,loadtest={BEARING.token}")
    flow.request.headers["x-load-test"] = "run-1"
    mark(flow, Attribution("synthetic", "tag", BEARING))
    flow.metadata[PARTY] = "third"
    Passage(Destinations(), tallies).requestheaders(flow)
    assert flow.request.headers["baggage"] == "user=1"
    assert "x-load-test" not in flow.request.headers


def test_what_was_answered_here_is_counted_as_that(tallies: Tallies) -> None:
    flow = call(**TRACED)
    mark(flow, Attribution("synthetic", "trace", BEARING))
    flow.metadata[OUTCOME] = "stubbed"
    flow.response = http.Response.make(200)
    before = flow.request.headers.fields
    passage = Passage(Destinations(), tallies)
    passage.requestheaders(flow)
    passage.responseheaders(flow)
    passage.response(flow)
    assert flow.request.headers.fields == before
    assert (tallies["synthetic/trace/stubbed"], passage.under_way) == (1, 0)


def test_what_is_for_the_proxy_ends_here(tallies: Tallies) -> None:
    flow = call(**{"proxy-authorization": "Basic eDp5", "Proxy-Connection": "keep-alive", "proxy-x": "1"})
    Passage(Destinations(), tallies).requestheaders(flow)
    assert [name for name, _ in flow.request.headers.fields] == [b"host", b"proxy-x"]


@pytest.mark.parametrize(
    ("url", "host"), [("http://10.0.0.7:81", "address:22"), ("https://users.example", "users.example")]
)
def test_a_name_of_the_map_is_sent_on_and_keeps_its_name_before_an_address(
    tallies: Tallies, url: str, host: str
) -> None:
    flow = call(**TRACED)
    mark(flow, Attribution("synthetic", "trace", BEARING))
    Passage(Destinations([f"address={url}"]), tallies).requestheaders(flow)
    request = flow.request
    assert f"{request.scheme}://{request.host}" == url.removesuffix(":81")
    assert request.headers.get_all("host") == [host]
    assert headers.unverified_tag(request.headers.fields) is None, "that token is none"
    assert request.headers["baggage"] == f"loadtest={BEARING.token}"
    assert (flow.metadata[CALL], flow.metadata[BY], flow.metadata[TOKEN], flow.metadata[RUN]) == (
        *("synthetic", "trace"),
        *BEARING,
    )


@pytest.mark.parametrize("believed", [True, False])
def test_the_mark_of_a_dark_copy_counts_only_where_there_are_some(tallies: Tallies, believed: bool) -> None:
    traces = Traces.create(sets=1 << 4, cells=1 << 10)
    calls, flow = Calls(traces, tallies), call(**TRACED, X_Reamp_Dark="next")
    before = flow.request.headers.fields
    with taddons.context(calls) as context:
        context.configure(calls, reamp_trust_dark=believed)
        calls.requestheaders(flow)
        follows = call(**TRACED)
        calls.requestheaders(follows)
    assert flow.request.headers.fields == before
    copies = Run.of_copies("next")
    known = Attribution("dark", "tag", copies), Attribution("dark", "trace", copies)
    unknown = Attribution("unattributed", "unknown"), Attribution("unattributed", "unknown")
    assert (attribution_of(flow), attribution_of(follows)) == (known if believed else unknown)
    traces.close()


@pytest.mark.parametrize(("party", "sent"), [("", ["next"]), ("third", [])])
def test_what_is_called_for_a_dark_copy_bears_its_mark_inside_and_nowhere_else(
    tallies: Tallies, party: str, sent: list[str]
) -> None:
    flow = call(X_Reamp_Dark="other")
    mark(flow, Attribution("dark", "trace", Run.of_copies("next")))
    flow.metadata[PARTY] = party
    Passage(Destinations(), tallies).requestheaders(flow)
    marks = [value.decode() for name, value in flow.request.headers.fields if is_mark(name)]
    assert marks == sent
    assert "baggage" not in flow.request.headers
