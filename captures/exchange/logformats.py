"""How servers write their access logs: nginx's ``log_format``, Apache's ``LogFormat``, JSON objects. Pure.

A format becomes a pattern and a list of fields. There is a library for Apache's directives (apachelogs) and none for
nginx's variables that knows how it escapes; both are the same idea, so there is one compiler here. Its patterns never
go back: what is between two literals ends where the second one begins, so no line costs more than its length.

nginx writes a line when a request has ended and tells that time; Apache tells when the request began.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from captures.errors import CaptureError


class Field(NamedTuple):
    """What a variable says."""

    what: str
    """`request`, `method`, `target`, `path`, `query`, `protocol`, `host`, `port`, `scheme`, `status`, `size`, `length`,
    `header`, `begin` and `end` (times), `duration`, `ttfb`; empty for what a record has no place for."""
    form: str = ""
    """Of a header its name; of times and durations the unit (`s`, `ms`, `us`, `ns`, `iso`, `clf`, `auto`), a pattern of
    `strptime`, or `+ms` and `+us` for what is to be added to a time."""


Values = list[tuple[Field, str]]
"""What a line says, bytes that are no UTF-8 as surrogates, without what is ``-``."""

NOTHING = Field("")

NAMED = {
    "combined": '%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"',
    "common": '%h %l %u %t "%r" %>s %b',
    "vhost_combined": '%v:%p %h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i"',
    "main": '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
    '"$http_user_agent" "$http_x_forwarded_for"',
    "upstreaminfo": '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
    '"$http_user_agent" $request_length $request_time [$proxy_upstream_name] [$proxy_alternative_upstream_name] '
    "$upstream_addr $upstream_response_length $upstream_response_time $upstream_status $req_id",
}
"""Formats that have a name. nginx writes `combined` as Apache does; the first three tell no duration, so whether a time
is that of the beginning or the end makes no difference. `main` is what nginx's own packages and images are set to log;
`upstreaminfo` is what Kubernetes' ingress-nginx logs (its User Guide, "Log format")."""

GUESSED = ("upstreaminfo", "main", "combined", "vhost_combined", "common")
"""What a log is held against: `common` last, for it takes whatever follows for the size."""

_NGINX: dict[str, Field] = {
    "request": Field("request"),
    "request_method": Field("method"),
    "request_uri": Field("target"),
    "uri": Field("path"),
    "document_uri": Field("path"),
    "args": Field("query"),
    "query_string": Field("query"),
    "server_protocol": Field("protocol"),
    "scheme": Field("scheme"),
    "host": Field("host"),
    "http_host": Field("host"),
    "status": Field("status"),
    "body_bytes_sent": Field("size"),
    "content_length": Field("length"),
    "content_type": Field("header", "Content-Type"),
    "time_local": Field("end", "clf"),
    "time_iso8601": Field("end", "iso"),
    "msec": Field("end", "s"),
    "request_time": Field("duration", "s"),
    "upstream_response_time": Field("upstream", "s"),
    "upstream_header_time": Field("ttfb", "s"),
}

_APACHE: dict[str, Field] = {
    "r": Field("request"),
    "m": Field("method"),
    "U": Field("path"),
    "q": Field("query"),
    "H": Field("protocol"),
    "v": Field("server"),
    "V": Field("server"),
    "p": Field("port"),
    "s": Field("status"),
    "b": Field("size"),
    "B": Field("size"),
    "t": Field("begin", "clf"),
    "D": Field("duration", "us"),
    "T": Field("duration", "s"),
}
_APACHE_OTHERS = frozenset({*"aACefhiIklLnoOPRSuX", "^FB", "^ti", "^to"})
_APACHE_TIMES = {
    "sec": Field("begin", "s"),
    "msec": Field("begin", "ms"),
    "usec": Field("begin", "us"),
    "msec_frac": Field("begin", "+ms"),
    "usec_frac": Field("begin", "+us"),
}

