"""Secrets in headers: by their names, in cookies by the cookies' names, and in the others by their looks. Pure."""

import fnmatch
from collections.abc import Callable

from captures.records import Headers
from captures.redaction import forms
from captures.redaction.edits import PERCENT, apply, decoded
from captures.redaction.names import Names, normal_header
from captures.redaction.rules import Rules
from captures.redaction.scanner import Scanner

# The first word of an authorization is kept only if it is one of these; any other could be the secret itself.
_SCHEMES = frozenset(
    b"apikey aws4-hmac-sha256 basic bearer digest dpop gnap hawk hoba jwt key mutual negotiate ntlm oauth "
    b"privatetoken scram-sha-1 scram-sha-256 sharedkey token vapid".split()
)

_BARE = frozenset(
    """accept accept-charset accept-encoding accept-language cache-control connection content-encoding content-length
    date dnt if-modified-since if-unmodified-since keep-alive pragma priority range sec-ch-ua sec-ch-ua-mobile
    sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user sec-gpc sec-websocket-extensions
    sec-websocket-version te transfer-encoding upgrade upgrade-insecure-requests""".split()  # noqa: SIM905
)
"""What browsers fill in by themselves, from a grammar without room for a secret: not looked into."""

# Repeated values cost one look-up. A client must not be able to fill the memory, nor to push all others out with a few
# large ones.
_CACHED_VALUES = 4 << 20  # bytes, for each of the handful of rules
_CACHED_SIZE = 4096
_CACHED_NAMES = 4096

Rule = Callable[[bytes], bytes]


class Redacted(dict[bytes, bytes]):
    """What one rule makes of values: looked up if it was made before, else made."""

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self._rule = rule
        self._size = 0

    def __missing__(self, value: bytes) -> bytes:
        redacted = self._rule(value)
        if len(value) <= _CACHED_SIZE:
            if self._size > _CACHED_VALUES:
                self.clear()
                self._size = 0
            self[value] = redacted
            self._size += len(value) + len(redacted)
        return redacted


class HeaderRedactor:
    """Replaces what is secret in headers."""

    def __init__(self, rules: Rules, fields: Scanner, query: Scanner) -> None:
        self.names = tuple(map(normal_header, rules.header_names()))
        self._fields, self._query = fields, query
        self._cookies = Names(rules.cookie_names())
        self._redacted: dict[bytes, Redacted | None] = {}
        self._by_rule: dict[Rule, Redacted] = {}

    def headers(self, headers: Headers) -> Headers:
        """Give `headers` with secrets replaced; the very same tuple if it holds none."""
        changed: list[tuple[bytes, bytes]] | None = None
        redacted = self._redacted
        position = 0
        for name, value in headers:
            try:
                known = redacted[name]
            except KeyError:
                known = self._learn(name)
            if known is not None and (instead := known[value]) != value:
                if changed is None:
                    changed = list(headers)
                changed[position] = (name, instead)
            position += 1  # noqa: SIM113 - cheaper than to enumerate, and nearly always for nothing
        return headers if changed is None else tuple(changed)

    def url(self, text: bytes) -> bytes:
        """Give a URL, or the target of a request, with secrets replaced."""
        return apply(text, forms.find_in_url(text, self._query, self._fields))

    def pseudonym(self, value: bytes) -> bytes:
        """Give the stand-in for one secret, whatever blanks and quotes it stands in; nothing stays nothing."""
        return self._fields.instead(value)

    def is_secret(self, name: str) -> bool:
        """Say whether a header of this name, in normal form, is replaced whole."""
        spared = (pattern[1:] for pattern in self.names if pattern.startswith("!"))
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in spared):
            return False
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.names)

    def _learn(self, name: bytes) -> Redacted | None:
        """Find the rule for a header name, once: names repeat all day."""
        text = normal_header(name.decode("latin-1"))
        rule: Rule | None = None
        if text == "host":
            rule = _host
        elif self.is_secret(text):
            rule = self._special.get(text, HeaderRedactor.pseudonym).__get__(self)
        elif text not in _BARE:
            rule = self._plain
        if len(self._redacted) >= _CACHED_NAMES:
            self._redacted.clear()
        known = None if rule is None else self._by_rule.setdefault(rule, Redacted(rule))
        self._redacted[name] = known
        return known

    def _plain(self, value: bytes) -> bytes:
        """Replace what looks like a secret in the value of a header that by its name is none."""
        if b"://" in value[:16] or value[:1] == b"/":
            return self.url(value)
        return apply(value, self._fields.text(value))

    def _authorization(self, value: bytes) -> bytes:
        """Keep ``Bearer``, replace the rest."""
        scheme, *rest = value.split(maxsplit=1) or [value]
        if rest and scheme.lower() in _SCHEMES:
            return scheme + b" " + self.pseudonym(rest[0])
        return self.pseudonym(value)

    def _cookie(self, value: bytes) -> bytes:
        """Keep the names, replace each value by itself: ``sid=redacted-...; theme=redacted-...``."""
        return b";".join(map(self._pair, value.split(b";")))

    def _set_cookie(self, value: bytes) -> bytes:
        """Replace the value, keep the name and the attributes."""
        pair, semicolon, attributes = value.partition(b";")
        return self._pair(pair) + semicolon + attributes

    def _pair(self, pair: bytes) -> bytes:
        name, equals, value = pair.partition(b"=")
        if value.strip(b" \t="):
            if not self._cookies.secret(name.strip()) and name.strip():
                return name + equals + apply(value, self._fields.text(value))
            # The same value may stand in a form, where it is encoded in another way.
            instead = self.pseudonym(decoded(value, PERCENT) if b"%" in value else value)
            return name + equals + instead
        # No value: the name is all there is, and what follows it may be the padding of base64.
        bare = pair.strip()
        return pair.replace(bare, self.pseudonym(bare)) if bare else pair

    _special = {  # noqa: RUF012 - never changed
        "authorization": _authorization,
        "proxy-authorization": _authorization,
        "cookie": _cookie,
        "cookie2": _cookie,
        "set-cookie": _set_cookie,
        "set-cookie2": _set_cookie,
    }


def without_userinfo(authority: str) -> str:
    """Cut ``user:secret@`` off a host."""
    return authority.rpartition("@")[2]


def _host(value: bytes) -> bytes:
    return value.rpartition(b"@")[2]
