"""Where calls go: names of the app's own, and which tunnels are looked into. Pure."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from typing import NamedTuple
from urllib.parse import urlsplit

_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,252}[a-z0-9_])?(?::[0-9]{1,5})?")
_PATTERN = re.compile(r"[a-z0-9_.*?\[\]:-]{1,260}")


class Target(NamedTuple):
    """Where the calls for a name go."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """What stands in ``Host``, without a port that goes without saying."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def is_address(self) -> bool:
        """Whether it is an address and no name: then it is not what a server calls itself."""
        return is_address(self.host)


_PORTS = {"http": 80, "https": 443}


class Destinations:
    """A map of names (``--egress-map NAME=URL``), and which tunnels to look into (``--egress-intercept PATTERN``)."""

    def __init__(self, mapped: Iterable[str] = (), intercepted: Iterable[str] = ()) -> None:
        """Read the settings. Raises ValueError, with what to write instead."""
        self._map: dict[str, Target] = {}
        for text in mapped:
            name, target = _entry(text)
            if name in self._map:
                raise ValueError(f"{name} stands there twice")
            self._map[name] = target
        self._intercepted = [_pattern(text) for text in intercepted]

    @property
    def targets(self) -> Sequence[Target]:
        """All URLs of the map."""
        return list(self._map.values())

    def target(self, host: str, port: int) -> Target | None:
        """Tell where calls for a host go; None: to itself."""
        if not self._map:
            return None
        host = host.lower()
        return self._map.get(f"{host}:{port}") or self._map.get(host)

    def looks_into(self, host: str, port: int) -> bool:
        """Whether a tunnel to a host is looked into instead of passed through."""
        host = host.lower()
        return any(one.fullmatch(host) or one.fullmatch(f"{host}:{port}") for one in self._intercepted)


def is_address(host: str) -> bool:
    """Whether a host is an IP address, in any of the ways to write one that resolvers take."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _entry(text: str) -> tuple[str, Target]:
    name, equals, url = text.partition("=")
    name, parts = name.strip().lower(), urlsplit(url.strip())
    wrong = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    try:
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        wrong, port = "port", 0
    if not equals or not _NAME.fullmatch(name) or parts.scheme not in _PORTS or not parts.hostname or wrong:
        raise ValueError(f"{text!r}: write it like payments=http://10.0.0.7:8080")
    return name, Target(parts.scheme, parts.hostname, port)


def _pattern(text: str) -> re.Pattern[str]:
    lower = text.strip().lower()
    if not _PATTERN.fullmatch(lower):
        raise ValueError(f"{text!r} is no pattern of hosts: write it like api.example.com, *.example.com or *")
    return re.compile(translate(lower))
