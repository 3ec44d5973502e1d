"""Which lane a plan gets, and why: one line that people are told. Edge: loads the library, looks the target up."""

import asyncio
import socket
import struct
import sys
from typing import Literal, NamedTuple

from replayer.lanes.native import load
from replayer.plan import Plan
from rules.exits import UserError


class Choice(NamedTuple):
    """A lane by its name, and why it was taken."""

    name: Literal["native", "python"]
    why: str
    addresses: tuple[bytes, ...] = ()
    """The target's, as the kernel has them (`struct sockaddr`); for the native lane."""


async def choose(plan: Plan) -> Choice:
    """Choose. Raises UserError if no lane carries what the plan asks."""
    choice = await _choose(plan)
    if plan.processes == 1:
        return choice
    if choice.name != "native":
        raise UserError(f"--processes {plan.processes} needs the native lane, and this run has it not: {choice.why}")
    if plan.processes > plan.max_connections:
        raise UserError(
            f"--processes {plan.processes} share --max-connections {plan.max_connections}: one each at least"
        )
    return choice._replace(why=f"{choice.why} in {plan.processes} processes")


async def _choose(plan: Plan) -> Choice:
    if plan.lane == "python":
        return Choice("python", "asked for")
    lacking = _lacking(plan)
    addresses: tuple[bytes, ...] = ()
    if lacking is None:
        try:
            load()
            addresses = await addresses_of(plan)
        except OSError as error:
            lacking = str(error)
    if lacking is None:
        return Choice("native", "plain HTTP/1.1, sent by C", addresses)
    if plan.lane == "native":
        raise UserError(f"--lane native can't carry this run: {lacking}. --lane auto takes the Python lane then")
    return Choice("python", f"not native: {lacking}")


def _lacking(plan: Plan) -> str | None:
    """Tell what the plan needs that the native lane has not; None: nothing."""
    needs = {
        "it is for Linux on machines of 64 bits": sys.platform != "linux" or struct.calcsize("P") != 8,
        "the target speaks TLS": plan.tls,
        "answers are compared (--diff)": bool(plan.diff),
        "it is to be HTTP/2": plan.http2 == "always",
        "each recorded host has an address of its own (--resolve)": plan.host == "recorded" and bool(plan.resolve),
        "several addresses take turns (--resolve)": len(plan.addresses.get(plan.address, ())) > 1,
    }
    return next((why for why, needed in needs.items() if needed), None)


async def addresses_of(plan: Plan) -> tuple[bytes, ...]:
    """Look the target up, where `Plan.resolve` says nothing. Raises OSError."""
    host, port = plan.address
    loop = asyncio.get_running_loop()
    found = [
        await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        for name in plan.addresses.get((host, port), (host,))
    ]
    return tuple(packed(family, address) for one in found for family, _, _, _, address in one)


def packed(family: int, address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> bytes:
    """Give a `struct sockaddr_in` or `struct sockaddr_in6` (ip(7), ipv6(7))."""
    host, port = str(address[0]), int(address[1])
    if family == socket.AF_INET6:
        flow, scope = (int(address[2]), int(address[3])) if len(address) == 4 else (0, 0)
        raw = socket.inet_pton(family, host.partition("%")[0])
        return struct.pack("=H", family) + struct.pack("!HI", port, flow) + raw + struct.pack("=I", scope)
    return struct.pack("=H", family) + struct.pack("!H", port) + socket.inet_pton(family, host) + bytes(8)
