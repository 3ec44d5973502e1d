"""Answers that the sidecar gives instead of the app."""

from typing import Literal

from mitmproxy import http

from addons.passage import REFUSED, is_long
from rules.wire import PROBLEM_JSON, WITHHELD_HEADER, Problem

Reason = Literal["credit", "lever", "tag"]


def refuse(flow: http.HTTPFlow, status: int, reason: Reason, title: str, detail: str) -> None:
    """Answer `flow` with an RFC 9457 problem; it will not reach the app.

    What the guard withholds is marked as its own answer, so that a replayer never takes it for an error of the target.
    """
    problem = Problem(type=f"urn:reamp:{reason}", title=title, status=status, detail=detail)
    fields = {"content-type": PROBLEM_JSON, "cache-control": "no-store"}
    if reason != "tag":
        fields |= {WITHHELD_HEADER: reason, "retry-after": "1"}
    flow.metadata[REFUSED] = reason
    if is_long(flow.request):
        # mitmproxy would collect the whole body before it sends an answer. What is refused is not worth the memory.
        flow.kill()
        return
    # An answer to HEAD has no body, whatever it says of its length.
    body = b"" if flow.request.method == "HEAD" else problem.model_dump_json().encode()
    flow.response = http.Response.make(status, body, fields)
