"""Add-on: tells the app, and whoever else is on the way, what the sidecar hides: the peer, and the sidecar itself.

It comes after `capture`, whose records hold what the client sent.
"""

import re

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader

_PSEUDONYM = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""A token (RFC 9110, 5.6.2). The other form, an address, would tell the world about the network behind."""


class Forwarded:
    """Adds `X-Forwarded-*` to requests, and `Via` to requests and answers, as it is told to."""

    def __init__(self) -> None:
        self._forwarded = False
        self._via = ""

    def load(self, loader: Loader) -> None:
        """Declare the options."""
        loader.add_option(
            "reamp_forwarded",
            bool,
            False,
            "Tell the app who asked: append the client to X-Forwarded-For, and set X-Forwarded-Proto and -Host if they"
            " are not there.",
        )
        loader.add_option(
            "reamp_via", str, "", "Name of this sidecar in the Via header of requests and answers. Empty: no header."
        )

    def configure(self, updated: set[str]) -> None:
        """Take the options over."""
        name = ctx.options.reamp_via
        if name and not _PSEUDONYM.fullmatch(name):
            raise exceptions.OptionsError(
                f"reamp_via: {name!r} has to be a plain name: letters, digits and any of !#$%&'*+-.^_`|~"
            )
        self._forwarded = ctx.options.reamp_forwarded
        self._via = name

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Tell the app."""
        request = flow.request
        if self._forwarded:
            peer = flow.client_conn.peername
            if peer:
                _append(request.headers, "X-Forwarded-For", peer[0])
            if "X-Forwarded-Proto" not in request.headers:
                request.headers["X-Forwarded-Proto"] = "https" if flow.client_conn.tls else "http"
            host = request.host_header
            if host and "X-Forwarded-Host" not in request.headers:
                request.headers["X-Forwarded-Host"] = host
        if self._via:
            _append(request.headers, "Via", f"{_version(request)} {self._via}")

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Tell the client."""
        if self._via and flow.response:
            _append(flow.response.headers, "Via", f"{_version(flow.response)} {self._via}")


def _version(message: http.Message) -> str:
    """Give the version a message was received in, as Via names it (RFC 9110, 7.6.3)."""
    name, _, number = message.http_version.partition("/")
    number = number.removesuffix(".0") if number in ("2.0", "3.0") else number
    return number if name == "HTTP" and number else "1.1"


def _append(headers: http.Headers, name: str, value: str) -> None:
    """Add to a list. Several fields of that name become one, in order (RFC 9110, 5.3)."""
    before = headers.get(name)
    headers[name] = f"{before}, {value}" if before else value
