"""Hunts a capture for what looks like a secret. Pure.

The same rules that redact say what a secret is; on top of them comes chance: what looks drawn by lot, wherever it
stands, may be the token that no rule knows. A pseudonym, under whichever key, is no finding.
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from pydantic import BaseModel, Field

from captures.records import Record
from captures.redaction.bodies import Opened, WithheldError
from captures.redaction.edits import PERCENT, Edit, apply, decoded
from captures.redaction.forms import find_in_url
from captures.redaction.headers import without_userinfo
from captures.redaction.names import normal, normal_header
from captures.redaction.patterns import looks_random
from captures.redaction.pseudonyms import PREFIX, Shapes
from captures.redaction.redactor import Redactor, content_headers
from captures.redaction.rules import DEFAULTS, Rules
from captures.redaction.structured import place_in_json
from captures.templates import template

MOST_GROUPS = 1000
"""Kinds of findings that are told apart. A capture of nothing but secrets must not fill the memory."""

ANY = "*"
"""For findings in headers and cookies: those are the same whatever is asked for."""

_MOST_IN_RECORD = 100
_LONGEST_PLACE = 120

Kind = Literal["name", "pattern", "random", "unreadable"]


class Finding(NamedTuple):
    """One thing that looks like a secret."""

    place: str
    """``header x-api-key``, ``cookie sid``, ``query token``, ``path``, ``body $.user.password``."""
    kind: Kind
    rule: str
    """What found it: the name of a field, of a pattern; empty for chance."""
    secret: bytes


class Group(BaseModel):
    """Findings of one kind at one place of one endpoint."""

    method: str
    path: str = Field(description="template of the path; * (as the method) for headers and cookies")
    place: str
    kind: Kind
    rule: str
    count: int = 0
    first_record: int = Field(description="its number by arrival, from 1: `reamp captures show N`")
    first_ns: int
    sample: str = Field(description="the first one, masked")


class Audit(BaseModel):
    """What was found in a capture."""

    records: int = 0
    findings: int = Field(0, description="in one record each place counts once")
    records_with_findings: int = 0
    groups: list[Group] = []
    not_listed: int = Field(0, description="findings of groups beyond the first thousand")


def audit(records: Iterable[Record], rules: Rules = DEFAULTS) -> Audit:
    """Look through `records`; the most frequent findings first. Memory is bounded."""
    report = Audit()
    hunter = Hunter(rules)
    groups: dict[tuple[str, ...], Group] = {}
    for record in records:
        report.records += 1
        found = hunter.look(record)
        if not found:
            continue
        report.records_with_findings += 1
        endpoint = hunter.template(record.path)
        for finding in found:
            report.findings += 1
            everywhere = finding.place.startswith(("header", "cookie"))
            method, path = (ANY, ANY) if everywhere else (hunter.shown(record.method), endpoint)
            key = (method, path, finding.place, finding.kind, finding.rule)
            group = groups.get(key)
            if group is None:
                if len(groups) >= MOST_GROUPS:
                    report.not_listed += 1
                    continue
                group = groups[key] = Group(
                    method=method,
                    path=path,
                    place=finding.place,
                    kind=finding.kind,
                    rule=finding.rule,
                    first_record=report.records,
                    first_ns=record.arrival_ns,
                    sample=masked(finding.secret),
                )
            group.count += 1
    report.groups = sorted(groups.values(), key=lambda group: -group.count)
    return report


def masked(secret: bytes) -> str:
    """Give so much of a secret that somebody who knows it knows it again, and nobody else anything."""
    start = secret[: min(4, len(secret) // 4)].decode("ascii", "replace")
    return f"{''.join(letter if letter.isprintable() else '?' for letter in start)}... ({len(secret)} bytes)"


class Hunter:
    """Looks into one record after the other."""

    def __init__(self, rules: Rules = DEFAULTS) -> None:
        self._redactor = Redactor(Shapes(), rules)
        self._fields, self._query = self._redactor.fields, self._redactor.query
        self._spared = rules.spared_values()

    def look(self, record: Record) -> list[Finding]:
        """Give what is found in a record, each place once."""
        found: dict[tuple[str, ...], Finding] = {}
        for finding in self._findings(record):
            found.setdefault((finding.place, finding.kind, finding.rule), finding)
            if len(found) >= _MOST_IN_RECORD:
                break
        return list(found.values())

    def shown(self, text: str) -> str:
        """Give a text for a report, without what looks like a secret in it."""
        raw = text.encode("utf-8", "surrogateescape")[: 4 * _LONGEST_PLACE]
        return apply(raw, self._fields.patterns.find(raw)).decode("utf-8", "backslashreplace")[:_LONGEST_PLACE]

    def template(self, path: str) -> str:
        """Give a path's template for a report: what looks like a secret in it is left out."""
        raw = path.encode("utf-8", "surrogateescape").partition(b"?")[0].partition(b"#")[0]
        edits = [edit._replace(instead=b"{secret}") for edit in find_in_url(raw, self._query, self._fields)]
        segments = apply(raw, edits).split(b"/")
        clean = b"/".join(b"{secret}" if self._random(part) else part for part in segments)
        return template(clean.decode("utf-8", "backslashreplace"))[:_LONGEST_PLACE]

    def _findings(self, record: Record) -> Iterator[Finding]:
        if without_userinfo(record.authority) != record.authority:
            yield Finding("authority", "pattern", "userinfo", record.authority.encode("utf-8", "surrogateescape"))
        yield from self._target(record.path.encode("utf-8", "surrogateescape"))
        for name, value in record.headers:
            yield from self._header(name, value)
        if record.body:
            yield from self._body(record)

    # --- the target, also where it stands in a header ---

    def _target(self, raw: bytes, where: str = "") -> Iterator[Finding]:
        edits = find_in_url(raw, self._query, self._fields)
        for edit in edits:
            yield self._finding(where + _place_in_url(raw, edit.start, self), raw, edit)
        for start, end in self._random_parts(raw, edits, _URL_PARTS):
            if not _is_file(raw, start, end) and not _is_an_id(_name_in_url(raw, start)):
                yield Finding(where + _place_in_url(raw, start, self), "random", "", raw[start:end])

    def _finding(self, place: str, text: bytes, edit: Edit) -> Finding:
        kind, _, rule = edit.why.partition(" ")
        named: Kind = "name" if kind == "name" else "pattern"
        return Finding(self.shown(place), named, self.shown(rule), text[edit.start : edit.end])

    # --- headers ---

    def _header(self, raw_name: bytes, value: bytes) -> Iterator[Finding]:
        ((_, clean),) = self._redactor.headers(((raw_name, value),))
        name = normal_header(raw_name.decode("latin-1"))
        if clean != value:
            if name in ("cookie", "cookie2", "set-cookie", "set-cookie2"):
                for before, after in zip(value.split(b";"), clean.split(b";"), strict=False):
                    if before != after:
                        cookie, _, secret = before.partition(b"=")
                        where = self.shown(f"cookie {cookie.strip().decode('latin-1')}") if secret else "cookie"
                        yield Finding(where, "name", "", secret.strip() or cookie.strip())
                return
            edits = find_in_url(value, self._query, self._fields) or self._fields.text(value)
            if edits and name != "host" and not self._redactor.is_secret_header(name):
                for edit in edits:
                    yield self._finding(f"header {name}", value, edit)
                return
            yield Finding(self.shown(f"header {name}"), "name", "", value)
        elif name not in _RANDOM_HEADERS and not _is_an_id(name.encode("latin-1")):
            for start, end in self._random_parts(value, [], _WORDS):
                if not _is_file(value, start, end) and not _is_an_id(_name_in_url(value, start)):
                    yield Finding(self.shown(f"header {name}"), "random", "", value[start:end])

    # --- bodies ---

    def _body(self, record: Record) -> Iterator[Finding]:
        kind, encoding = content_headers(record.headers)
        truncated = len(record.body) < record.body_size
        try:
            opened = Opened(record.body, kind, encoding, truncated=truncated)
            edits = self._redactor.bodies.find(opened.text, kind, 0, truncated)
        except WithheldError as error:
            yield Finding("body", "unreadable", str(error), b"")
            return
        text = opened.text
        edits = [edit for edit in edits if edit.why not in ("cut", "length")]
        for edit in edits[:_MOST_IN_RECORD]:
            yield self._finding(f"body {_place_in_body(text, edit.start)}", text, edit)
        if not kind.lower().startswith((b"image/", b"video/", b"audio/", b"font/")) and b"\x00" not in text:
            line = _BOUNDARY.match(text)  # drawn by lot too, and in every multipart body
            mark = line[1] if line else None
            for start, end in self._random_parts(text, edits, _WORDS):
                if mark is not None and text[start:end].strip(b"-") == mark:
                    continue
                place = _place_in_body(text, start)
                if not _is_an_id(re.split(r"[.\[\] ]", place.rstrip("[]"))[-1].encode("utf-8", "replace")):
                    yield Finding(self.shown(f"body {place}"), "random", "", text[start:end])

    # --- chance ---

    def _random(self, text: bytes) -> bool:
        if len(text) < 20 or _UUID.fullmatch(text) or text in self._spared or PREFIX in text:
            return False
        return looks_random(text) and PREFIX not in _unpacked(text)

    def _random_parts(self, text: bytes, edits: list[Edit], parts: re.Pattern[bytes]) -> Iterator[tuple[int, int]]:
        """Find what looks random beside what was found already; not more than is of use."""
        left = _MOST_IN_RECORD
        for match in parts.finditer(text):
            part = match[0]
            plain = decoded(part, PERCENT) if b"%" in part else part
            if self._random(plain) and not any(edit.start < match.end() and match.start() < edit.end for edit in edits):
                yield match.span()
                left -= 1
                if not left:
                    return


