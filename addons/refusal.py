"""Answers that the sidecar gives instead of the app."""

from mitmproxy import http

from addons.passage import REFUSED, has_open_end, is_long
from rules.wire import PROBLEM_JSON, WITHHELD_HEADER, Problem, Withheld

_BARE = ("GET", "HEAD", "OPTIONS")
"""Methods of requests that come without a body, but for those that mean harm."""


def refuse(flow: http.HTTPFlow, status: int, reason: Withheld, title: str, detail: str) -> None:
    """Answer `flow` with an RFC 9457 problem; it will not reach the app.

    It is marked as the sidecar's own answer, so that a replayer never takes it for one of the target.
    """
    problem = Problem(type=f"urn:reamp:{reason}", title=title, status=status, detail=detail)
    fields = {"content-type": PROBLEM_JSON, "cache-control": "no-store", WITHHELD_HEADER: reason}
    if reason != "tag":  # which will be no better in a second
        fields["retry-after"] = "1"
    flow.metadata[REFUSED] = reason
    if is_long(flow.request) or (has_open_end(flow.request) and flow.request.method not in _BARE):
        # mitmproxy would collect the whole body before it sends an answer. What is refused is not worth the memory.
        flow.kill()
        return
    # An answer to HEAD has no body, whatever it says of its length.
    body = b"" if flow.request.method == "HEAD" else problem.model_dump_json().encode()
    flow.response = http.Response.make(status, body, fields)
