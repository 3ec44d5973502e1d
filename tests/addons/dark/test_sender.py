"""The aide's sender, with a real socket before it and a real service behind it."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from addons.dark.accounts import HANDED, SEEN, Accounts, Sums
from addons.dark.comparison import checksum
from addons.dark.copying import Copy, packed
from addons.dark.sender import INTERIM, STALE_NS, Sender
from addons.dark.settings import Settings
from tests.support.origin import Connection, Origin, Script, answering, certificate, origin

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


class Site(NamedTuple):
    """A sender, and the worker's end of its socket."""

    service: Origin
    outlet: socket.socket
    accounts: Accounts
    sender: Sender
    levers: list[bool]

    def hand_over(self, copy: Copy) -> None:
        """As a worker does."""
        cells = self.accounts._worker(0)
        cells[SEEN] += 1
        cells[HANDED] += 1
        self.outlet.send(packed(copy))

    @property
    def sums(self) -> Sums:
        return self.accounts.sums(lambda _: True)

    async def settled(self) -> dict[str, int]:
        """Wait until nothing is on its way, and tell what became of it."""
        await until(lambda: self.sums.waiting == self.sums.in_flight == 0)
        sums = self.sums
        assert sums.seen == sum(sums.outcomes.values())
        return {name: count for name, count in sums.outcomes.items() if count}


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def sending(script: Script, **changes: Any) -> AsyncIterator[Site]:
    async with origin(script) as service:
        settings = Settings(
            **{"url": f"http://127.0.0.1:{service.port}", "name": "next", "timeout": 5.0, "at_once": 8, **changes}
        )
        accounts, levers = Accounts.create(1), [False]
        accounts.worker(0)
        inlet, outlet = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        inlet.setblocking(False)
        now = asyncio.get_running_loop().time()
        sender = Sender(settings, accounts.aide(0), inlet, lambda: levers[0], now)
        try:
            yield Site(service, outlet, accounts, sender, levers)
        finally:
            await sender.close()
            inlet.close()
            outlet.close()
            accounts.close()


def a_copy(target: bytes = b"/x", **changes: Any) -> Copy:
    fields = ((b"Host", b"shop.example"), (b"Cookie", b"a=1"))
    made = Copy(time.monotonic_ns(), b"GET", target, b"shop.example", fields, b"", 200, 5, checksum(b"hello"), 10**6)
    return made._replace(**changes)


async def test_copies_arrive_as_they_were_and_marked() -> None:
    async with sending(answering(HELLO), compare=("status", "size", "body-hash")) as site:
        site.hand_over(a_copy(b"/x?a=%20b&&="))
        site.hand_over(a_copy(b"/y", method=b"POST", body=b"four", duration_ns=2 * 10**9))
        assert await site.settled() == {"2xx": 2}
        got = sorted(site.service.requests, key=lambda request: request.split(b" ")[0])
        assert got[0] == (
            b"GET /x?a=%20b&&= HTTP/1.1\r\nhost: shop.example\r\nCookie: a=1\r\nx-reamp-dark: next\r\n\r\n"
        )
        assert got[1].startswith(b"POST /y HTTP/1.1\r\nhost: shop.example\r\n")
        assert b"content-length: 4\r\n" in got[1]
        assert site.sums.times["real"].counts[-5:-3] == [1, 0]  # up to 2.5 s
        assert site.sums.compared["status"] == (2, 0)


@pytest.mark.parametrize("target", ["//x/../y/./%2e", "/a%zz?b=[]{}|\\^`'\"<>&&", "/%E9;p=1,2?x?y=%"])
async def test_the_target_is_asked_for_to_the_letter(target: str) -> None:
    async with sending(answering(HELLO)) as site:
        site.hand_over(a_copy(target.encode()))
        assert await site.settled() == {"2xx": 1}
        assert site.service.requests[0].startswith(f"GET {target} HTTP/1.1\r\n".encode())


async def test_what_differs_is_counted_and_told_without_secrets(caplog: Any) -> None:
    caplog.set_level("INFO")
    wrong = b"HTTP/1.1 500 Oops\r\ncontent-length: 5\r\n\r\nworld"
    async with sending(answering(wrong), compare=("status", "body-hash")) as site:
        for _ in range(10):
            site.hand_over(a_copy(b"/x?token=secret"))
        assert await site.settled() == {"5xx": 10}
        assert site.sums.compared == {"status": (0, 10), "size": (0, 0), "body-hash": (0, 10)}
    told = [record.message for record in caplog.records if "differs" in record.message]
    assert told == ["The dark answer differs: GET /x: status 200, dark 500; another body"]


async def test_redirects_are_not_followed_and_cookies_not_kept() -> None:
    answer = b"HTTP/1.1 302 Found\r\nlocation: /other\r\nset-cookie: b=2\r\ncontent-length: 0\r\n\r\n"
    async with sending(answering(answer)) as site:
        for _ in range(3):
            site.hand_over(a_copy())
        assert await site.settled() == {"3xx": 3}
        assert len(site.service.requests) == 3
        assert not any(b"b=2" in request or b"/other" in request for request in site.service.requests)


async def test_a_service_that_hangs_costs_a_place_for_the_timeout_and_no_more_than_there_are() -> None:
    open_now = most = 0

    async def hang(connection: Connection, here: Origin) -> None:
        nonlocal open_now, most
        here.requests.append(await connection.request())
        open_now += 1
        most = max(most, open_now)
        try:
            await connection.hang()
        finally:
            open_now -= 1

    async with sending(hang, at_once=3, timeout=0.2) as site:
        for _ in range(6):
            site.hand_over(a_copy())
        outcomes = await site.settled()
        assert most <= 3
        # Some waited too long behind the others.
        assert outcomes.get("timeout", 0) + outcomes.get("stale", 0) == 6
        assert outcomes["timeout"] == len(site.service.requests)


