"""What the add-ons know of one request on its way: its kind, kept in the flow's metadata.

Only text, bytes and tuples of them go into the metadata, so that stock mitmproxy can still save flows with it.
"""

from mitmproxy import http

from addons.books import Kind
from addons.glance import CODING, glance

KIND = "reamp_kind"
RUN = "reamp_run"
REFUSED = "reamp_refused"
"""Why it was not the app that answered: `rules.wire.Withheld`; at a tap `COPIED`, or `EXCESS` beyond the credit."""

CALL = "reamp_call"
"""Of a call through the egress, see `addons.egress.marks`."""

HELD_BACK = ("synthetic", "dark")
"""What `CALL` says of calls that users have nothing to do with: they are marked, kept from third parties, sent once."""

KEPT = "reamp_kept"
"""Of a call that the egress answers itself: how many bytes of its body are kept while it is read to its end."""

BODY_SIZE = "reamp_body_size"
"""Of a copy without its whole body: how many bytes that has."""

COPIED, EXCESS = "copied", "excess"

STREAM_ABOVE = 64 * 1024
"""Bytes of a body from which it is passed on as it comes instead of whole."""


def is_long(message: http.Message) -> bool:
    """Whether the body is long or of unknown length."""
    data = message.data
    found, length, _ = glance(data.headers.fields)
    if length is not None:
        return _is_long(length)
    return bool(found & CODING) or (isinstance(data, http.ResponseData) and data.status_code not in (101, 204, 304))


def has_open_end(request: http.Request) -> bool:
    """Whether nothing tells how much may come, as with HTTP/2, where the last frame says that it is the last.

    Such a body is passed on as it comes: mitmproxy would collect it in memory, without any bound.
    """
    data = request.data
    return data.http_version.startswith((b"HTTP/2", b"HTTP/3")) and glance(data.headers.fields)[1] is None


def _is_long(length: bytes) -> bool:
    if not length.isdigit():
        return True
    # Few digits are common, and too many of them could not even be read.
    return len(length) > 4 and (len(length) > 18 or int(length) > STREAM_ABOVE)


def kind_of(flow: http.HTTPFlow) -> Kind:
    """Tell a flow's kind. A flow that nobody classified counts as untrusted: it earns nothing and is not recorded."""
    return Kind(flow.metadata.get(KIND, Kind.UNTRUSTED))
