"""Hosts and paths: as patterns that people write, and as they stand in a call. Pure.

Who asks for a host and who resolves it have to mean the same one. So names are compared as DNS does (any case, with or
without the last dot, IDNA), and addresses by value: ``2130706433``, ``0x7f.1`` and ``::ffff:127.0.0.1`` are all
127.0.0.1 for the C library, and the first has no dot in it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import inet_aton
from typing import NamedTuple, Self
from urllib.parse import unquote_to_bytes

from rules.units import UnitError, Written

LONGEST_PATTERN = 2048

LONGEST_HOST = 300
"""Characters; DNS has names of up to 253."""

_NUMERIC = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)")
"""A last label like this makes a host an address in an old notation, or nothing (WHATWG URL, "ends in a number")."""

_LABEL = re.compile(r"[a-z0-9_*]([a-z0-9_*-]*[a-z0-9_*])?")

_HOW = "write it like api.stripe.com, *.sendgrid.net or api.stripe.com/v1/*"


class ListedError(UnitError):
    """One of a list is wrong."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.at = (number,)
        """Where in the list it stands, as pydantic tells places."""


class Glob:
    """Text with ``*`` for anything, nothing too. Takes time linear in the text, whatever is in it."""

    __slots__ = ("_first", "_last", "_middle", "_plain", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._first, *middle = text.split("*")
        self._plain = not middle
        self._last = middle.pop() if middle else ""
        self._middle = [part for part in middle if part]

    def fits(self, text: str) -> bool:
        """Whether all of `text` is matched."""
        if self._plain:
            return text == self.text
        at, end = len(self._first), len(text) - len(self._last)
        if end < at or not text.startswith(self._first) or not text.endswith(self._last):
            return False
        for part in self._middle:
            at = text.find(part, at, end) + len(part)
            if at < len(part):
                return False
        return True


Address = IPv4Address | IPv6Address


def host(text: str) -> str | Address | None:
    """Give a host as it is compared: a name in small letters, or an address. None if it can be neither."""
    return _host(text) if len(text) <= LONGEST_HOST else None


@lru_cache(4096)  # every rule asks
def _host(text: str) -> str | Address | None:
    text = text.removeprefix("[").removesuffix("]")
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return _name(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def _name(text: str) -> str | Address | None:
    try:
        name = text.encode("ascii" if text.isascii() else "idna").decode().lower()
    except UnicodeError:
        return None
    name, dot = (name[:-1], ".") if name.endswith(".") else (name, "")
    last = name.rpartition(".")[2]
    if _NUMERIC.fullmatch(last):
        try:
            return IPv4Address(inet_aton(name))
        except (OSError, ValueError):
            return None
    if not name or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")) or "*" in name:
        return None
    # With its dot, a name without another one is a top-level domain: no search list makes it one of ours.
    return name if "." in name else name + dot


class Path(NamedTuple):
    """A path as servers understand it."""

    text: str
    """Without its query, percent-decoded."""
    plain: bool
    """Whether all servers understand the same path: no dot segments, empty ones, encoded slashes or the like."""


def path(target: str) -> Path:
    """Read the path of a request's target. Never raises."""
    raw = target.partition("?")[0].partition("#")[0]
    decoded = unquote_to_bytes(raw.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")
    segments = decoded.split("/")
    plain = (
        decoded.startswith("/")
        and not {".", ".."} & set(segments)
        and "" not in segments[1:-1]
        and not re.search(r"[\\;%\x00-\x1f\x7f\ufffd]", decoded)
        and not re.search(r"%(?:2f|5c)", raw, re.IGNORECASE)
    )
    return Path(decoded, plain)


@dataclass(frozen=True)
class Place(Written):
    """Where a rule holds: ``HOST[:PORT][/PATH]``, with ``*`` for anything. Parse it with `parse`.

    Without a path it is every path, without a port every port. ``*.a.b`` is every name below a.b, not a.b itself.
    """

    host: str
    """In small letters; an address as it is written."""
    port: int | None
    path: str
    """Empty: every path."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one. Raises UnitError."""
        text = text.strip()
        if len(text) > LONGEST_PATTERN:
            raise UnitError(f"{text[:60]!r}...: a pattern has at most {LONGEST_PATTERN} characters")
        if "://" in text:
            raise UnitError(f"{text!r}: leave out http:// or https://: a rule holds for both")
        if "?" in text or "#" in text:
            raise UnitError(f"{text!r}: rules look at the path, not at what follows it: end it before the ? or #")
        authority, slash, rest = text.partition("/")
        if slash and not rest:
            raise UnitError(f"{text!r}: write {authority} for every path, or {authority}/* for the same")
        match = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?", authority)
        if not match or (match[2] and not 0 < int(match[2]) < 65536):
            raise UnitError(f"{text!r} names no host: {_HOW}")
        if slash and path(slash + rest) != (slash + rest, True):
            raise UnitError(f"{text!r}: write the path as it is meant: decoded, without //, . and .. in it")
        return cls(_pattern(text, match[1]), int(match[2]) if match[2] else None, slash + rest)

    @classmethod
    def _error(cls, value: object) -> UnitError:
        return UnitError(f"{str(value)[:200]!r} is not a host with a path: {_HOW}")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host + (f":{self.port}" if self.port else "") + self.path

    @property
    def exact(self) -> bool:
        """Whether it names one host."""
        return "*" not in self.host

    def covers(self, other: "Place") -> bool:
        """Whether nothing is left for `other`; sometimes False where that is so."""
        # A star of the other's can only be matched by a star: then it fits whatever the other's stands for.
        return (
            (other.host == self.host or (not self.exact and _names(self.host).fullmatch(other.host) is not None))
            and self.port in (None, other.port)
            and (not self.path or Glob(self.path).fits(other.path) or self.path in (other.path, "/*"))
        )


def _pattern(text: str, host_: str) -> str:
    if "*" not in host_:
        found = host(host_)
        if found is None:
            raise UnitError(f"{text!r} names no host: {_HOW}")
        return str(found)
    try:
        name = host_.encode("ascii" if host_.isascii() else "idna").decode().lower().removesuffix(".")
    except UnicodeError:
        name = ""
    if not all(_LABEL.fullmatch(label) for label in name.split(".")) or _NUMERIC.fullmatch(name.rpartition(".")[2]):
        raise UnitError(f"{text!r} names no host: {_HOW}")
    return name


Network = IPv4Network | IPv6Network


class Hosts:
    """Patterns for hosts: names, with ``*``, addresses and networks."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Take patterns that `inside_pattern` gave, or the hosts of `Place`s."""
        self._networks: list[Network] = []
        self._names: list[re.Pattern[str]] = []
        self._single = False
        for pattern in patterns:
            if pattern == DOTLESS:
                self._single = True
                continue
            try:
                self._networks.append(ip_network(pattern))
            except ValueError:
                self._names.append(_names(pattern))

    def fits(self, text: str) -> bool:
        """Whether a host is one of them. What can't be a host is none."""
        found = host(text)
        if found is None:
            return False
        if not isinstance(found, str):
            return any(found in network for network in self._networks if network.version == found.version) or any(
                pattern.pattern == ".+" for pattern in self._names
            )
        return (self._single and "." not in found) or any(pattern.fullmatch(found) for pattern in self._names)


def _names(pattern: str) -> re.Pattern[str]:
    """Make an expression of a name: a star at the start is any labels, elsewhere it stays within its label.

    A name has at most 253 characters, so that no expression of it takes long.
    """
    if pattern == "*":
        return re.compile(".+")
    start, rest = (r".+\.", pattern[2:]) if pattern.startswith("*.") else ("", pattern)
    return re.compile(start + re.sub(r"(?:\\\*)+", "[^.]*", re.escape(rest)) + r"\.?")


DOTLESS = "dotless"
"""Stands for names without a dot: no public name is one, and search lists make names of the own network of them."""

DEFAULT = "default"
"""Stands for what is inside unless somebody says otherwise."""

OURS = (
    DOTLESS,
    "localhost",
    "*.localhost",  # RFC 6761
    "*.local",  # RFC 6762, and a Kubernetes cluster's svc.cluster.local
    "*.internal",  # kept for private use by ICANN since 2024
    "*.svc",
    "127.0.0.0/8",
    "::1/128",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",  # RFC 1918
    "169.254.0.0/16",
    "fe80::/10",  # link-local
    "fc00::/7",  # RFC 4193
)
"""What is inside unless somebody says otherwise: what can't be reached from elsewhere."""


def inside_pattern(text: str) -> tuple[str, ...]:
    """Read a pattern of what is inside: a name, with ``*``, an address, a network, or ``default``. Raises UnitError."""
    text = text.strip()
    if text == DEFAULT:
        return OURS
    if "/" in text:
        try:
            return (str(ip_network(text)),)
        except ValueError as error:
            raise UnitError(
                f"{text!r} is not a network ({error}): write it like 10.0.0.0/8. Paths are no matter of what is inside"
            ) from None
    place = Place.parse(text)
    if place.port is not None:
        raise UnitError(f"{text!r}: a host is inside with all its ports: leave out :{place.port}")
    if place.host == "*":
        raise UnitError(
            "'*': everything would be inside, and the load tag would go everywhere. To let synthetic calls go to third"
            " parties, say default_third_party: pass"
        )
    return (place.host,)


def inside_patterns(texts: Iterable[str]) -> list[str]:
    """Read all patterns of what is inside. Raises ListedError."""
    patterns: list[str] = []
    for number, text in enumerate(texts):
        try:
            patterns += inside_pattern(text)
        except UnitError as error:
            raise ListedError(number, str(error)) from None
    return patterns
