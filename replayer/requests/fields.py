"""What becomes of a recorded header field, by its name alone. Pure; docs/replay.md has the same as a table for people.

As recorded, unless that would break the request (fields that belong to another connection), tell something untrue of it
(when it was sent, which proxies it has passed), pollute what others rely on (the traces of real users), or make servers
swallow it (idempotency keys).
"""

import re
from collections.abc import Iterable
from enum import Enum
from functools import cache
from typing import Any

import re2

import loadtag.headers

FRAMING = frozenset((b"host", b"content-length", b"expect"))
"""Fields that the sender writes anew for every request: they belong to this connection and this body."""

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding"
    b" upgrade http2-settings".split()
)
"""Fields between two neighbours on the way, never for the far end (RFC 9110, 7.6.1; RFC 9113, 8.2.2)."""

OPTIONS = HOP_BY_HOP | {b"close"}
"""What `Connection` may name without taking anything of the request with it: such fields are never sent. (``close`` is
reserved for this use: RFC 9112, 9.6.)"""

OVERRIDES = frozenset((b"x-http-method-override", b"x-http-method", b"x-method-override"))
"""Fields by which a request asks to be taken for one of another method."""

TRACES = (
    *("traceparent", "tracestate", "grpc-trace-bin"),  # W3C Trace Context, OpenCensus
    *("b3", "x-b3-*", "uber-trace-id", "x-ot-span-context", "ot-tracer-*"),  # Zipkin, Jaeger, OpenTracing
    *("x-amzn-trace-id", "x-cloud-trace-context"),  # AWS, Google Cloud
    *("x-datadog-*", "newrelic", "x-newrelic-*", "sentry-trace", "elastic-apm-traceparent"),
    *("sw8", "sw8-*", "request-id", "request-context", "x-dynatrace", "x-instana-*"),
)
"""Contexts of traces. A request that bore a recorded one would hang its spans into the trace of a real user, hours
after that ended; without one the target begins a trace of its own (W3C Trace Context, 3.2)."""

STALE = ("date", "x-request-start", "x-queue-start")
"""When the request was sent or reached a balancer: from it servers compute how long it waited, or refuse it as old."""

PASSED = ("cdn-loop",)
"""Which networks it has passed (RFC 8586): sent to one of them again it would be refused as going round in circles."""

LEFT_OUT = (*TRACES, *STALE, *PASSED)

KEYS = (
    *("idempotency-key", "x-idempotency-key", "idempotence-key", "x-idempotence-key"),
    *("paypal-request-id", "repeatability-request-id"),
)
"""By these a server knows a write that it has seen, and answers without doing it again (draft-ietf-httpapi-idempotency-
key-header; PayPal's and OData's own)."""

WRITE_KEYS = ("x-request-id",)
"""In most requests a name to find them by in logs; some servers take it for an idempotency key of writes."""


class Names:
    """Names of fields by patterns: ``X-Forwarded-*``. Letters large or small, ``*`` is any number of characters."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self.patterns = tuple(patterns)
        expression = "|".join(re.escape(pattern).replace(r"\*", ".*") for pattern in self.patterns)
        self._regex = compiled(f"(?is:{expression})") if self.patterns else None

    def __contains__(self, name: bytes) -> bool:
        return self._regex is not None and self._regex.fullmatch(name) is not None


class Kind(Enum):
    """What is done with a field."""

    KEEP = 1
    DROP = 2
    COOKIE = 3  # several are joined to one
    CONNECTION = 4
    UPGRADE = 5
    TAG = 6  # where a load tag may be: baggage, x-load-test and what could pass for them
    OVERRIDE = 7  # kept, if the other method may be sent too
    RENEW = 8
    RENEW_IN_WRITES = 9
    MALFORMED = 10
    TE = 11  # left out; but HTTP/2 may say that trailers are understood


_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def is_name(name: bytes) -> bool:
    """Whether a field can have this name (RFC 9110, 5.6.2)."""
    return _NAME.fullmatch(name) is not None


_FIXED = dict.fromkeys(OPTIONS | FRAMING, Kind.DROP) | {
    b"connection": Kind.CONNECTION,
    b"upgrade": Kind.UPGRADE,
    b"te": Kind.TE,
}

_HTTP = re.compile(rb"(?i:h2c?|http/[0-9.]+|tls/[0-9.]+)")


def listed(values: Iterable[bytes]) -> list[bytes]:
    """Give the members of fields that are lists (RFC 9110, 5.6.1)."""
    return [member for member in (part.strip(b" \t") for part in b",".join(values).split(b",")) if member]


def leaves_http(upgrades: Iterable[bytes]) -> bool:
    """Whether `Upgrade` fields offer to go on in what is not HTTP, as a WebSocket does.

    Another version of HTTP, or TLS beneath it, is an offer that any server may decline: without it the request is the
    same (RFC 9110, 7.8).
    """
    return not all(map(_HTTP.fullmatch, listed(upgrades)))


def takes_trailers(values: Iterable[bytes]) -> bool:
    """Whether `TE` fields say that trailers are understood: all that HTTP/2 may say (RFC 9113, 8.2.2)."""
    return b"trailers" in [member.lower() for member in listed(values)]


def kind_of(name: bytes, *, dropped: bool = False, kept: bool = False, renewed: bool = False) -> Kind:
    """Say what is done with fields of this name, and of it if the user wants it dropped, kept or renewed."""
    if not is_name(name):
        return Kind.MALFORMED
    # These are looked at whatever the user wants left out: a tagged record is not sent, tag or no tag.
    if loadtag.headers.find([(name, b"loadtest=v1")]):
        return Kind.TAG
    lower = name.lower()
    return _FIXED.get(lower) or (
        Kind.DROP
        if dropped
        else Kind.OVERRIDE
        if lower.replace(b"_", b"-") in OVERRIDES
        else Kind.RENEW
        if renewed
        else Kind.COOKIE
        if lower == b"cookie"
        else Kind.KEEP
        if kept
        else _usual(name)
    )


def _usual(name: bytes) -> Kind:
    for patterns, kind in ((LEFT_OUT, Kind.DROP), (KEYS, Kind.RENEW), (WRITE_KEYS, Kind.RENEW_IN_WRITES)):
        if name in _names(patterns):
            return kind
    return Kind.KEEP


@cache
def _names(patterns: tuple[str, ...]) -> Names:
    return Names(patterns)


def compiled(expression: str) -> Any:
    """Compile an expression of RE2 for bytes. Raises ValueError with RE2's words."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes, as they are on the wire
    options.log_errors = False
    try:
        return re2.compile(expression.encode("utf-8", "surrogateescape"), options)
    except re2.error as error:
        said = error.args[0] if error.args else error
        raise ValueError(said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)) from None
