"""mitmproxy's filter language on what was recorded: ``~m POST & ~u /api``.

mitmproxy parses the expression, and what it means is what mitmproxy would say of the flow that `flowfiles.as_flow`
makes of a record. To make that flow and ask costs some 90 us, many times what it costs to read the record. So the
operators that people use are asked of the record itself; any other is asked of the flow. Tests hold the two against
each other.
"""

import re
from collections.abc import Callable
from functools import lru_cache

from mitmproxy import flowfilter
from mitmproxy.flowfilter import TFilter

from addons.flowfiles import as_flow
from captures.records import Headers, Record
from captures.unpacking import unpacked
from rules.exits import UserError

Matcher = Callable[[Record], bool]

_HELP = "https://docs.mitmproxy.org/stable/concepts/filters/"

_NOT_HELD = {
    "~a": "the content type of the answer",
    "~bs": "the body of the answer",
    "~comment": "comments",
    "~dst": "the address of the server",
    "~hs": "the headers of the answer",
    "~marked": "marks",
    "~marker": "marks",
    "~meta": "metadata",
    "~replay": "replayed requests",
    "~replayq": "replayed requests",
    "~replays": "replayed requests",
    "~src": "the address of the client",
    "~ts": "the content type of the answer",
    "~websocket": "messages of WebSockets",
}
"""What a recording does not hold. Such an operator would silently match nothing, or everything."""


def matcher(expression: str) -> Matcher:
    """Make the function that says of a record whether it matches. Raises UserError for what is no such expression."""
    try:
        return _compiled(flowfilter.parse(expression.strip()))
    except (ValueError, RecursionError):
        raise UserError(f"{expression!r} is not a filter: {_what_is_wrong(expression)}") from None
    except _NotHeldError as error:
        operator = str(error)
        raise UserError(
            f"the filter {expression!r} cannot be answered: {operator} asks for {_NOT_HELD[operator]}, "
            "which a recording does not hold"
        ) from None


class _NotHeldError(Exception):
    """The expression asks for what is not in a record."""


def _what_is_wrong(expression: str) -> str:
    """Say it as exactly as may be: mitmproxy only says that it is invalid."""
    how = f"write it like '~m POST & ~u /api' ({_HELP})"
    if not expression.strip():
        return f"it is empty; {how}"
    known = {text.split()[0] for text, _ in flowfilter.help}
    for operator in re.findall(r"(?<!\S)!?\(*(~\w*)", expression):
        if operator not in known:
            return f"there is no operator {operator}; {how}"
    for pattern in re.findall(r"~(?:[bdhmtu]|[bht]q)\s+(\"[^\"]*\"|'[^']*'|[^\s()~'\"]+)", expression):
        try:
            re.compile(pattern.strip("'\""))
        except re.error as error:
            return f"{pattern} is no regular expression ({error})"
    unquoted = re.sub(r"\"[^\"]*\"|'[^']*'", "", expression)
    if unquoted.count("(") != unquoted.count(")"):
        return f"its parentheses do not match; {how}"
    return how


def _compiled(node: TFilter) -> Matcher:
    """Turn mitmproxy's parsed filter into a function on records. Raises _NotHeldError."""
    match node:
        case flowfilter.FAnd():
            return _all([_compiled(part) for part in node.lst])
        case flowfilter.FOr():
            return _any([_compiled(part) for part in node.lst])
        case flowfilter.FNot():
            inner = _compiled(node.itm)
            return lambda record: not inner(record)
    if (operator := f"~{getattr(node, 'code', '')}") in _NOT_HELD:
        raise _NotHeldError(operator)
    quick = _QUICK.get(type(node))
    if quick is not None:
        return quick(node)
    return lambda record: bool(node(as_flow(record)))


def _all(parts: list[Matcher]) -> Matcher:
    if len(parts) == 2:
        first, second = parts
        return lambda record: first(record) and second(record)
    return lambda record: all(part(record) for part in parts)