_WORDS = re.compile(rb"[A-Za-z0-9+/_.~%-]{20,4096}={0,2}")
_URL_PARTS = re.compile(rb"[A-Za-z0-9+_.~%-]{20,4096}={0,2}")
_UUID = re.compile(rb"[{]?[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}[}]?")
_FILE = re.compile(rb"\.[a-z][a-z0-9]{1,5}\Z")
_ID = re.compile(
    rb"(?:.*-)?(?:id|ids|uuid|guid|hash|sha|sha1|sha256|sha512|md5|etag|checksum|digest|integrity|commit|revision|version"
    rb"|traceparent|tracestate|trace|span|fingerprint)(?:-[0-9]+)?|_?ga|gclid|fbclid|utm.*"
)
_RANDOM_HEADERS = frozenset(
    """host user-agent accept accept-language content-type etag if-match if-none-match sec-websocket-key
    sec-websocket-accept idempotency-key x-idempotency-key traceparent tracestate baggage via content-md5 digest
    content-digest repr-digest cf-ray x-load-test sec-ch-ua content-security-policy www-authenticate proxy-authenticate
    forwarded x-forwarded-for""".split()  # noqa: SIM905
)


def _unpacked(text: bytes) -> bytes:
    """Give what a text is the base64 of, if it is: JSON with pseudonyms in it is packed again."""
    bare = text.rstrip(b"=").translate(_ONE_BASE64)
    try:
        return b64decode(bare + b"=" * (-len(bare) % 4))
    except Base64Error:
        return b""


