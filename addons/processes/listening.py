"""Sockets that several processes accept on: one set for each worker, all on the same address.

An address that can't be had now may be had in a moment: it is no mistake in the settings, of which a service manager
would believe that to start again mends nothing.
"""

import contextlib
import errno
import socket
from typing import Any

from rules.exits import Exit, UserError
from rules.units import parse_address

_Where = tuple[int, tuple[Any, ...]]

_NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def bind(address: str, count: int, *, shared: bool = False) -> list[list[socket.socket]]:
    """Bind `count` sets of sockets to ``HOST:PORT``; a set has one for each address that the host stands for.

    The kernel spreads new connections over those that are being listened on; whoever is to accept begins to listen.
    `shared`: the port is held by workers of ours from before, who are about to leave it, and may be joined. Otherwise a
    port that somebody else holds is told, whoever it is. Raises UserError.
    """
    host, port = parse_address(address)
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise UserError(f"{address}: {_words(error)}", Exit.FAILED) from None
    families: list[_Where] = list(dict.fromkeys((family, where[:2]) for family, _, _, _, where in found))
    with contextlib.ExitStack() as opened:
        try:
            if not shared:
                port = _probe(families)
            sets = [_bind_all(families, port, opened) for _ in range(count)]
        except OSError as error:
            raise UserError(f"{address} can't be listened on: {_words(error)}", Exit.FAILED) from None
        opened.pop_all()
    return sets


def bind_one(address: str) -> socket.socket:
    """Bind ``HOST:PORT`` for this process alone. Raises UserError."""
    host, port = parse_address(address)
    one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((host, port))
    except OSError as error:
        one.close()
        raise UserError(f"the control port {address} can't be opened: {_words(error)}", Exit.FAILED) from None
    return one


def _probe(families: list[_Where]) -> int:
    """Find out whether anybody listens there, and which port it is (0 stands for one that is free).

    A socket that is willing to share would be let in beside another process that shares as well.
    """
    with contextlib.ExitStack() as opened:
        probes = _bind_all(families, 0, opened, share=False)
        return int(probes[0].getsockname()[1])


def _bind_all(
    families: list[_Where], port: int, opened: contextlib.ExitStack, *, share: bool = True
) -> list[socket.socket]:
    """Bind one socket for each address, all to one port. Addresses that this machine does not have are left out."""
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for family, where in families:
        try:
            one = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if share:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((where[0], port or where[1]))
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            missing = error
            continue
        port = one.getsockname()[1]
        sockets.append(one)
    if missing and not sockets:
        raise missing
    return sockets


def _words(error: OSError) -> str:
    """Say it as the system does, for a name that can't be resolved as well."""
    return (error.strerror or str(error)).lower()
