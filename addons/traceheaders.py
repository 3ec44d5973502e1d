"""Trace ids in raw header fields: found in what arrives, and written for those that bear none. Pure.

An app whose tracing passes a trace on says, with every call that it makes, which request the call is made for. Known
here are W3C Trace Context (https://www.w3.org/TR/trace-context/), B3 in one header and in several
(https://github.com/openzipkin/b3-propagation) and Datadog's headers. Of each id only the low 64 bits count: it is what
all of them have in common, so a trace is the same one whichever header it comes in, also where a library in the
middle turns one into another.

Finding is generous about what is around an id, and strict about the id. No input makes `find` raise.
"""

import re
from collections.abc import Iterable
from typing import Literal, get_args

Fields = Iterable[tuple[bytes, bytes]]

Style = Literal["traceparent", "b3", "b3multi", "datadog"]
STYLES: tuple[Style, ...] = get_args(Style)

NAMES = frozenset({b"traceparent", b"b3", b"x-b3-traceid", b"x-datadog-trace-id"})
"""The names, in small letters, of the headers that a trace's id is in."""

LOW = (1 << 64) - 1

_PARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?", re.IGNORECASE)
_B3 = re.compile(rb"([0-9a-f]{16}(?:[0-9a-f]{16})?)-[0-9a-f]{16}(?:-.*)?", re.IGNORECASE)
_HEX = re.compile(rb"[0-9a-f]{16}(?:[0-9a-f]{16})?", re.IGNORECASE)
_DECIMAL = re.compile(rb"[0-9]{1,20}")


def find(fields: Fields) -> tuple[int, ...]:
    """Give the low 64 bits of the trace ids that the fields bear, each once: mostly none or one.

    Of several in headers of one name the first and the last, of which an app may take either: so nobody hides one from
    us behind others, and nobody fills our memory with many.
    """
    first: dict[bytes, int] = {}
    last: dict[bytes, int] = {}
    for name, value in fields:
        # Three lengths are all that these names have.
        if len(name) in _LENGTHS and (known := spelled(name)) in NAMES and (key := _key(known, value.strip(b" \t"))):
            first.setdefault(known, key)
            last[known] = key
    return tuple({**dict.fromkeys(first.values()), **dict.fromkeys(last.values())})


def write(style: Style, trace: int, span: int, *, sampled: bool) -> list[tuple[bytes, bytes]]:
    """Give the fields with which a request begins a trace. `trace`: 128 bits, `span`: 64 bits, neither zero.

    Not `sampled` asks tracing to pass the trace on without keeping it: it makes spans that nobody has to store.
    """
    mark = b"%d" % sampled
    if style == "traceparent":
        return [(b"traceparent", b"00-%032x-%016x-%02x" % (trace, span, sampled))]
    if style == "b3":
        return [(b"b3", b"%032x-%016x-%b" % (trace, span, mark))]
    if style == "b3multi":
        return [(b"x-b3-traceid", b"%032x" % trace), (b"x-b3-spanid", b"%016x" % span), (b"x-b3-sampled", mark)]
    return [
        (b"x-datadog-trace-id", b"%d" % (trace & LOW)),
        (b"x-datadog-parent-id", b"%d" % span),
        (b"x-datadog-sampling-priority", mark),
        (b"x-datadog-tags", b"_dd.p.tid=%016x" % (trace >> 64)),
    ]


def came_of(fields: Fields, begun: Fields) -> list[tuple[bytes, bytes]]:
    """Give the field that says in a trace that was begun in the place of another, which one that was.

    Only W3C Trace Context has a place for that.
    """
    parents = (_PARENT.fullmatch(value.strip(b" \t")) for name, value in fields if spelled(name) == b"traceparent")
    found = next((one[1].lower() for one in parents if one), None)
    begins = any(name == b"traceparent" for name, _ in begun)
    return [(b"tracestate", b"reamp=" + found)] if found and begins else []


def strip(fields: Fields) -> list[tuple[bytes, bytes]]:
    """Remove every header that says of which trace a request is, and what goes with it."""
    return [(name, value) for name, value in fields if not _BELONGS.fullmatch(spelled(name))]


def spelled(name: bytes) -> bytes:
    """Give a name in small letters, and with hyphens: some gateways (WSGI, CGI) make the same variable of either."""
    return name.lower().replace(b"_", b"-")


_LENGTHS = frozenset(map(len, NAMES))

_BELONGS = re.compile(rb"traceparent|tracestate|b3|x-b3-[a-z]+|x-datadog-[a-z-]+", re.IGNORECASE)


def _key(name: bytes, value: bytes) -> int:
    """Give the low 64 bits of the id in one header; 0 if there is none."""
    if name == b"x-datadog-trace-id":
        return (int(value) & LOW) if _DECIMAL.fullmatch(value) else 0
    if name == b"x-b3-traceid":
        return int(value[-16:], 16) if _HEX.fullmatch(value) else 0
    match = (_PARENT if name == b"traceparent" else _B3).fullmatch(value)
    return int(match[1][-16:], 16) if match else 0
