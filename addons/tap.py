"""Add-on: answers copies of requests, at a tap. The requests themselves are with the app, by another way.

Whoever copies waits for the end of an answer that nobody reads, so it is given as soon as the request is there: 204.
What the proxy that copied has changed of the request is changed back before it is recorded.
"""

from time import time

from mitmproxy import http

from addons.glance import HOST, Fields, glance
from addons.internals.flows import makers
from addons.passage import BODY_SIZE, COPIED, REFUSED

_BODY_SIZE, _DIGITS = b"x-reamp-body-size", 15
"""In this field, proxies that send no body, or only its beginning, tell how long it is. More digits are none."""

_LENGTH = len(_BODY_SIZE)

_SHADOW = b"-shadow"
"""What Envoy appends to the host of a copy (before its port), if it is not told to leave that."""


class Tap:
    """Answers every request itself."""

    def __init__(self) -> None:
        _, self._new_response = makers()

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Set the answer, and the host to what it was. The answer is sent when the body is there."""
        if flow.error is not None:
            return  # malformed: it is refused
        flow.metadata.setdefault(REFUSED, COPIED)
        data = flow.request.data
        data.headers.fields = fields = self._without_size(flow, data.headers.fields)
        found, _, host = glance(fields)
        if found & HOST and host and (known := unshadowed(host)) != host:
            data.headers.fields = tuple([(name, known if value is host else value) for name, value in fields])
        if data.authority:  # HTTP/2 has it there
            data.authority = unshadowed(data.authority)
        flow.response = self._new_response(b"HTTP/1.1", 204, b"No Content", (), time())
        flow.response.data.content = b""

    @staticmethod
    def _without_size(flow: http.HTTPFlow, fields: Fields) -> Fields:
        """Note how long the body is if not all of it is copied, and take that off: the user did not send it."""
        sizes = [value for name, value in fields if len(name) == _LENGTH and name.lower() == _BODY_SIZE]
        if not sizes:
            return fields
        if sizes[0].isdigit() and len(sizes[0]) <= _DIGITS:
            flow.metadata[BODY_SIZE] = int(sizes[0])
        return tuple([field for field in fields if field[0].lower() != _BODY_SIZE])


def unshadowed(host: bytes) -> bytes:
    """Give a host without Envoy's mark: ``shop.example-shadow:8000`` is ``shop.example:8000``."""
    name, colon, port = host.rpartition(b":")
    if not port.isdigit():
        name, colon, port = host, b"", b""
    return name.removesuffix(_SHADOW) + colon + port if name != _SHADOW else host
