"""Which names mean a secret. Pure.

A name is brought into its normal form first: words in lower case with hyphens between them, so that one pattern is for
`api_key`, `apiKey`, `API-Key` and `user[api_key]` alike. A pattern is a name in that form with ``*`` for anything. So a
hyphen in a pattern is where a word begins or ends: ``*-pin`` is for `cardPin` and not for `shipping`.
"""

import re
from collections.abc import Iterable

from captures.redaction.patterns import compiled

HEADERS = (
    # what somebody proves who they are with
    *("*auth*", "*cookie*", "*credential*", "*oidc*", "*principal*", "*saml*", "*sess*", "*ticket*", "*userinfo*"),
    *("sid", "*-sid", "otp", "*-otp"),
    # what must not be known at all
    *("*key*", "pass", "*-pass", "*passcode*", "*passphrase*", "*passw*", "*pwd*", "*secret*", "pw", "*-pw"),
    # what opens something for whoever holds it
    *("*assertion*", "*bearer*", "*csrf*", "*dpop*", "*hmac*", "*jwt*", "*signature*", "*token*", "*xsrf*"),
    # what only sounds like it
    *("!authority", "!:authority", "!x-forwarded-authority"),  # where a request goes
    *("!idempotency-key", "!x-idempotency-key"),  # which request it is
    *("!sec-websocket-key",),  # a random number that shows that the server speaks WebSocket
    *("!www-authenticate", "!proxy-authenticate"),  # the question, not the answer
)
"""Header names, lower case, with ``*`` for anything; ``!`` before a name: this one not. An underscore is a hyphen.

A word counts wherever it stands in a name: what is replaced needlessly costs a replay one header's value, and what is
forgotten costs a user's account."""

FIELDS = (
    # what somebody proves who they are with
    *("auth", "auth-*", "*-auth", "*authorization*", "authentication", "*credential*", "*saml*", "*session*"),
    *("*sessid*", "sid", "*-sid", "otp", "otp-*", "*-otp", "totp", "*-totp", "mfa-code", "*verification-code*"),
    # what must not be known at all
    *("*passw*", "*pass-word*", "*passphrase*", "*pass-phrase*", "*passcode*", "pass", "*-pass", "pw", "*-pw"),
    *("*pwd*", "*secret*", "pin", "*-pin", "pin-*", "pincode", "kennwort", "*-kennwort", "senha", "*-senha"),
    *("contrasena", "*-contrasena", "*motdepasse*", "*mot-de-passe*", "*api-key*", "*apikey*", "*access-key*"),
    *("*accesskey*", "*private-key*", "*privatekey*", "*signing-key*", "*encryption-key*"),
    # what opens something for whoever holds it
    *("*assertion*", "*bearer*", "*code-verifier*", "*csrf*", "*hmac*", "*jwt*", "*signature*", "sig", "*-sig"),
    *("*token*", "*xsrf*"),
    # what money and papers are known by
    *("card", "card-*", "*-card", "*-card-*", "*cardnumber*", "*cardno", "*creditcard*", "cc-*", "ccnum*"),
    *("ccnumber", "pan", "*-pan", "cvv", "cvv-*", "*-cvv", "cvc", "cvc-*", "*-cvc", "csc", "iban", "*-iban"),
    *("*account-number*", "*accountnumber*", "*routing-number*", "ssn", "*-ssn", "*social-security*", "tax-id"),
    *("passport", "passport-*", "*-passport"),
    # what only sounds like it
    *("!max-tokens", "!max-*-tokens", "!*token-type", "!token-type-*", "!*tokens-used", "!token-count"),
)
"""Names of fields in JSON, forms, multipart and XML, and of query parameters, in their normal form.

Narrower than for headers: what is replaced needlessly may change what a request does (`author`, `keyword`)."""

COOKIES = ("*",)
"""Names of cookies: which of them is the session is up to each app, so all are replaced unless they are spared."""

