"""curl commands, as people keep them and browsers copy them ("Copy as cURL (bash)"). Pure but for the files given.

Nothing is expanded and nothing is run; a command that needs a file is refused, and so is an option that is not known.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple
from urllib.parse import quote_plus

from captures.exchange.notes import Notes
from captures.exchange.options import ReadOptions
from captures.exchange.shell import commands, split
from captures.exchange.vegeta import request
from captures.records import Record

# What makes no difference to the one request that is recorded: options without a value, and options with one.
_FLAGS = frozenset(
    {
        *("-s", "--silent", "-S", "--show-error", "-i", "--include", "-v", "--verbose", "-L", "--location", "-k"),
        *("--insecure", "-f", "--fail", "--fail-with-body", "-N", "--no-buffer", "-g", "--globoff", "--path-as-is"),
        *("-#", "--progress-bar", "--no-progress-meter", "-O", "--remote-name", "-J", "--remote-header-name", "-1"),
        *("--tlsv1", "--tlsv1.2", "--tlsv1.3", "-4", "--ipv4", "-6", "--ipv6", "--no-keepalive", "--raw", "-q"),
        *("--disable", "--tcp-nodelay", "-Z", "--parallel", "--styled-output", "--ssl-reqd", "--basic", "-p"),
        *("--http1.1", "-0", "--http1.0", "--http2", "--http2-prior-knowledge", "--location-trusted", "--proxytunnel"),
    }
)
_VALUES = frozenset(
    {
        *("-o", "--output", "-m", "--max-time", "--connect-timeout", "-w", "--write-out", "--retry", "--retry-delay"),
        *("--retry-max-time", "-x", "--proxy", "--cacert", "--capath", "--ciphers", "--resolve", "--connect-to"),
        *("--limit-rate", "--max-redirs", "-D", "--dump-header", "-c", "--cookie-jar", "--interface", "--stderr"),
        *("--trace", "--trace-ascii", "-U", "--proxy-user", "--noproxy", "--keepalive-time", "--unix-socket"),
        *("--output-dir", "--max-filesize", "-y", "--speed-time", "-Y", "--speed-limit"),
    }
)
_DATA = {
    "-d": "data",
    "--data": "data",
    "--data-ascii": "data",
    "--data-raw": "raw",
    "--data-binary": "binary",
    "--data-urlencode": "urlencode",
    "--json": "json",
}
_OURS = {
    "-X": "method",
    "--request": "method",
    "-H": "header",
    "--header": "header",
    "-b": "cookie",
    "--cookie": "cookie",
    "-u": "user",
    "--user": "user",
    "-A": "agent",
    "--user-agent": "agent",
    "-e": "referer",
    "--referer": "referer",
    "-F": "form",
    "--form": "form",
    "--form-string": "form-string",
    "--url": "url",
    "-r": "range",
    "--range": "range",
    "--oauth2-bearer": "bearer",
    "--url-query": "query",
    **_DATA,
}
_SWITCHES = {"-G": "get", "--get": "get", "-I": "head", "--head": "head", "--compressed": "compressed"}
_VERSIONS = {"-0": "HTTP/1.0", "--http1.0": "HTTP/1.0", "--http2": "HTTP/2.0", "--http2-prior-knowledge": "HTTP/2.0"}

_BOUNDARY = "------------------------reamp"


def looks_like(start: bytes) -> bool:
    """Tell whether a file begins like a command, a comment or a shell's `#!` line before it."""
    rows = [line.strip() for line in start.splitlines()]
    first = next((line for line in rows if line and not line.startswith(b"#")), b"")
    return bool(re.match(rb"(?:\$ )?curl(?:\.exe)?\s", first))


def read(file: BinaryIO, options: ReadOptions, notes: Notes) -> Iterator[Record]:
    """Read commands, each of one request or of several URLs."""
    for number, command in commands(file, notes):
        where = f"line {number}"
        try:
            words = split(command)
            if words and words[0] == "$":
                del words[0]
            if not words or words[0].rpartition("/")[2] not in {"curl", "curl.exe"}:
                raise ValueError("it is no curl command")  # noqa: TRY301 - told like what is wrong inside
            made = list(_requests(words[1:], options, notes))
        except ValueError as error:
            notes.broken(where, str(error))
        else:
            yield from made


class _Asked(NamedTuple):
    """What a command's options come to."""

    urls: list[str]
    values: dict[str, list[str]]
    data: list[tuple[str, str]]
    forms: list[tuple[str, bool]]
    """Fields, and whether they are taken literally."""
    switches: set[str]
    version: str


def _options(words: list[str], notes: Notes) -> _Asked:
    """Sort a command's words. Raises ValueError for an option that is not known: nor is what it does to the request."""
    asked, version = _Asked([], {}, [], [], set(), ""), ""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            asked.urls.append(word)
            continue
        for option, attached in _options_of(word):
            if option in _SWITCHES:
                asked.switches.add(_SWITCHES[option])
            elif option in _FLAGS:
                version = _VERSIONS.get(option, version)
                if option not in _VERSIONS:
                    continue
            elif option in _OURS or option in _VALUES:
                value = next(rest, None) if attached is None else attached
                if value is None:
                    raise ValueError(f"{option} needs a value")
                _take(asked, option, value, notes)
            else:
                raise ValueError(f"{option} is an option that is not known here")
    return asked._replace(version=version)


def _take(asked: _Asked, option: str, value: str, notes: Notes) -> None:
    if option in _VALUES:
        notes.lose(f"curl's {option}: it is about sending, not about what is sent")
    elif option in _DATA:
        asked.data.append((_DATA[option], value))
    elif _OURS[option] == "url":
        asked.urls.append(value)
    elif _OURS[option].startswith("form"):
        asked.forms.append((value, option == "--form-string"))
    else:
        asked.values.setdefault(_OURS[option], []).append(value)


