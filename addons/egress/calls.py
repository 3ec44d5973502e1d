"""Add-ons: whose call it is (`Calls`, first in the chain), and how it goes on (`Passage`, last).

A fault of ours leaves a call alone. Only one that is known to be synthetic (or a dark copy's) and can't be tagged is
refused: untagged it would be taken for a user's.
"""

import logging
import time

from mitmproxy import http

import loadtag
from addons.dark.mark import HEADER, marked, unmarked
from addons.egress.attribution import Attribution, attribute
from addons.egress.destinations import Destinations
from addons.egress.marks import CALL, HELD_BACK, OUTCOME, PARTY, TOKEN, attribution_of, mark
from addons.glance import DARK, TRACE, glance
from addons.passage import RUN, has_open_end, is_long
from addons.processes.tallies import Tallies
from addons.tag import Tag
from addons.traceheaders import find as find_traces
from addons.traces import Run, Traces
from loadtag import headers
from loadtag.tag import TagError, parse
from rules.wire import PROBLEM_JSON, Problem

logger = logging.getLogger(__name__)

_TO_US = (b"proxy-authorization", b"proxy-connection")
"""Headers that are meant for the proxy, and nobody's business behind it."""


class Calls(Tag):
    """Says whose call it is, and strips forged tags.

    Where keys can't be read, whatever is a tag by its form counts as one: the sidecar lets no forged one through.
    """

    def __init__(self, traces: Traces, tallies: Tallies) -> None:
        """Know no key yet."""
        super().__init__(supervised=True)
        self._traces, self._tallies = traces, tallies

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Find out before anything else sees it."""
        try:
            mark(flow, self._attribute(flow.request))
        except Exception:
            logger.exception("A call could not be attributed: it is left alone")
            mark(flow, Attribution("unattributed", "fault"))

    def _attribute(self, request: http.Request) -> Attribution:
        fields = request.data.headers.fields
        keys = find_traces(fields)
        now = int(time.monotonic())
        own, valid, seen = None, False, glance(fields)[0]
        found = headers.find(fields) if seen & TRACE else None
        if found is not None:
            own, valid = self._own(found.token)
            if own is None:
                request.headers.fields = tuple(headers.strip(fields))
                self._tallies.add("forged")
        if own is None and self._trusts_dark and seen & DARK and (name := marked(fields)):
            own, valid = Run.of_copies(name), True
        if own is not None and valid:
            # Whoever continues this trace without knowing the tag is known from now on.
            for key in keys:
                self._traces.learn(key, own, now)
        return attribute(own, [] if own else [self._traces.find(key, now) for key in keys])

    def _own(self, token: str | None) -> tuple[Run | None, bool]:
        """Tell whose the call is by its own tag, and whether that is valid.

        One that has expired, or was revoked, was made by us nevertheless: no real user's call bears it.
        """
        if token is not None and self.unread:
            return _unverified(token), False
        judged = self._verified(token)
        if token is None or judged is None:
            return None, False
        if isinstance(judged, loadtag.LoadTag):
            return Run(token, judged.run_id), True
        return (_unverified(token) if judged.by_known_key else None), False


class Passage:
    """Tags what is synthetic, sends names of the map on, passes bodies on as they come, and counts."""

    def __init__(self, destinations: Destinations, tallies: Tallies) -> None:
        self._destinations, self._tallies = destinations, tallies
        self.under_way = 0
        """Calls that have begun and not ended."""

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Send the call on its way."""
        self.under_way += 1
        if flow.response is not None or flow.error is not None or OUTCOME in flow.metadata:
            return  # somebody answers it here
        try:
            self._send(flow)
        except Exception:
            if flow.metadata.get(CALL) not in HELD_BACK:
                logger.exception("A call is passed on as it came")
            else:
                logger.exception("A synthetic call could not be tagged: it is refused")
                refuse(flow, 502, "The call could not be tagged", "It is synthetic, and must not pass without its tag.")
                return
        # Once an answer is there, the request can't be passed on as it comes; it isn't passed on at all.
        flow.request.stream = is_long(flow.request) or has_open_end(flow.request)

    def _send(self, flow: http.HTTPFlow) -> None:
        request, metadata = flow.request, flow.metadata
        fields = request.headers.fields
        kind = metadata.get(CALL)
        if kind in HELD_BACK and metadata.get(PARTY) == "third":
            request.headers.fields = tuple(headers.strip(unmarked(fields)))
        elif kind == "dark":
            request.headers.fields = (*unmarked(fields), (HEADER, metadata[RUN].encode()))
        elif kind == "synthetic":
            request.headers.fields = tuple(headers.put(fields, metadata[TOKEN], metadata[RUN]))
        if any(len(name) in (16, 19) and name.lower() in _TO_US for name, _ in fields):
            kept = (field for field in request.headers.fields if field[0].lower() not in _TO_US)
            request.headers.fields = tuple(kept)
        if target := self._destinations.target(request.host, request.port):
            named = request.headers.get("host")
            request.scheme, request.host, request.port = target
            # mitmproxy has changed `Host` along with it.
            if target.is_address and named is not None:
                request.headers["host"] = named
            elif named is not None:
                request.headers["host"] = target.authority

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Let the answer through as it comes."""
        if flow.response is not None and OUTCOME not in flow.metadata:
            flow.response.stream = True

    def response(self, flow: http.HTTPFlow) -> None:
        """Count an answer."""
        status = flow.response.status_code if flow.response else 500
        self._count(flow, f"{min(max(status // 100, 1), 5)}xx")

    def error(self, flow: http.HTTPFlow) -> None:
        """Count a call that was never wholly answered."""
        self._count(flow, "error")

    def http_connected(self, flow: http.HTTPFlow) -> None:
        """Count a tunnel that is not looked into. In one that is, each call is counted."""
        self._count_tunnel(flow, "2xx")

    def http_connect_error(self, flow: http.HTTPFlow) -> None:
        """Count a tunnel that was not opened."""
        self._count_tunnel(flow, "error")

    def _count_tunnel(self, flow: http.HTTPFlow, outcome: str) -> None:
        if OUTCOME in flow.metadata:
            found = attribution_of(flow)
            self._tallies.add(f"{found.kind}/{found.by}/{flow.metadata[OUTCOME]}")
        elif not self._destinations.looks_into(flow.request.host, flow.request.port):
            self._tallies.add(f"unattributed/tunnel/{outcome}")

    def _count(self, flow: http.HTTPFlow, outcome: str) -> None:
        self.under_way = max(0, self.under_way - 1)
        found = attribution_of(flow)
        self._tallies.add(f"{found.kind}/{found.by}/{flow.metadata.get(OUTCOME, outcome)}")


def refuse(flow: http.HTTPFlow, status: int, title: str, detail: str) -> None:
    """Answer a call here instead of passing it on."""
    problem = Problem(type="urn:reamp:egress", title=title, status=status, detail=detail)
    flow.metadata[OUTCOME] = "refused"
    if is_long(flow.request):
        flow.kill()
        return
    fields = {"content-type": PROBLEM_JSON, "cache-control": "no-store"}
    flow.response = http.Response.make(status, problem.model_dump_json().encode(), fields)


def _unverified(token: str) -> Run | None:
    """Give whose a token is by what it says of itself."""
    try:
        return Run(token, parse(token).tag.run_id)
    except TagError:
        return None