_MOST_KNOWN = 4096
_LONGEST = 256
"""A name longer than this is judged by its end."""

_APART = re.compile(rb"[^A-Za-z0-9]+")
_CAMEL = re.compile(rb"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NUMBER = re.compile(rb"-?[0-9]+\Z")


def normal(name: bytes) -> bytes:
    """Give a field's name as words: ``user[apiKey]`` is ``user-api-key``."""
    return _APART.sub(b"-", _CAMEL.sub(b"-", name)).strip(b"-").lower()


def normal_header(name: str) -> str:
    """Give a header's name as most servers understand it, however a client wrote it."""
    return name.strip().lower().replace("_", "-")


class Names:
    """Says whether a field's name means a secret. `patterns` as in `FIELDS`."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(map(_pattern, patterns))
        self._secret = _union(each for each in self.patterns if not each.startswith("!"))
        self._spared = _union(each[1:] for each in self.patterns if each.startswith("!"))
        self._known: dict[bytes, bool] = {}

    def secret(self, name: bytes) -> bool:
        """Say whether `name` means a secret, in whichever spelling."""
        try:
            return self._known[name]
        except KeyError:
            pass
        if len(name) > _LONGEST:
            return self._judge(name[-_LONGEST:])
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        found = self._known[name] = self._judge(name)
        return found

    def hint(self) -> bytes:
        """Give a regular expression (RE2, of bytes) that matches in every text that has a secret name in it.

        Whatever surrounds the name, as long as the name itself stands there letter by letter.
        """
        found = sorted({_hint(each) for each in self.patterns if not each.startswith("!")})
        return b"|".join(found)

    def _judge(self, name: bytes) -> bool:
        words = normal(name)
        flat = _APART.sub(b"-", name).strip(b"-").lower()
        forms = {words, flat, _NUMBER.sub(b"", words), _NUMBER.sub(b"", flat)} - {b""}
        return not any(map(self._spared, forms)) and any(map(self._secret, forms))


def _pattern(pattern: str) -> str:
    """Bring a pattern into the normal form of names, its stars kept."""
    sign, rest = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
    return sign + re.sub(r"[^a-z0-9*]+", "-", rest.strip().lower())


class _Union:
    def __init__(self, patterns: tuple[str, ...]) -> None:
        # RE2: what looks like a name in a long word, as in an upload in base64, is judged again and again.
        expressions = [".*".join(map(re.escape, pattern.split("*"))) for pattern in patterns]
        self._match = compiled("|".join(expressions).encode(), groups=False).fullmatch if patterns else None

    def __call__(self, text: bytes) -> bool:
        return self._match is not None and self._match(text) is not None


def _union(patterns: Iterable[str]) -> _Union:
    return _Union(tuple(patterns))


def _hint(pattern: str) -> bytes:
    """Give what any text with a name of this pattern in it matches: the pattern's longest piece without a star."""
    pieces = pattern.split("*")
    place = max(range(len(pieces)), key=lambda number: len(pieces[number].strip("-")))
    piece = pieces[place]
    letters = piece.strip("-")
    if not letters:
        return b"(?s:.)"  # anything at all
    begins = piece.startswith("-") or place == 0
    ends = piece.endswith("-") or place == len(pieces) - 1
    words = [_spelled(word) for word in letters.split("-")]
    body = "[^A-Za-z0-9]*".join(words)
    if begins:  # a word begins after what is no letter, or with a capital
        first = letters[0]
        rest = body[len(_spelled(first)) :]
        body = f"(?:(?:^|[^A-Za-z0-9]){_spelled(first)}|{first.upper()}){rest}"
    if ends:
        body += "(?:[^a-z]|$)"
    return body.encode("ascii")


def _spelled(word: str) -> str:
    """Match a word in either case (spelled out: RE2's own way to do it folds letters beyond ASCII too)."""
    return "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else letter for letter in word)
