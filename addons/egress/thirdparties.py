"""Add-on of the egress: rules for what synthetic calls, and dark copies' ones, get that would leave the trust boundary.

It stands between `egress.calls.Calls`, which says whose call it is, and `egress.calls.Passage`, which passes it on. A
call that is not known to be either is not looked at. One that is known to be, and can't be judged, ends here.
"""

import asyncio
import logging
import time
from email.utils import formatdate

from mitmproxy import http
from mitmproxy.net.http.status_codes import RESPONSES

from addons.egress.attribution import Attribution
from addons.egress.calls import Calls
from addons.egress.destinations import Destinations
from addons.egress.marks import CALL, HELD_BACK, OUTCOME, PARTY, mark
from addons.parties.asked import MAX_ASKED, Asked
from addons.parties.choice import Call, Chooser
from addons.parties.policy import Policy
from addons.parties.standin import StandIn, refusal
from addons.parties.template import Rendered
from addons.passage import KEPT, RUN

logger = logging.getLogger(__name__)

RULE = "reamp_call_rule"
"""Of a call that is answered here: the number of the rule that says so; empty: none does."""

WHY = "reamp_call_why"
"""Of one that no rule answers: why it is blocked."""

_BODILESS = (204, 304)

_DEFAULT = "No rule in third_parties lets it pass, and default_third_party is block."
_DOUBT = (
    "Rules for this host look at the path, and servers may understand this one in two ways, so that none of them can be"
    " gone by."
)
_TUNNEL = "It is a tunnel that is not looked into, and not every call in it could pass (see --egress-intercept)."
_FAULT = "It could not be judged."


class ThirdParties:
    """Goes by the owner's policy."""

    def __init__(self, policy: Policy, destinations: Destinations, calls: Calls) -> None:
        """Make everything ready. Raises UnitError if a file that the policy names has gone."""
        self._chooser: Chooser = policy.chooser()
        self._stand_in: StandIn = policy.stand_in()
        self._destinations, self._calls = destinations, calls
        self._blocks_tunnels = policy.tunnels == "block"

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Decide what is done with a synthetic call, before anything of it goes out."""
        if flow.metadata.get(CALL) not in HELD_BACK or flow.response is not None or flow.error is not None:
            return
        try:
            chosen = self._chooser.choose(self._call(flow))
        except Exception:
            logger.exception("A synthetic call could not be judged: it is blocked")
            _hold(flow, "", _FAULT)
            return
        if not chosen.inside:
            flow.metadata[PARTY] = "third"
        if chosen.action != "pass":
            by_rule = chosen.rule is not None and chosen.why == "rule"
            _hold(flow, str(chosen.rule) if by_rule else "", _DOUBT if chosen.why == "doubt" else _DEFAULT)
            if by_rule and chosen.rule is not None and self._stand_in.looks_at_bodies(chosen.rule):
                flow.metadata[KEPT] = MAX_ASKED + 1

    def http_connect(self, flow: http.HTTPFlow) -> None:
        """Block a tunnel if what goes through it might have to be: a synthetic one, or any if the owner says so."""
        if flow.response is not None:
            return
        self._calls.requestheaders(flow)
        if flow.metadata.get(CALL) not in HELD_BACK:
            if not self._blocks_tunnels:
                return
            mark(flow, Attribution("unattributed", "tunnel"))
        try:
            call = self._call(flow)
            looked_into = self._destinations.looks_into(call.destination, call.port)
            passes = looked_into or self._chooser.tunnel(call).action == "pass"
        except Exception:
            logger.exception("A tunnel could not be judged: it is blocked")
            passes = False
        if not passes:
            flow.metadata[OUTCOME] = "blocked"
            flow.response = _last_resort()
            flow.response = _response(refusal(flow.request.host, _TUNNEL), flow.request.method)

    async def request(self, flow: http.HTTPFlow) -> None:
        """Answer what is held, when the answer is due."""
        number = flow.metadata.get(RULE)
        if number is None or flow.response is not None:
            return
        # There is an answer before anything that could fail or wait: whatever happens, the call does not go out.
        flow.response = _last_resort()
        try:
            seconds = self._answer(flow, number)
        except Exception:
            logger.exception("A synthetic call could not be answered: it is blocked")
            return
        if seconds:
            flow.request.data.content = b""  # nobody needs it any more, and an answer may take minutes
            await asyncio.sleep(seconds)
            flow.response.timestamp_start = flow.response.timestamp_end = time.time()

    def _answer(self, flow: http.HTTPFlow, number: str) -> float:
        """Answer by rule `number`, and give the seconds until that is due."""
        request = flow.request
        if not number:
            flow.response = _response(refusal(request.host, flow.metadata[WHY]), request.method)
            return 0.0
        fields = [(_text(name), _text(value)) for name, value in request.headers.fields]
        asked = Asked(request.method, request.pretty_host, request.path, fields, request.raw_content or b"")
        said = self._stand_in.answer(int(number), asked, str(flow.metadata.get(RUN, "")), time.monotonic(), time.time())
        flow.response = _response(said.answer, request.method)
        flow.metadata[OUTCOME] = "blocked" if said.outcome == "blocked" else "stubbed"
        return said.seconds

    def _call(self, flow: http.HTTPFlow) -> Call:
        request = flow.request
        target = self._destinations.target(request.host, request.port)
        destination, port = (target.host, target.port) if target else (request.host, request.port)
        # Whatever name for it is in there may be the one that a rule is about.
        said = [request.authority, *request.headers.get_all("host"), flow.client_conn.sni or ""]
        names = {request.host, *map(_host, said)} - {destination, ""}
        mapped = frozenset(name for name in names if self._stands_for(name, destination, port))
        return Call(destination, tuple(sorted(names)), port, request.method, request.path, mapped)

    def _stands_for(self, name: str, destination: str, port: int) -> bool:
        """Whether the owner's map says that calls for a name go there."""
        found = (self._destinations.target(name, one) for one in (port, 80, 443))
        return any(target is not None and (target.host, target.port) == (destination, port) for target in found)


def _hold(flow: http.HTTPFlow, rule: str, why: str) -> None:
    """Keep a call here: its body is read, of which only the beginning is kept, and then it is answered."""
    flow.metadata[OUTCOME] = "blocked"
    flow.metadata[RULE], flow.metadata[WHY] = rule, why
    flow.metadata[KEPT] = 0
    flow.request.stream = False


def _last_resort() -> http.Response:
    """Give an answer in the making of which nothing can go wrong."""
    return http.Response.make(403)


def _host(value: str) -> str:
    """Give the host of a Host header."""
    host, colon, port = value.strip().rpartition(":")
    return (host if colon and port.isdigit() else value.strip()).removeprefix("[").removesuffix("]")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _response(answer: Rendered, method: str) -> http.Response:
    fields = [*answer.fields]
    if not any(name.lower() == b"date" for name, _ in fields):
        fields.append((b"date", formatdate(usegmt=True).encode()))
    if answer.status not in _BODILESS:
        fields.append((b"content-length", b"%d" % len(answer.body)))
    body = b"" if method == "HEAD" or answer.status in _BODILESS else answer.body
    reason = RESPONSES.get(answer.status, "").encode()
    now = time.time()
    return http.Response(b"HTTP/1.1", answer.status, reason, http.Headers(fields), body, None, now, now)