_ONE_BASE64 = bytes.maketrans(b"-_", b"+/")


def _is_an_id(name: bytes) -> bool:
    """Say whether what has this name is random, and no secret: it only tells things apart."""
    return _ID.fullmatch(normal(name)) is not None


def _is_file(text: bytes, start: int, end: int) -> bool:
    """Say whether this is a file with a hash in its name."""
    return _FILE.search(text[start:end]) is not None and text[start - 1 : start] in (b"/", b"")


def _name_in_url(text: bytes, at: int) -> bytes:
    """Give the name of the parameter whose value begins at `at`."""
    before = re.split(rb"[?&#;,\s]", text[:at])[-1]
    return before.rpartition(b"=")[0]


def _place_in_url(text: bytes, at: int, hunter: Hunter) -> str:
    name = _name_in_url(text, at)
    if b"?" not in text[:at] and b"#" not in text[:at]:
        return "path"
    return hunter.shown(f"query {decoded(name, PERCENT).decode('utf-8', 'backslashreplace')}").strip()


_BOUNDARY = re.compile(rb"--+([^\r\n]{1,200}?)-*\r?\n")
_PART = re.compile(rb"name=\"?([^\"\r\n;]{1,80})")


def _place_in_body(text: bytes, at: int) -> str:
    """Say where in a body something stands, as somebody would look for it."""
    place = place_in_json(text, at)
    if place is not None:
        return place
    if text[:2] == b"--" and (parts := _PART.findall(text, 0, at)):
        return f"part {parts[-1].decode('utf-8', 'backslashreplace')}"
    before = re.split(rb"[&\s]", text[max(0, at - 200) : at])[-1]
    if before.endswith(b"=") and len(before) > 1:
        return f"field {decoded(before[:-1], PERCENT).decode('utf-8', 'backslashreplace')}"
    return "text"