_NGINX_VARIABLE = re.compile(r"\$(?:([a-z0-9_]+)|\{([a-z0-9_]+)\})", re.IGNORECASE)
_APACHE_DIRECTIVE = re.compile(r"%(?:!?\d{3}(?:,\d{3})*)?[<>]?(?:\{([^}]*)\})?[<>]?(\^[A-Za-z]{2}|[A-Za-z%])")
_UPSTREAM = b"[^ ,%b]++"
"""One of those that were asked for a request; several stand like `10.0.0.1:80, 10.0.0.2:80 : unix:/tmp/socket`."""
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|u00([0-9a-fA-F]{2})|(.))", re.DOTALL)
_CONTROLS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


class Format(NamedTuple):
    """A compiled format: `read` gives what a line says, or None if the line is not of this format."""

    name: str
    read: Callable[[bytes], Values | None]


def compiled(text: str) -> Format:
    """Compile a name, a format string of nginx or Apache, or a JSON mapping. Raises CaptureError."""
    text = text.strip()
    if text == "json":
        return Format("json", _json_line)
    if text in NAMED:
        return Format(text, _matcher((_nginx if "$" in NAMED[text] else _apache)(NAMED[text])))
    if text.startswith("{") and "$" not in text and not _APACHE_DIRECTIVE.search(text):
        return Format("json", _mapped(text))
    if found := re.fullmatch(r"log_format\s+\S+(?:\s+escape=\w+)?\s+(.*?);?", text, re.DOTALL):
        text = "".join(_quoted(found[1]))
    if "$" in text and not re.search(r"%[<>]?[a-zA-Z{]", text):
        return Format("nginx", _matcher(_nginx(text)))
    if "%" in text:
        return Format("Apache", _matcher(_apache(text.replace('\\"', '"').replace("\\t", "\t"))))
    raise CaptureError(
        f"--log-format: {text[:80]!r} is none: give {', '.join(NAMED)}, json, a format string of nginx "
        "($variables) or Apache (%directives), or a mapping like "
        '{"time":"ts","method":"verb","target":"url","status":"code","duration":"took:ms"}'
    )


def _quoted(text: str) -> list[str]:
    return [single or double for single, double in re.findall(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"", text)]


_Parts = list[tuple[str, Field | None]]
"""Literals and, where the second is no None, variables with their names."""


def _nginx(text: str) -> _Parts:
    parts: _Parts = []
    position = 0
    for match in _NGINX_VARIABLE.finditer(text):
        parts.append((text[position : match.start()], None))
        name = (match[1] or match[2]).lower()
        field = _NGINX.get(name)
        if field is None:
            field = Field("header", _header(name[5:])) if name.startswith("http_") else NOTHING
        parts.append((name, field))
        position = match.end()
    return [*parts, (text[position:], None)]


def _apache(text: str) -> _Parts:
    parts: _Parts = []
    position = 0
    for match in _APACHE_DIRECTIVE.finditer(text):
        parts.append((text[position : match.start()], None))
        argument, name = match.groups()
        position = match.end()
        if name == "%":
            parts[-1] = (parts[-1][0] + "%", None)
        else:
            parts.append((name, _directive(name, argument)))
    return [*parts, (text[position:], None)]


def _directive(name: str, argument: str | None) -> Field:
    if argument is None or name == "p":
        field = _APACHE.get(name)
        if field is None and name not in _APACHE_OTHERS:
            raise CaptureError(f"--log-format: %{name} is no directive of Apache's")
        return field or NOTHING
    if name == "i":
        return Field("host") if argument.lower() == "host" else Field("header", argument)
    if name == "T" and argument in {"s", "ms", "us"}:
        return Field("duration", argument)
    if name == "t":
        which, _, form = argument.rpartition(":") if argument.startswith(("begin:", "end:")) else ("", "", argument)
        field = _APACHE_TIMES.get(form, Field("begin", form))
        return field._replace(what="end") if which == "end" else field
    return NOTHING


def _header(name: str) -> str:
    """Give a header the way most clients write it: nginx only knows it in small letters."""
    return "-".join(part.capitalize() for part in name.split("_"))


