"""What the add-ons know of one request on its way: its kind, kept in the flow's metadata.

Only plain text goes into the metadata, so that stock mitmproxy can still save flows with it.
"""

from enum import StrEnum

from mitmproxy import http


class Kind(StrEnum):
    """Every request is exactly one of these."""

    REAL = "real"
    SYNTHETIC = "synthetic"
    UNTRUSTED = "untrusted"


KIND = "reamp_kind"
RUN = "reamp_run"
REFUSED = "reamp_refused"


STREAM_ABOVE = 64 * 1024
"""Bytes of a body from which it is passed on as it comes instead of whole."""


def is_long(message: http.Message) -> bool:
    """Whether the body is long or of unknown length."""
    length = message.headers.get("content-length")
    if length is None:
        return "transfer-encoding" in message.headers or (
            isinstance(message, http.Response) and message.status_code not in (101, 204, 304)
        )
    return not length.isdecimal() or int(length) > STREAM_ABOVE


def kind_of(flow: http.HTTPFlow) -> Kind:
    """Tell a flow's kind. A flow that nobody classified counts as untrusted: it earns nothing and is not recorded."""
    return Kind(flow.metadata.get(KIND, Kind.UNTRUSTED))


def milestone_ns(timestamp: float | None) -> int:
    """Turn one of mitmproxy's time stamps (unix seconds) into unix nanoseconds."""
    return round(timestamp * 1e9) if timestamp else 0
