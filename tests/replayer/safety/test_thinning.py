"""A share of the due requests goes on: the same in C and in Python, in one process and in several."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from replayer.encoder import encoder_for
from replayer.lanes.choice import addresses_of
from replayer.lanes.fleet import Fleet
from replayer.permission.ceiling import Ceiling, Source
from replayer.plan import Plan
from replayer.safety.thinning import passes, seeded, splitmix64
from replayer.schedule.demand import Timeline
from replayer.stock import Stock, Supply
from rules.units import MILLION, Share
from rules.wire import Grant, Lever, Signal
from tests.support.origin import Origin, answering, origin
from tests.support.sending import Host, get, lane

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CODE: Any = None
SEEDS = st.integers(0, 2**64 - 1)
NUMBERS = st.one_of(st.integers(0, 10**6), st.integers(0, 2**63 - 1))


@pytest.fixture(scope="module", autouse=True)
def _code(native: Any) -> None:
    global CODE  # noqa: PLW0603 - Hypothesis makes no fixture's arguments
    CODE = native


def test_the_hash_is_splitmix64() -> None:
    gamma = 0x9E3779B97F4A7C15
    # The first numbers that java.util.SplittableRandom's algorithm gives for the seed 0.
    known = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [splitmix64(gamma * step % 2**64) for step in (1, 2, 3)] == known


@given(SEEDS, NUMBERS, st.integers(0, MILLION))
def test_c_draws_as_python_does(seed: int, number: int, gain: int) -> None:
    assert CODE.passes(seed, number, gain) == passes(seed, number, gain)


@given(SEEDS, NUMBERS, st.integers(0, MILLION), st.integers(0, MILLION))
def test_who_passes_under_a_gain_passes_under_a_greater_one(seed: int, number: int, one: int, other: int) -> None:
    assert passes(seed, number, max(one, other)) >= passes(seed, number, min(one, other))
    assert passes(seed, number, MILLION)
    assert not passes(seed, number, 0)


@given(st.integers(0, 2**32), st.integers(0, 63), st.integers(10_000, 990_000))
def test_the_share_is_the_gain(seed: int, part: int, gain: int) -> None:
    count = 4000
    gone = sum(passes(seeded(seed, part), number, gain) for number in range(count))
    expected, spread = count * gain / MILLION, (count * gain * (MILLION - gain)) ** 0.5 / MILLION
    assert abs(gone - expected) < 6 * spread


def test_the_processes_of_a_run_do_not_draw_alike() -> None:
    one, other = ([passes(seeded(1, part), number, MILLION // 2) for number in range(1000)] for part in (0, 1))
    assert 400 < sum(a == b for a, b in zip(one, other, strict=True)) < 600


class Run:
    """A lane that is kept going, as a run does it, while a test turns its gain."""

    def __init__(self, host: Host, here: Origin, gap: float) -> None:
        self.host, self.here, self.gap = host, here, gap
        assert host.lane is not None
        self.lane = host.lane
        self.granted = 0
        self.begun_ns = time.monotonic_ns()

    def grant(self) -> None:
        """Let every sidecar grant more than is needed."""
        self.granted += 1000
        for source in self.host.ceiling.sources:
            now, signal = time.monotonic_ns(), Signal(window=1, rate=1)
            grant = Grant(elapsed_ns=now - self.begun_ns, real=self.granted, granted=self.granted,
                          ratio=Share(MILLION), lever=Lever(), signal=signal)  # fmt: skip
            source.take(grant, now)
            self.lane.heard(source)

    def begin(self, count: int) -> None:
        items = [(round(number * self.gap * 1e9), get()) for number in range(count)]
        stock = Stock(iter(items), lambda item: len(item[1]))
        stock.fill(count)
        self.lane.begin(Supply(Timeline(stock, 0, time.monotonic_ns() + 20_000_000), stock, None), 0)

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not done():
                self.grant()
                self.lane.beat(time.monotonic_ns())
                self.lane.wake()
                self.lane.look()
                accounts = self.host.ledger.accounts
                assert accounts.reconciles(), accounts
                await asyncio.sleep(0.01)

    async def seconds(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        await self.until(lambda: time.monotonic() >= end)


@contextmanager
def closing(run: Run) -> Iterator[Run]:
    try:
        yield run
    finally:
        run.host.ledger.accounts.unanswered += run.lane.close()
        run.lane.look()


async def _fleet(host: Host, port: int) -> Fleet:
    plan = Plan.model_validate({"recording": "r", "to": f"http://127.0.0.1:{port}", "idle_target": True})
    encoder = encoder_for(plan, "20261121-210305-k3f9")
    for route in host.ledger.routes:
        encoder.routes.named(route.method, route.template)
    told = {"run": "20261121-210305-k3f9", "begin": 0, "addresses": await addresses_of(plan), "dealt": True}
    fleet = Fleet(host, plan, 2, encoder, told)
    host.lane = fleet
    assert await fleet.ready()
    return fleet


@pytest.mark.parametrize("name", ["python", "native", "fleet"])
def test_with_a_gain_of_nothing_nothing_is_sent_and_it_takes_effect_within_a_beat(name: str) -> None:
    async def main() -> None:
        async with origin(answering(OK)) as here:
            host = Host(Ceiling([Source("http://sidecar", Share(MILLION))]))
            if name == "fleet":
                await _fleet(host, here.port)
            else:
                lane(name, host, here.port, max_connections=16)
            with closing(Run(host, here, 0.002)) as run:
                accounts, (source,) = host.ledger.accounts, host.ceiling.sources
                run.begin(750)
                await run.until(lambda: accounts.sent >= 100)
                assert not accounts.shed["backed-off"]
                run.lane.set_gain(0)
                await run.seconds(0.1)  # a beat, and what was on its way arrives
                before, wanted = len(here.requests), accounts.wanted
                await run.until(lambda: accounts.wanted >= wanted + 150)
                assert len(here.requests) == before
                run.lane.set_gain(MILLION // 2)
                await run.until(lambda: host.stopped is not None and not (run.lane.in_flight or run.lane.waiting))
            assert 60 < len(here.requests) - before < 300
            assert accounts.reconciles()
            assert accounts.wanted == 750
            assert accounts.sent == source.spent == len(here.requests)  # what was left out cost no credit
            assert accounts.shed["backed-off"] + accounts.shed["late"] == 750 - accounts.sent
            assert sum(route.shed["backed-off"] for route in host.ledger.routes) == accounts.shed["backed-off"]

    uvloop.run(main())


@pytest.mark.parametrize("name", ["python", "native"])
def test_both_lanes_leave_out_the_same_requests(name: str) -> None:
    async def main() -> None:
        async with origin(answering(OK)) as here:
            host = Host()
            lane(name, host, here.port, max_connections=16)
            with closing(Run(host, here, 0.001)) as run:
                run.lane.set_gain(300_000)
                run.begin(300)
                await run.until(lambda: host.stopped is not None and not (run.lane.in_flight or run.lane.waiting))
            accounts = host.ledger.accounts
            assert accounts.wanted == 300
            passing = [passes(seeded(1), number, 300_000) for number in range(300)]
            if accounts.shed["late"] or accounts.shed["connections"]:  # on a busy machine some may be
                assert accounts.sent < sum(passing)
            else:
                assert accounts.sent == sum(passing)

    uvloop.run(main())
