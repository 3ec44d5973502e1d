"""Requests that keep their recorded host: over TLS each is asked for, verified, and has connections of its own."""

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from replayer.requests.encoding import Request
from replayer.transport import Target, connections
from replayer.transport.authorities import Authorities, place_of
from tests.support.authority import Authority
from tests.support.origin import Connection, Origin, origin
from tests.support.outcomes import Outcomes
from tests.support.processes import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def get(host: str) -> Request:
    return Request(f"GET / HTTP/1.1\r\nHost: {host}\r\nbaggage: loadtest=".encode(), b"\r\n\r\n", "GET")


class Sender:
    def __init__(self, port: int, **options: Any) -> None:
        self.outcomes = Outcomes()
        settings = {"max_connections": 4, "by_authority": True} | options
        pool = connections(Target("127.0.0.1", port, **settings), self.outcomes, time.monotonic_ns)
        assert isinstance(pool, Authorities)
        self.pool = pool

    async def send(self, *hosts: str) -> list[int | str]:
        """Send to all hosts at once; give the outcomes as they come."""
        found: list[int | str] = []
        waiting = list(hosts)
        async with asyncio.timeout(10):
            while len(found) < len(hosts):
                now = time.monotonic_ns()
                while waiting and self.pool.shortage(now) is None:
                    self.pool.send(get(waiting.pop(0)), now, now, now)
                self.pool.sweep(now)
                assert self.pool.connections <= self.pool.target.max_connections
                while not self.outcomes.seen.empty():
                    found.append(self.outcomes.seen.get_nowait())
                await asyncio.sleep(0.001)
        assert (self.pool.in_flight, self.pool.waiting) == (0, 0)
        return found


class Seen:
    """What the origin saw: for each connection the name asked for, and the hosts."""

    def __init__(self) -> None:
        self.connections: list[tuple[str, list[str]]] = []

    async def script(self, connection: Connection, _here: Origin) -> None:
        over = connection.writer.get_extra_info("ssl_object")
        hosts: list[str] = []
        self.connections.append((getattr(over, "asked", ""), hosts))
        while True:
            head = await connection.request()
            hosts.append(head.split(b"Host: ")[1].split(b"\r\n")[0].decode())
            await connection.say(OK)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await main()

    uvloop.run(bounded())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def serving(authority: Authority, *names: str) -> ssl.SSLContext:
    context = authority.serving(authority.issue("shops", *names))

    def note(over: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        over.asked = name or ""  # type: ignore[attr-defined]

    context.sni_callback = note
    return context


def test_each_host_has_its_own_name_and_connections(authority: Authority) -> None:
    async def main() -> None:
        seen = Seen()
        async with origin(seen.script, serving(authority, "a.example", "b.example")) as here:
            sender = Sender(here.port, tls=authority.trusting())
            for _ in range(3):
                assert await sender.send("a.example", "b.example", "A.example:443") == [200] * 3
            # Nobody vouches for the third; the others do not suffer from it.
            assert sorted(map(str, await sender.send("c.example", "a.example", "b.example"))) == [
                "200",
                "200",
                "certificate",
            ]
            assert "c.example" in sender.pool.reasons["certificate"]
            sender.pool.close()
        for name, hosts in seen.connections:
            assert {host.lower().removesuffix(":443") for host in hosts} <= {name}
        assert Counter(host for _, hosts in seen.connections for host in hosts) == {
            "a.example": 4,
            "b.example": 4,
            "A.example:443": 3,
        }

    run(main)


def test_what_fails_is_tried_ever_more_rarely_and_only_that(authority: Authority) -> None:
    async def main() -> None:
        async with origin(Seen().script, serving(authority, "a.example")) as here:
            sender = Sender(here.port, tls=authority.trusting())
            found = []
            for _ in range(30):
                found += await sender.send("c.example", "a.example")
            assert Counter(found)[200] == 30
            assert found.count("withdrawn:backoff") > 10
            assert 1 <= found.count("certificate") < 20
            sender.pool.close()

    run(main)


def test_all_hosts_together_keep_to_the_bound() -> None:
    """More hosts than connections: those that are idle make room, and each request is served once."""

    async def main() -> None:
        seen = Seen()
        async with origin(seen.script) as here:
            hosts = [f"shop{n}.example" for n in range(20)]
            rules = {(host, here.port): ("127.0.0.1",) for host in hosts}
            sender = Sender(here.port, max_connections=3, resolve=rules)
            assert await sender.send(*hosts * 5) == [200] * 100
            sender.pool.close()
        assert Counter(host for _, found in seen.connections for host in found) == dict.fromkeys(hosts, 5)

    run(main)


def test_hosts_go_where_they_are_told_to() -> None:
    async def main() -> None:
        one, other = Seen(), Seen()
        async with origin(one.script) as here, origin(other.script) as there:
            rules = {("b.example", there.port): ("127.0.0.1",)}
            sender = Sender(here.port, resolve=rules)
            hosts = ("a.example", f"b.example:{there.port}", "b.example", "x y?", "")
            assert await sender.send(*hosts) == [200] * 5
            sender.pool.close()
        assert {host for _, hosts in one.connections for host in hosts} == {"a.example", "b.example", "x y?", ""}
        assert {host for _, hosts in other.connections for host in hosts} == {f"b.example:{there.port}"}

    run(main)


def test_hosts_without_end_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replayer.transport.authorities.KEPT", 10)

    async def main() -> None:
        port = free_port()
        rules = {(f"{n}.example", port): ("127.0.0.1",) for n in range(100)}
        sender = Sender(port, resolve=rules)
        found = []
        for number in range(100):
            found += await sender.send(f"{number}.example")
        assert found == ["refused"] * 100
        assert len(sender.pool._pools) <= 10
        assert len(sender.pool._places) <= 10
        assert sender.pool.reasons["refused"]
        sender.pool.close()

    run(main)


@pytest.mark.parametrize(
    ("authority", "place"),
    [
        ("shop.example", ("10.0.0.1", 8443, "shop.example")),
        ("Shop.Example:8443", ("10.0.0.1", 8443, "shop.example")),
        ("api.example", ("api.example", 8443, "api.example")),
        ("api.example:9443", ("10.0.0.1", 8443, "api.example")),
        ("[::1]:9443", ("10.0.0.1", 8443, "::1")),
        ("", ("10.0.0.1", 8443, "10.0.0.1")),
        ("shop.example:http", ("10.0.0.1", 8443, "shop.example:http")),
        ("[::1", ("10.0.0.1", 8443, "[::1")),
    ],
)
def test_where_an_authority_is_served(authority: str, place: tuple[str, int, str]) -> None:
    rules = {("api.example", 8443): ("10.0.0.7",)}
    target = Target("10.0.0.1", 8443, ssl.create_default_context(), resolve=rules)
    found = place_of(target, authority)
    assert (found.host, found.port, found.server_name) == place
