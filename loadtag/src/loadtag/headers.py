"""Finding, removing and adding the load tag in raw header fields.

Fields are ``(name, value)`` pairs of bytes in the order in which they came: what an ASGI scope calls ``headers`` and
mitmproxy calls ``Headers.fields``. Nothing is ever changed in place, and no input makes `find` or `strip` raise.

The tag is a member of W3C Baggage (https://www.w3.org/TR/baggage/), ``baggage: loadtest=<token>``, and for people
reading logs ``x-load-test: <run id>``. Finding is generous and believing is strict: whatever some parser further down
might take for a tag is found (any case, percent-encoded, surrounded by what parsers trim), but only the one proper
way to write it yields a token. So a disguised tag is noticed and stripped; it can't slip past a sidecar into an app.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from loadtag.tag import MAX_LENGTH, LoadTag, TagError, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Field = tuple[bytes, bytes]

BAGGAGE_KEY = "loadtest"
"""The baggage member that holds the token."""

RUN_HEADER = "x-load-test"
"""The header that names the run, for people. It proves nothing: whoever has verified a tag and passes it on should
`put` it anew, so that this header names the run that the tag names."""

MAX_MEMBERS = 64
MAX_BYTES = 8192
"""What every platform has to pass on (W3C Baggage, 3.3.2): with more, the tag could get lost on the way."""

_BAGGAGE = b"baggage"
_KEY = BAGGAGE_KEY.encode("ascii")
_RUN = RUN_HEADER.encode("ascii")

# What parsers trim from around a key, as it is or percent-encoded: anything that no key can contain, and the plus
# that form decoding turns into a blank.
_JUNK = rb"(?:[^!#$%&'*.^_`|~0-9A-Za-z=;-]|%(?:[01][0-9a-f]|20|2b|7f|[89a-f][0-9a-f]))*"
# Each letter as it is or percent-encoded, small or capital.
_LETTERS = b"".join(b"(?:%c|%%%x|%%%x)" % (letter, letter, letter - 32) for letter in _KEY)
_OURS = re.compile(_JUNK + _LETTERS + _JUNK + rb"(?:[=;]|\Z)", re.IGNORECASE)

# The one proper way to write it: ``key OWS "=" OWS value *( OWS ";" OWS property )``.
_PROPER = re.compile(rb"[ \t]*%b[ \t]*=[ \t]*([A-Za-z0-9._-]{1,%d})[ \t]*(?:;.*)?" % (_KEY, MAX_LENGTH), re.DOTALL)

_WRITABLE = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_LENGTH}}}")


class Found(NamedTuple):
    """The fields bear a load tag of whatever sort."""

    token: str | None
    """The token if there is exactly one, properly written (not verified!); otherwise None.

    None stands for: several members, several `RUN_HEADER`, a `RUN_HEADER` without a member, a disguised key, or a
    value that can't be a token. Such a request is untrusted.
    """


def find(fields: Sequence[Field]) -> Found | None:
    """Look for a load tag. None, the usual answer, means that there is no trace of one."""
    # This loop runs for every real request. Comparing lengths first spares a call for nearly all names.
    for name, value in fields:
        length = len(name)
        if (length == 7 and name.lower() == _BAGGAGE and _ours(value)) or (length == 11 and _is_run(name)):
            return Found(_token(fields))
    return None


def strip(fields: Iterable[Field]) -> list[Field]:
    """Remove every trace of a load tag.

    Other baggage members stay as they are, byte for byte, and so does every other field. A baggage field with nothing
    left in it is dropped.
    """
    kept = []
    for name, value in fields:
        if _is_run(name):
            continue
        if name.lower() == _BAGGAGE and _ours(value):
            rest = b",".join(member for member in value.split(b",") if not _OURS.match(member)).strip(b" \t")
            if rest.strip(b" \t,"):
                kept.append((name, rest))
        else:
            kept.append((name, value))
    return kept


def put(fields: Iterable[Field], token: str, run_id: str) -> list[Field]:
    """Add a load tag, in the place of any that is there.

    The tag becomes the last member of the baggage. Several baggage fields are joined to one (RFC 9110, 5.3, allows
    that), since the limits hold for all of them together, and it comes after the other fields: order matters only
    among fields of one name. Where the limits leave no room, whole members are dropped from the end until the tag
    fits. Raises ValueError if `token` or `run_id` holds anything but ``A-Z a-z 0-9 . _ -``.
    """
    if not (_WRITABLE.fullmatch(token) and _WRITABLE.fullmatch(run_id)):
        raise ValueError("a load tag's token and run id consist of the characters A-Z a-z 0-9 . _ -")
    ours = _KEY + b"=" + token.encode("ascii")
    others: list[Field] = []
    members: list[bytes] = []
    for name, value in strip(fields):
        if name.lower() == _BAGGAGE:
            members += [member for member in value.split(b",") if member.strip(b" \t")]
        else:
            others.append((name, value))
    baggage = b",".join([*_fitting(members, len(ours)), ours])
    return [*others, (_BAGGAGE, baggage), (_RUN, run_id.encode("ascii"))]


def fits(fields: Sequence[Field]) -> bool:
    """Tell whether the baggage is within what every platform has to pass on (`put` makes it so)."""
    values = [value for name, value in fields if name.lower() == _BAGGAGE]
    members = sum(value.count(b",") + 1 for value in values)
    return members <= MAX_MEMBERS and sum(len(value) + 1 for value in values) - 1 <= MAX_BYTES


def unverified_tag(fields: Sequence[Field]) -> LoadTag | None:
    """Return the tag that the fields bear, or None. Only for use behind a sidecar that lets no forged tag pass."""
    found = find(fields)
    if found is None or found.token is None:
        return None
    try:
        return parse(found.token).tag
    except TagError:
        return None


def _is_run(name: bytes) -> bool:
    # Underscores too: CGI and WSGI give both spellings to the app as HTTP_X_LOAD_TEST.
    return len(name) == 11 and name.lower().replace(b"_", b"-") == _RUN


def _ours(value: bytes) -> bool:
    """Tell whether a baggage value holds a member of ours, however it is spelled."""
    # Most baggage has neither, and is spared the look at each member.
    if b"%" not in value and _KEY not in value.lower():
        return False
    return any(_OURS.match(member) for member in value.split(b","))


def _token(fields: Sequence[Field]) -> str | None:
    ours = [
        member
        for name, value in fields
        if name.lower() == _BAGGAGE
        for member in value.split(b",")
        if _OURS.match(member)
    ]
    if len(ours) != 1 or sum(_is_run(name) for name, _ in fields) > 1:
        return None
    proper = _PROPER.fullmatch(ours[0])
    return proper[1].decode("ascii") if proper else None


def _fitting(members: list[bytes], reserved: int) -> list[bytes]:
    """Return as many members from the start as fit beside one more of `reserved` bytes."""
    size = reserved
    for count, member in enumerate(members):
        size += len(member) + 1
        if size > MAX_BYTES or count + 1 >= MAX_MEMBERS:
            return members[:count]
    return members