def _any(parts: list[Matcher]) -> Matcher:
    return lambda record: any(part(record) for part in parts)


# --- the operators, asked of the record itself ---


def _method(node: flowfilter.FMethod) -> Matcher:
    search = node.re.search
    known = lru_cache(maxsize=64)(lambda method: bool(search(_raw(method))))
    return lambda record: known(record.method)


def _code(node: flowfilter.FCode) -> Matcher:
    number = node.num
    return lambda record: bool(record.status) and record.status == number


def _url(node: flowfilter.FUrl) -> Matcher:
    search = node.re.search
    return lambda record: search(_site(record)[0] + (record.path if record.path != "*" else "")) is not None


def _domain(node: flowfilter.FDomain) -> Matcher:
    search = node.re.search

    def matches(record: Record) -> bool:
        _, host, pretty = _site(record)
        return search(host) is not None or search(pretty) is not None

    return matches


def _site(record: Record) -> tuple[str, str, str]:
    """Give the URL up to the path, the host, and the host as the client named it."""
    named = tuple([value for name, value in record.headers if len(name) == 4 and name.lower() == b"host"])
    key = (record.scheme, record.authority, record.http_version, record.method == "CONNECT", named)
    if len(record.authority) > _SHORT or any(len(name) > _SHORT for name in named):
        return _asked_site(*key)
    return _known_site(*key)


_SHORT = 256
"""Longer names are not kept: what strangers sent must not fill the memory."""


def _asked_site(
    scheme: str, authority: str, version: str, connect: bool, named: tuple[bytes, ...]
) -> tuple[str, str, str]:
    headers: Headers = tuple((b"host", name) for name in named)
    method = "CONNECT" if connect else "GET"
    request = as_flow(
        Record(0, method, scheme, authority, "*", version, headers, b"", 0, 200, 0, 0, 0),
    ).request
    return request.pretty_url, request.host, request.pretty_host


_known_site = lru_cache(maxsize=1024)(_asked_site)


def _headers(node: flowfilter.FHead | flowfilter.FHeadRequest) -> Matcher:
    search = node.re.search

    def matches(record: Record) -> bool:
        lines = b"".join([b"%b: %b\r\n" % field for field in record.headers])
        return search(lines) is not None

    return matches


def _content_type(node: flowfilter.FContentType | flowfilter.FContentTypeRequest) -> Matcher:
    search = node.re.search
    return lambda record: any(
        len(name) == 12 and name.lower() == b"content-type" and search(value) is not None
        for name, value in record.headers
    )


def _body(node: flowfilter.FBod | flowfilter.FBodRequest) -> Matcher:
    search = node.re.search
    return lambda record: search(unpacked(record)) is not None


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _everything(_: flowfilter.FAll | flowfilter.FHTTP) -> Matcher:
    return lambda _: True


def _nothing(_: flowfilter.FTCP | flowfilter.FUDP | flowfilter.FDNS) -> Matcher:
    return lambda _: False


def _answered(_: flowfilter.FResp) -> Matcher:
    return lambda record: bool(record.status)


def _unanswered(_: flowfilter.FReq | flowfilter.FErr) -> Matcher:
    return lambda record: not record.status


_QUICK: dict[type, Callable[..., Matcher]] = {
    flowfilter.FAll: _everything,
    flowfilter.FHTTP: _everything,
    flowfilter.FTCP: _nothing,
    flowfilter.FUDP: _nothing,
    flowfilter.FDNS: _nothing,
    flowfilter.FResp: _answered,
    flowfilter.FReq: _unanswered,
    flowfilter.FErr: _unanswered,
    flowfilter.FMethod: _method,
    flowfilter.FCode: _code,
    flowfilter.FUrl: _url,
    flowfilter.FDomain: _domain,
    flowfilter.FHead: _headers,
    flowfilter.FHeadRequest: _headers,
    flowfilter.FContentType: _content_type,
    flowfilter.FContentTypeRequest: _content_type,
    flowfilter.FBod: _body,
    flowfilter.FBodRequest: _body,
}
