"""What a key is good for: from when, until when, for which audiences; and which keys and runs were revoked.

Both are plain text that people can read and write. A key's validity stands before its PEM block, as explanatory text
(RFC 7468, section 2 and 5.2): every other tool passes over it.

    Key-Id: If4x36FUomF
    Not-After: 2027-03-01T00:00:00Z
    Audience: shop
    -----BEGIN PUBLIC KEY-----

A list of revocations has one on a line. What follows a ``#`` is for people, in both.

    key If4x36FUomF   # the laptop was stolen
    run shop-20261122-0300

Pure text and pure time. Doubt is never resolved in favour of a key: what can't be understood is an error, since it may
have been meant to bound one.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_NAME = "[A-Za-z0-9_-]{1,64}"  # as in a token, see `tag`
_AUDIENCE = re.compile(_NAME)
_KEY_ID = re.compile("[A-Za-z0-9_-]{11}")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_LINE = re.compile(r"(?P<name>[A-Za-z-]+)[ \t]*:[ \t]*(?P<value>.*?)[ \t]*")
_REVOKED = re.compile(rf"(?P<what>key|run)[ \t]+(?P<id>{_NAME})")


class Validity(NamedTuple):
    """What a key is good for. Times are unix seconds."""

    not_before: int | None = None
    """From when on; None: ever since."""
    not_after: int | None = None
    """From this moment on no longer; None: it never ends."""
    audiences: tuple[str, ...] = ()
    """For whom; empty: for everybody."""

    def reason(self, now: float) -> str | None:
        """Say why the key is not good at `now`, as a reason of `TagError`; None if it is."""
        if self.not_after is not None and now >= self.not_after:
            return "key-expired"
        if self.not_before is not None and now < self.not_before:
            return "key-early"
        return None

    def admits(self, audience: str) -> bool:
        """Tell whether the key is good for an audience."""
        return not self.audiences or audience in self.audiences


ALWAYS = Validity()
"""Of a key whose file says nothing."""


class Revoked(NamedTuple):
    """Keys and runs whose tags do not count any more, by their ids."""

    keys: frozenset[str] = frozenset()
    runs: frozenset[str] = frozenset()


NOBODY = Revoked()


def read_validity(text: str, key_id: str, first: int = 1) -> Validity:
    """Read what stands before the PEM block of the key `key_id`. `first` is the number of the text's first line.

    Raises ValueError for any line that is neither empty, a comment nor an attribute that is known, whole and given
    once (``Audience`` may be repeated). A line that is not understood is named by its number: it may hold a secret.
    """
    found = _attributes(text, first)
    for name, values in found.items():
        if len(values) > 1 and name != "audience":
            raise ValueError(f"{name.title()} stands there {len(values)} times")
    for named in found["key-id"]:
        if named != key_id:
            raise ValueError(f"Key-Id is {_shown(named)}, but the key below it is {key_id}")
    for audience in found["audience"]:
        if not _AUDIENCE.fullmatch(audience):
            raise ValueError(f"Audience {_shown(audience)}: 1 to 64 of the characters A-Z a-z 0-9 _ -")
    before, after = ([read_moment(value) for value in found[name]] for name in ("not-before", "not-after"))
    if before and after and before[0] >= after[0]:
        raise ValueError("Not-After is not later than Not-Before, so the key is never good")
    return Validity(before[0] if before else None, after[0] if after else None, tuple(dict.fromkeys(found["audience"])))


def _attributes(text: str, first: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"key-id": [], "not-before": [], "not-after": [], "audience": []}
    for number, line in enumerate(text.splitlines(), first):
        said = line.strip()
        if not said or said.startswith("#"):
            continue
        match = _LINE.fullmatch(said)
        if match is None or match["name"].lower() not in found:
            raise ValueError(f"line {number} is no attribute of a key (put a # before what is for people)")
        found[match["name"].lower()].append(match["value"])
    return found


def write_validity(validity: Validity, key_id: str) -> str:
    """Write the lines that `read_validity` reads."""
    lines = [f"Key-Id: {key_id}"]
    if validity.not_before is not None:
        lines.append(f"Not-Before: {write_moment(validity.not_before)}")
    if validity.not_after is not None:
        lines.append(f"Not-After: {write_moment(validity.not_after)}")
    lines += [f"Audience: {audience}" for audience in validity.audiences]
    return "".join(f"{line}\n" for line in lines)


def read_moment(text: str) -> int:
    """Read a time like ``2027-03-01T00:00:00Z``, as unix seconds. Raises ValueError."""
    from datetime import datetime, timezone  # noqa: PLC0415 - apps without a key need not pay for it

    if not _MOMENT.fullmatch(text):
        raise ValueError(f"{_shown(text)} is no time: write it like 2027-03-01T00:00:00Z")
    try:
        return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp())
    except ValueError:
        raise ValueError(f"{text!r} is no time that there is") from None


def write_moment(seconds: int) -> str:
    """Write unix seconds as `read_moment` reads them. Raises ValueError for what is beyond the year 9999."""
    from datetime import datetime, timedelta, timezone  # noqa: PLC0415 - as above

    try:
        moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError(f"{seconds} is no time that can be written") from None
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}".rjust(20, "0")


def read_revoked(text: str) -> Revoked:
    """Read a list of revocations. Raises ValueError, with the line's number, for a line that is none."""
    found: dict[str, set[str]] = {"key": set(), "run": set()}
    for number, line in enumerate(text.splitlines(), 1):
        said = line.partition("#")[0].strip()
        if not said:
            continue
        match = _REVOKED.fullmatch(said)
        if match is None or (match["what"] == "key" and not _KEY_ID.fullmatch(match["id"])):
            raise ValueError(f"line {number}, {_shown(said)}: write 'key ID' (11 characters) or 'run ID'")
        found[match["what"]].add(match["id"])
    return Revoked(frozenset(found["key"]), frozenset(found["run"]))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}...")
