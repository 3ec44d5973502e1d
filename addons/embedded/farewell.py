"""Add-on, put in when a sidecar is about to end: tells each client that the answer is the last on its connection."""

from mitmproxy import http


class Farewell:
    """For the full lane; the fast one does the same by itself.

    Told so, a client opens another connection in time. Merely closing would meet some in the middle of their next
    request.
    """

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Say so in the answer, upon which mitmproxy closes the connection."""
        if flow.response and flow.response.status_code != 101:
            flow.response.headers["connection"] = "close"