def _options_of(word: str) -> Iterator[tuple[str, str | None]]:
    """Take ``-sSXPOST`` apart: several short options, the last one perhaps with its value."""
    if word.startswith("--"):
        yield word, None
        return
    for position, letter in enumerate(word[1:], 2):
        option = f"-{letter}"
        if option in _OURS or option in _VALUES:
            yield option, word[position:] or None
            return
        yield option, None


def _requests(words: list[str], options: ReadOptions, notes: Notes) -> Iterator[Record]:
    """Make a record for each URL. Raises ValueError."""
    asked = _options(words, notes)
    if not asked.urls:
        raise ValueError("it names no URL")
    body, kind = _body(asked)
    in_query = bool({"get", "head"} & asked.switches)
    query = asked.values.get("query", [])
    if body is not None and in_query:
        query = [_text(body), *query]
        body = None
    head = "HEAD" if "head" in asked.switches else "GET" if body is None else "POST"
    method = asked.values.get("method", [head])[-1]
    given, removed = _given(asked)
    for url in asked.urls:
        address, _, _ = (url if "://" in url else f"http://{url}").partition("#")
        if query:
            address += ("&" if "?" in address else "?") + "&".join(query)
        record = request(method, address, (), body or b"", options)
        own = [("Host", record.authority), *_own(asked, body, kind)]
        rows = [row for row in own if row[0].lower() not in removed] + given
        host = next((value for name, value in given if name.lower() == "host"), record.authority)
        yield record._replace(
            authority=host,
            headers=tuple((_raw(name), _raw(value)) for name, value in rows),
            http_version=asked.version or record.http_version,
        )


def _given(asked: _Asked) -> tuple[list[tuple[str, str]], set[str]]:
    """Give the headers of the command, and the names that curl is not to add by itself. Raises ValueError."""
    headers, removed = [], set()
    for line in asked.values.get("header", ()):
        if line.startswith("@"):
            raise ValueError("it needs a file (-H @...), which is not read")
        name, colon, value = line.partition(":")
        if colon and value.strip():
            headers.append((name.strip(), value.strip()))
        elif not colon and line.endswith(";"):
            name = line[:-1]
            headers.append((name.strip(), ""))
        removed.add(name.strip().lower())
    return headers, removed


def _own(asked: _Asked, body: bytes | None, kind: str) -> Iterator[tuple[str, str]]:
    """Give the headers that curl adds. Raises ValueError if it would read them from a file."""
    values = {name: several[-1] for name, several in asked.values.items()}
    yield "User-Agent", values.get("agent", "curl")
    yield "Accept", "application/json" if kind == "application/json" else "*/*"
    if "compressed" in asked.switches:
        yield "Accept-Encoding", "gzip"
    if referer := values.get("referer", "").removesuffix(";auto"):
        yield "Referer", referer
    if user := values.get("user"):
        yield "Authorization", "Basic " + b64encode(_raw(user)).decode()
    if bearer := values.get("bearer"):
        yield "Authorization", f"Bearer {bearer}"
    if wanted := values.get("range"):
        yield "Range", f"bytes={wanted}"
    if cookies := asked.values.get("cookie"):
        if any("=" not in cookie for cookie in cookies):
            raise ValueError("it needs a file of cookies (-b), which is not read")
        yield "Cookie", "; ".join(cookies)
    if body is not None:
        yield "Content-Length", str(len(body))
        yield "Content-Type", kind


def _body(asked: _Asked) -> tuple[bytes | None, str]:
    """Put the body together as curl does, with its content type. Raises ValueError if it needs a file."""
    if asked.forms:
        if asked.data:
            raise ValueError("it sends both a form (-F) and data (-d)")
        return _form(asked.forms), f"multipart/form-data; boundary={_BOUNDARY}"
    if not asked.data:
        return None, ""
    kinds = {kind for kind, _ in asked.data}
    pieces = []
    for kind, value in asked.data:
        if kind == "urlencode":
            value = _encoded(value)  # noqa: PLW2901
        elif kind != "raw" and value.startswith("@"):
            raise ValueError(f"it needs a file ({value[:60]}), which is not read")
        pieces.append(_raw(value))
    if "json" in kinds:
        return b"".join(pieces), "application/json"
    return b"&".join(pieces), "application/x-www-form-urlencoded"


def _encoded(value: str) -> str:
    """Do what --data-urlencode does: ``name=content`` and ``content``. Raises ValueError if it needs a file."""
    name, equals, content = value.partition("=")
    if "@" in (name if equals else value):
        raise ValueError(f"it needs a file ({value[:60]}), which is not read")
    encoded = quote_plus(_raw(content if equals else value), safe="")
    return f"{name}={encoded}" if equals and name else encoded


def _form(forms: list[tuple[str, bool]]) -> bytes:
    parts = []
    for form, literal in forms:
        name, equals, content = form.partition("=")
        if not equals:
            raise ValueError(f"{form[:60]!r} is no field of a form")
        if content[:1] in {"@", "<"} and not literal:
            raise ValueError(f"it needs a file ({form[:60]}), which is not read")
        content, _, kind = (content, "", "") if literal else content.partition(";type=")
        head = f"Content-Disposition: form-data; name={json.dumps(name, ensure_ascii=False)}\r\n"
        head += f"Content-Type: {kind}\r\n" if kind else ""
        parts.append(f"--{_BOUNDARY}\r\n{head}\r\n{content}\r\n")
    return _raw("".join(parts) + f"--{_BOUNDARY}--\r\n")


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
