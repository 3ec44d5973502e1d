"""Where load may go at all: lists of hosts that a run may name. Pure.

A mistyped URL shall be refused before anything is sent. A list has one pattern on a line, and after a ``#`` a word for
people:

    shop.staging.example        # any port
    *.load.example:443          # every name below, this port; not load.example itself
    10.20.0.0/16                # addresses; names are not looked up
    [fd00::/8]:8080
    *                           # everything, said on purpose

Lists only narrow: what is named has to be on each list that there is. So whoever owns a machine can bind all runs on
it, and none can widen that. No list allows everything.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from replayer.plan import Plan

type _Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_FILE = 1 << 20
"""Bytes that a list may have."""

_PATTERN = re.compile(r"(?P<host>\[[0-9A-Fa-f:./]+\]|[^\s:\[\]@]+)(?::(?P<port>\d{1,5}|\*))?")
_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")


class Pattern(NamedTuple):
    """One line of a list."""

    text: str
    host: str
    """A name in small letters, ``*.`` and a name, or ``*``; empty if there is a network."""
    network: _Network | None
    port: int | None
    """None: any."""

    def fits(self, host: str, port: int) -> bool:
        """Whether this allows a host (as `_plain` gives it) and port."""
        if self.port not in (None, port):
            return False
        if self.network is not None:
            address = _address(host)
            return address is not None and address.version == self.network.version and address in self.network
        return self.host in ("*", host) or (self.host.startswith("*.") and host.endswith(self.host[1:]))


class Allowed(NamedTuple):
    """One list."""

    name: str
    """Where it stands, for people."""
    patterns: tuple[Pattern, ...]


def parse(text: str, name: str) -> Allowed:
    """Read a list. Raises ValueError for a line that is no pattern, with its number."""
    patterns = []
    for number, line in enumerate(text.splitlines(), 1):
        said = line.partition("#")[0].strip()
        if said:
            try:
                patterns.append(_pattern(said))
            except ValueError as error:
                raise ValueError(f"line {number}, {said!r}: {error}") from None
    return Allowed(name, tuple(patterns))


def allowed(targets: Sequence[Allowed], url: str) -> str | None:
    """Say why load may not go to `url` (``http://host:port``), and what to do about it; None: it may."""
    host, port = _place(url)
    for one in targets:
        if not any(pattern.fits(host, port) for pattern in one.patterns):
            shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            return (
                f"{shown} is not on the list of allowed targets ({one.name}), which "
                f"{_summary(one)}. Is the URL what you meant? If load may go there, add the line {shown!r} to the list"
            )
    return None


def by(targets: Sequence[Allowed], url: str) -> list[str]:
    """Say which line of each list allows a URL that is `allowed`: ``PATTERN in NAME``."""
    host, port = _place(url)
    return [
        f"{next(pattern.text for pattern in one.patterns if pattern.fits(host, port))!r} in {one.name}"
        for one in targets
    ]


def destinations(plan: Plan) -> Iterator[tuple[str, str]]:
    """Give all that a plan may connect to for sending requests: (option, URL). Addresses in place of names too."""
    yield "--to", plan.to
    if plan.diff_against is not None:
        yield "--diff-against", plan.diff_against
    for (host, port), addresses in plan.addresses.items():
        for place in (host, *addresses):
            yield "--resolve", f"http://{f'[{place}]' if ':' in place else place}:{port}"


def refusals(targets: Sequence[Allowed], named: Iterable[tuple[str, str]]) -> list[str]:
    """Say of each of some `destinations` that is not allowed, why not."""
    return [f"{option} {why}" for option, url in named if (why := allowed(targets, url)) is not None]


def _pattern(text: str) -> Pattern:
    network = None
    match = _PATTERN.fullmatch(text)
    host = text if match is None else match["host"]
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host.removesuffix(".")
    try:
        network = ipaddress.ip_network(bare)
    except ValueError as error:
        if match is None or "/" in bare or not (bare == "*" or _NAME.fullmatch(bare)):
            told = str(error) if "/" in bare and "://" not in text else "is no pattern"
            raise ValueError(f"{told}: write HOST, HOST:PORT, *.DOMAIN, or a network like 10.0.0.0/8") from None
    port = None if match is None or match["port"] in (None, "*") else int(match["port"])
    if port is not None and not 1 <= port <= 65_535:
        raise ValueError(f"there is no port {port}")
    return Pattern(text, "" if network is not None else bare.lower(), network, port)


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return _plain(parts.hostname or ""), parts.port or (443 if parts.scheme == "https" else 80)


def _plain(host: str) -> str:
    address = _address(host)
    return host.lower().removesuffix(".") if address is None else str(address)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address; one that only dresses an IPv4 address up as IPv6 is that."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _summary(one: Allowed) -> str:
    shown = ", ".join(pattern.text for pattern in one.patterns[:5])
    more = len(one.patterns) - 5
    return f"has {shown}{f' and {more} more' if more > 0 else ''}" if one.patterns else "is empty"