def _matcher(parts: _Parts) -> Callable[[bytes], Values | None]:
    """Make the function that reads lines of a format. Raises CaptureError."""
    joined: _Parts = []
    for text, field in parts:
        if field is None and joined and joined[-1][1] is None:
            joined[-1] = (joined[-1][0] + text, None)
        elif text or field is not None:
            joined.append((text, field))
    pattern, fields = b"", []
    for number, (text, field) in enumerate(joined):
        if field is None:
            pattern += re.escape(text.encode())
            continue
        following = joined[number + 1] if number + 1 < len(joined) else ("", None)
        if following[1] is not None:
            raise CaptureError(f"--log-format: nothing stands between {text} and {following[0]}: no line can be read")
        before = joined[number - 1][0] if number else ""
        fields.append(field)
        pattern += _value(text, field, before, following[0].encode())
    if not any(field.what in {"request", "target", "path"} for field in fields):
        raise CaptureError("--log-format: it holds no request: $request, $request_uri, %r or %U is needed")
    matching = re.compile(pattern, re.DOTALL)

    def read(line: bytes) -> Values | None:
        match = matching.fullmatch(line)
        if not match:
            return None
        return [
            (field, unescaped(value))
            for field, value in zip(fields, match.groups(), strict=True)
            if field.what and value != b"-" and value
        ]

    return read


def _value(name: str, field: Field, before: str, after: bytes) -> bytes:
    """Give the pattern of what a variable can stand for, by what stands around it."""
    if name.startswith("upstream_") and after and not before.endswith('"'):
        one = _UPSTREAM % re.escape(after[:1])
        return b"(" + one + b"(?:(?:, | : )" + one + b")*+)"
    if name == "t" and field.form == "clf":
        return rb"(\[[^\]]*+\])"
    if name == "t" and " " in field.form:
        return b"(" + b" ".join([b"[^ ]*+"] * (field.form.count(" ") + 1)) + b")"
    if before.endswith('"') and after.startswith(b'"'):
        return rb'([^"\\]*+(?:\\.[^"\\]*+)*+)'
    if not after:
        return b"(.*)"
    return b"([^" + re.escape(after[:1]) + b"]*+)"


def unescaped(value: bytes) -> str:
    """Undo what servers do to quotes, backslashes and bytes that do not print."""
    if b"\\" in value:
        value = _ESCAPE.sub(_byte, value)
    return value.decode("utf-8", "surrogateescape")


def _byte(match: re.Match[bytes]) -> bytes:
    code = match[1] or match[2]
    return bytes([int(code, 16)]) if code else _CONTROLS.get(match[3], match[3])


# --- JSON ---

_CADDY: dict[str, Field] = {
    "ts": Field("end", "auto"),
    "request.method": Field("method"),
    "request.host": Field("host"),
    "request.uri": Field("target"),
    "request.proto": Field("protocol"),
    "status": Field("status"),
    "size": Field("size"),
    "bytes_read": Field("length"),
    "duration": Field("duration", "s"),
}
_TRAEFIK: dict[str, Field] = {
    "StartUTC": Field("begin", "iso"),
    "StartLocal": Field("begin", "iso"),
    "time": Field("end", "auto"),
    "RequestMethod": Field("method"),
    "RequestHost": Field("host"),
    "RequestAddr": Field("host"),
    "RequestPath": Field("target"),
    "RequestProtocol": Field("protocol"),
    "RequestScheme": Field("scheme"),
    "RequestContentSize": Field("length"),
    "DownstreamStatus": Field("status"),
    "DownstreamContentSize": Field("size"),
    "Duration": Field("duration", "ns"),
}
_ENVOY: dict[str, Field] = {
    "start_time": Field("begin", "auto"),
    "method": Field("method"),
    "authority": Field("host"),
    ":authority": Field("host"),
    "path": Field("target"),
    "protocol": Field("protocol"),
    "response_code": Field("status"),
    "bytes_sent": Field("size"),
    "bytes_received": Field("length"),
    "duration": Field("duration", "ms"),
    "user_agent": Field("header", "User-Agent"),
    "x_forwarded_for": Field("header", "X-Forwarded-For"),
    "request_id": Field("header", "X-Request-Id"),
}
_PLAIN: dict[str, Field] = {
    **{name: field for name, field in _NGINX.items() if name != "path"},
    "time_local": Field("end", "clf"),
    "time": Field("end", "auto"),
    "ts": Field("end", "auto"),
    "timestamp": Field("end", "auto"),
    "@timestamp": Field("end", "auto"),
    "msec": Field("end", "auto"),
    "method": Field("method"),
    "request_uri": Field("target"),
    "url": Field("target"),
    "path": Field("target"),
    "uri": Field("target"),
    "protocol": Field("protocol"),
    "bytes": Field("size"),
    "size": Field("size"),
    "bytes_sent": Field("size"),
    "response_time": Field("duration", "s"),
    "duration": Field("duration", "s"),
    "duration_ms": Field("duration", "ms"),
    "latency_ms": Field("duration", "ms"),
    "user_agent": Field("header", "User-Agent"),
    "referer": Field("header", "Referer"),
    "referrer": Field("header", "Referer"),
}

