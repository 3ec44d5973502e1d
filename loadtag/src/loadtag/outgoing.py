"""Where the load tag may go: everywhere, unless the app keeps it inside.

    from loadtag import keep_inside

    keep_inside("*.svc.cluster.local", "localhost", "10.0.0.0/8", "payments")

or, without a change of the code, in the environment: ``LOADTAG_INSIDE="*.svc.cluster.local localhost"``. Patterns are
host names, in which a ``*`` stands for anything, or networks. Ports and schemes don't matter. To all other hosts goes
no tag, whichever hook makes the call. Messages in queues stay inside: nobody asks for them.
"""

from __future__ import annotations

import os

from loadtag.faults import tell

TYPE_CHECKING = False  # see `loadtag`
if TYPE_CHECKING:
    import re
    from ipaddress import IPv4Network, IPv6Network

VARIABLE = "LOADTAG_INSIDE"
"""The environment variable that holds patterns, with blanks or commas between them."""


_inside: tuple[re.Pattern[str], tuple[IPv4Network | IPv6Network, ...]] | None = None
"""Which names and which networks; None: everywhere."""


def keep_inside(*patterns: str) -> None:
    """From now on let the tag go to hosts that fit one of the patterns only; without any pattern: everywhere.

    Raises ValueError for a pattern that is neither a host name nor a network.
    """
    global _inside  # noqa: PLW0603 - one policy for the whole app, and hooks that are made anywhere in it
    _inside = _read(patterns) if patterns else None


def goes_to(host: str | bytes | None) -> bool:
    """Tell whether the tag may go to a host: a name, an address, ``host:port`` or a URL. None: nobody knows which."""
    if _inside is None or host is None:
        return True
    names, networks = _inside
    name = _name(host.decode("latin-1") if isinstance(host, bytes) else host)
    return bool(names.fullmatch(name) or (networks and _is_in(name, networks)))


def _name(text: str) -> str:
    """Of ``https://user@Name.:443/path`` only ``name``."""
    scheme, separator, rest = text.partition("://")
    authority = rest if separator and scheme.replace("+", "").isalnum() else text
    for end in "/?#\\":
        authority = authority.partition(end)[0]
    authority = authority.rpartition("@")[2].strip().lower()
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    name, colon, port = authority.rpartition(":")
    if colon and ":" not in name and (not port or port.isdigit()):
        authority = name
    return authority.rstrip(".")


def _read(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], tuple[IPv4Network | IPv6Network, ...]]:
    import re  # noqa: PLC0415 - most apps have no patterns

    names, networks = [], []
    for pattern in patterns:
        text = pattern.strip().lower()
        if "/" in text:
            from ipaddress import ip_network  # noqa: PLC0415 - and of these, most have names

            networks.append(ip_network(text, strict=False))
        elif re.fullmatch(r"[^\s/@?#\\]+", text):
            bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
            names.append(".*".join(re.escape(part) for part in bare.rstrip(".").split("*")))
        else:
            raise ValueError(f"{pattern!r} is neither a host name (with * for anything) nor a network (10.0.0.0/8)")
    return re.compile("|".join(names) or r"(?!)"), tuple(networks)


def _is_in(name: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    from ipaddress import ip_address  # noqa: PLC0415 - as above

    try:
        address = ip_address(name)
    except ValueError:
        return False
    return any(address in network for network in networks)


def _from_environment() -> None:
    patterns = os.environ.get(VARIABLE, "").replace(",", " ").split()
    if patterns:
        try:
            keep_inside(*patterns)
        except ValueError as error:
            # Importing this must not end the app. A tag that goes nowhere is safer than one that goes everywhere.
            tell(f"{VARIABLE}: {error}; no host gets the tag")
            keep_inside("0.0.0.0/32")


_from_environment()
