"""Where requests go, and how. Pure."""

import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from replayer.plan import Plan

Http2 = Literal["never", "auto", "always"]
"""auto: over TLS if the target agrees to it (ALPN), else HTTP/1.1. always: without TLS by prior knowledge."""

Addresses = Mapping[tuple[str, int], tuple[str, ...]]
"""Host and port to addresses that are connected to instead, in turn."""

NOWHERE_ELSE: Addresses = MappingProxyType({})


class Target(NamedTuple):
    """Where to connect to, and how."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    connect_timeout: float = 5.0
    timeout: float = 30.0
    max_connections: int = 256
    guarded: bool = True
    """Whether a sidecar stands before it, so that an answer may be the guard's."""
    first_byte_timeout: float | None = None
    """Longest wait for the first byte of the answer; None: as long as for the whole one."""
    http2: Http2 = "never"
    resolve: Addresses = NOWHERE_ELSE
    by_authority: bool = False
    """Whether the recorded authority decides which name a certificate has to bear, and which address of `resolve` is
    connected to; so connections are not shared between authorities."""
    kept: int = 0
    """Bytes of each answer's body that are kept and told of; 0: no body is told of."""
    longest: int | None = None
    """Bytes that an answer may have; None: any number."""


def target(plan: Plan, tls: ssl.SSLContext | None) -> Target:
    """Build the target of a plan."""
    host, port = plan.address
    return Target(
        host,
        port,
        tls,
        plan.server_name,
        plan.connect_timeout,
        plan.timeout,
        plan.max_connections,
        guarded=bool(plan.sidecars),
        first_byte_timeout=plan.first_byte_timeout,
        http2=plan.http2,
        resolve=plan.addresses,
        by_authority=plan.host == "recorded" and (plan.tls or bool(plan.resolve)),
    )
