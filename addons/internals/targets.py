"""Request lines of calls read without parsing the same host anew each time.

An app calls few hosts, and mitmproxy parses each absolute target twice, IDNA included: a fifth of the time of a call.
Here what stands before the path is parsed once, by mitmproxy, and remembered. Tested with mitmproxy 12.2.
"""

import re
from collections.abc import Callable
from typing import Any

from mitmproxy.net.http.http1 import read

from addons.internals.trial import expect, passes

Line = tuple[str, int, bytes, bytes, bytes, bytes, bytes]

_ABSOLUTE = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}) (https?://[0-9A-Za-z.:\-]{1,255})(/[!-~]*) (HTTP/1\.[01])"
)
"""Nothing that needs a closer look: plain hosts, printable paths."""

REMEMBERED = 1024
"""Hosts after which all are forgotten."""


def read_targets_quickly() -> None:
    """Have request lines read so, in this process."""
    if passes("reading request lines by known hosts", _self_test) and not isinstance(_read(), _Quick):
        setattr(read, "_read_request_line", _Quick(_read()))  # noqa: B010 - a function of a typed module


def _read() -> Callable[[bytes], Line]:
    found: Callable[[bytes], Line] = getattr(read, "_read_request_line")  # noqa: B009
    return found


class _Quick:
    """What reads request lines, with a memory of hosts."""

    def __init__(self, plainly: Callable[[bytes], Line]) -> None:
        self._plainly = plainly
        self._known: dict[bytes, tuple[str, int, bytes, bytes]] = {}

    def __call__(self, line: bytes) -> Line:
        match = _ABSOLUTE.fullmatch(line)
        if match is None or match[1] == b"CONNECT":
            return self._plainly(line)
        method, before, path, version = match.groups()
        known = self._known.get(before)
        if known is None:
            host, port, _, scheme, authority, _, _ = self._plainly(line)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[before] = host, port, scheme, authority
        host, port, scheme, authority = known
        return host, port, method, scheme, authority, path, version


def _self_test() -> None:
    plainly: Any = _read()
    plainly = plainly._plainly if isinstance(plainly, _Quick) else plainly  # noqa: SLF001
    quick = _Quick(plainly)
    for line in (
        b"GET http://a.example/ HTTP/1.1",
        b"GET http://a.example/b//c?d=http://e/ HTTP/1.1",
        b"PUT https://127.0.0.1:8443/x HTTP/1.0",
        b"GET /x HTTP/1.1",
        b"CONNECT a:443 HTTP/1.1",
    ):
        expect(quick(line) == quick(line) == plainly(line), f"{line!r} is read in another way")