_MAPPABLE = {
    "time": Field("end", "auto"),
    "begin": Field("begin", "auto"),
    "end": Field("end", "auto"),
    "duration": Field("duration", "s"),
    "ttfb": Field("ttfb", "s"),
    **{
        name: Field(name)
        for name in (
            *("request", "method", "target", "path", "query", "protocol", "host", "scheme", "status", "size", "length"),
        )
    },
}


def _json_line(line: bytes) -> Values | None:
    value = _object(line)
    if value is None:
        return None
    request = value.get("request")
    if isinstance(request, dict):
        found = _picked(value, _CADDY)
        headers = request.get("headers")
        for name, several in headers.items() if isinstance(headers, dict) else ():
            if isinstance(several, list) and name.lower() != "host":
                found += [(Field("header", name), one) for one in several if isinstance(one, str)]
        return found
    if "RequestMethod" in value:
        return _picked(value, _TRAEFIK) + _headers(value, "request_")
    if "response_code" in value:
        return _picked(value, _ENVOY)
    return _picked(value, _PLAIN) + _headers(value, "http_")


def _mapped(text: str) -> Callable[[bytes], Values | None]:
    """Read ``{"time": "ts", "duration": "took:ms", "header User-Agent": "ua"}``. Raises CaptureError."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CaptureError(f"--log-format: it is no JSON ({error})") from None
    mapping: dict[str, Field] = {}
    for name, key in given.items():
        field = _MAPPABLE.get(name)
        if name.startswith("header "):
            field = Field("header", name.removeprefix("header ").strip())
        if field is None or not isinstance(key, str):
            known = ", ".join([*_MAPPABLE, "header NAME"])
            raise CaptureError(f"--log-format: {name!r} cannot be mapped: what can is {known}")
        path, _, unit = key.rpartition(":")
        if path and unit in {"s", "ms", "us", "ns", "iso", "clf"}:
            key, field = path, field._replace(form=unit)  # noqa: PLW2901
        mapping[key] = field
    if not {"request", "target", "path"} & {field.what for field in mapping.values()}:
        raise CaptureError("--log-format: the mapping names no request, target or path")

    def read(line: bytes) -> Values | None:
        value = _object(line)
        return None if value is None else _picked(value, mapping)

    return read


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        # Numbers stay as they were written: a time in nanoseconds is more than a float can hold.
        value = json.loads(line, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _picked(value: Mapping[str, Any], mapping: Mapping[str, Field]) -> Values:
    found: Values = []
    for path, field in mapping.items():
        one: Any = value.get(path)
        if one is None and "." in path:
            one = value
            for key in path.split("."):
                one = one.get(key) if isinstance(one, dict) else None
        if isinstance(one, str) and one not in {"", "-"}:
            found.append((field, one))
    return found


def _headers(value: Mapping[str, Any], prefix: str) -> Values:
    found: Values = []
    for key, one in value.items():
        name = key.removeprefix(prefix)
        if name != key and isinstance(one, str) and one not in {"", "-"} and name.lower() not in {"host", "version"}:
            found.append((Field("header", name if "-" in name else _header(name)), one))
    return found