async def test_an_answer_without_end_is_cut_off() -> None:
    async def pour(connection: Connection, here: Origin) -> None:
        here.requests.append(await connection.request())
        await connection.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            await connection.say(b"8000\r\n" + bytes(0x8000) + b"\r\n")

    async with sending(pour, timeout=0.3) as site:
        site.hand_over(a_copy())
        assert await site.settled() == {"timeout": 1}


async def test_an_answer_that_is_announced_without_end_is_not_waited_for() -> None:
    said = 0

    async def announce(connection: Connection, here: Origin) -> None:
        nonlocal said
        here.requests.append(await connection.request())
        while True:
            await connection.say(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n" * 100)
            said += 100

    async with sending(announce) as site:
        site.hand_over(a_copy())
        assert await site.settled() == {"failed": 1}
        assert said < 100_000, "what it says is not read to its time-out"


async def test_an_answer_may_be_announced() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n" * INTERIM
    async with sending(answering(hints + HELLO)) as site:
        for _ in range(3):
            site.hand_over(a_copy())
        assert await site.settled() == {"2xx": 3}


async def test_nonsense_is_no_answer() -> None:
    async with sending(answering(b"220 smtp.example ready\r\n\r\n")) as site:
        site.hand_over(a_copy())
        assert await site.settled() == {"failed": 1}


async def test_a_service_that_is_gone_is_tried_again_and_found_when_it_is_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with sending(answering(HELLO)) as site:
        site.sender._to = f"http://127.0.0.1:{port}"
        for _ in range(8):
            site.hand_over(a_copy())
        await until(lambda: site.sums.outcomes["failed"] >= 5)
        site.sender._to = f"http://127.0.0.1:{site.service.port}"

        def comes_through() -> bool:
            if not site.sums.waiting:
                site.hand_over(a_copy())
            return site.sums.outcomes["2xx"] >= 5

        await until(comes_through)
        assert not site.sender._bounds.resting


async def test_by_tls_it_goes_only_to_whom_the_system_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust, serving = certificate(tmp_path, "127.0.0.1")
    async with origin(answering(HELLO), serving) as service:
        url = f"https://127.0.0.1:{service.port}"
        async with sending(answering(HELLO), url=url) as site:
            site.hand_over(a_copy())
            assert await site.settled() == {"failed": 1}
        monkeypatch.setenv("SSL_CERT_FILE", str(trust))
        async with sending(answering(HELLO), url=url) as site:
            site.hand_over(a_copy())
            assert await site.settled() == {"2xx": 1}


async def test_what_can_not_be_sent_is_counted() -> None:
    async with sending(answering(HELLO)) as site:
        site.hand_over(a_copy(fields=((b"Host", b"x"), (b"bad name", b"1"))))
        for target in (b"/white space", b"*", b"http://elsewhere.example/", b"/x#y", b"/\xc3\xa9", b"/x\r\nx: y"):
            site.hand_over(a_copy(target))
        site.hand_over(a_copy(fields=((b"x", b"a\r\nb: c"),)))
        site.hand_over(a_copy(fields=((b"x", b"\xff"),)))
        site.outlet.send(b"\xc1")
        site.accounts._worker(0)[SEEN] += 1
        site.accounts._worker(0)[HANDED] += 1
        site.hand_over(a_copy())
        assert await site.settled() == {"unsendable": 10, "2xx": 1}
        assert len(site.service.requests) == 1


async def test_what_waited_for_too_long_is_not_sent() -> None:
    async with sending(answering(HELLO)) as site:
        site.hand_over(a_copy(at_ns=time.monotonic_ns() - 2 * STALE_NS))
        assert await site.settled() == {"stale": 1}
        assert not site.service.requests


async def test_a_lever_that_is_pulled_recalls_what_waits() -> None:
    async with sending(answering(HELLO)) as site:
        site.levers[0] = True
        for _ in range(3):
            site.hand_over(a_copy())
        assert await site.settled() == {"recalled": 3}
        site.levers[0] = False
        site.hand_over(a_copy())
        assert await site.settled() == {"recalled": 3, "2xx": 1}
        assert len(site.service.requests) == 1


async def test_the_rate_is_kept() -> None:
    async with sending(answering(HELLO), per_second=20.0) as site:
        began = time.monotonic()
        for _ in range(10):
            site.hand_over(a_copy())
        outcomes = await site.settled()
        sent, seconds = outcomes["2xx"], time.monotonic() - began
        assert sent + outcomes.get("stale", 0) == 10
        assert sent <= 2 + 20 * seconds


async def test_host_and_secrets_as_chosen() -> None:
    async with sending(answering(HELLO), host="dark.internal", secrets=False) as site:
        site.hand_over(a_copy())
        assert await site.settled() == {"2xx": 1}
        assert site.service.requests == [
            b"GET /x HTTP/1.1\r\nhost: dark.internal\r\nx-reamp-dark: next\r\n\r\n",
        ]


async def test_at_its_end_it_waits_for_what_is_under_way_and_takes_no_more() -> None:
    async def slow(connection: Connection, here: Origin) -> None:
        here.requests.append(await connection.request())
        await asyncio.sleep(0.1)
        await connection.say(HELLO)

    async with sending(slow) as site:
        site.hand_over(a_copy())
        await until(lambda: site.service.requests)
        closing = asyncio.create_task(site.sender.close())
        await asyncio.sleep(0)
        site.hand_over(a_copy())
        await closing
        assert site.sums.outcomes["2xx"] == 1
        assert site.sums.waiting == 1
