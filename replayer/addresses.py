"""Addresses to connect to in place of what a name resolves to, as curl's `--resolve` has them. Pure."""

import ipaddress
import re
from collections.abc import Iterable
from contextlib import suppress

Addresses = dict[tuple[str, int], tuple[str, ...]]
"""Host, in small letters, and port: the addresses, in the order given."""

_RULE = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\s/]+):(?P<port>\d{1,5}):(?P<addresses>[^\s]+)")


def parse(rules: Iterable[str]) -> Addresses:
    """Read rules like `shop.example:443:10.0.0.5`; several addresses take turns. Raises ValueError with the reason."""
    found: Addresses = {}
    for rule in rules:
        match = _RULE.fullmatch(rule)
        if match is None:
            raise ValueError(f"{rule!r}: write HOST:PORT:ADDRESS, like shop.example:443:10.0.0.5")
        port = int(match["port"])
        if not 1 <= port <= 65_535:
            raise ValueError(f"{rule!r}: there is no port {port}")
        addresses = tuple(_address(rule, text) for text in match["addresses"].split(","))
        key = (match["host"].strip("[]").lower(), port)
        if key in found:
            raise ValueError(
                f"{rule!r}: {match['host']}:{port} is named twice; give all its addresses at once, by commas"
            )
        found[key] = addresses
    return found


_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def check_host(host: str) -> str:
    """Give a host that can be looked up, or an IP address, as it is. Raises ValueError with the reason."""
    with suppress(ValueError):
        return str(ipaddress.ip_address(host)) and host
    if not host.isascii():
        raise ValueError(f"{host!r}: write the name as it is looked up{_in_ascii(host)}")
    if len(host) > 253 or not all(map(_LABEL.fullmatch, host.removesuffix(".").split("."))):
        raise ValueError(f"{host!r} is no name of a host")
    return host


def _in_ascii(host: str) -> str:
    try:
        return f", {host.encode('idna').decode()}"
    except UnicodeError:
        return " (xn--...)"


def _address(rule: str, text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise ValueError(
            f"{rule!r}: {text!r} is no IP address; a name can't stand for a name here, and the port stays the same"
        ) from None
