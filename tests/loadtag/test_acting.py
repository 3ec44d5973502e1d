"""Doing nothing for load."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest

from loadtag import Dark, LoadTag, Served, metric_label, noop_when_load_test, serve
from loadtag.acting import LABELS

SYNTHETIC = Served(LoadTag("key", "run-1", 1_800_000_000, "shop"), "token")
charged: list[tuple[str, Decimal]] = []


@pytest.fixture(autouse=True)
def nobody_charged() -> None:
    charged.clear()


@noop_when_load_test(returns="no receipt")
def charge(card: str, amount: Decimal = Decimal(1)) -> str:
    """Charge a card."""
    charged.append((card, amount))
    return "receipt"


@noop_when_load_test(returns="no receipt")
async def charge_later(card: str, amount: Decimal = Decimal(1)) -> str:
    await asyncio.sleep(0)
    return charge.__wrapped__(card, amount)  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("served", [SYNTHETIC, Dark("next")])
async def test_nothing_is_done_for_load_and_everything_for_users(served: Served | Dark) -> None:
    with serve(served):
        assert charge("visa", amount=Decimal(2)) == "no receipt"
        assert await charge_later("visa") == "no receipt"
    assert charged == []
    with serve(None):
        assert charge("visa", amount=Decimal(2)) == "receipt"
    assert await charge_later("amex") == "receipt"
    assert charged == [("visa", Decimal(2)), ("amex", Decimal(1))]


def test_the_function_keeps_its_looks() -> None:
    assert (charge.__name__, charge.__doc__) == ("charge", "Charge a card.")
    assert list(inspect.signature(charge).parameters) == ["card", "amount"]
    assert inspect.iscoroutinefunction(charge_later)
    assert not inspect.iscoroutinefunction(charge)


async def test_something_else_may_be_done_instead() -> None:
    async def pretend_later(card: str) -> str:
        await asyncio.sleep(0)
        return f"pretended {card} later"

    def pretend(card: str) -> str:
        return f"pretended {card}"

    @noop_when_load_test(instead=pretend)
    def sync(card: str) -> str:
        return f"charged {card}"

    either = [noop_when_load_test(instead=instead)(charge_later) for instead in (pretend, pretend_later)]
    with serve(SYNTHETIC):
        assert sync("visa") == "pretended visa"
        assert [await function("visa") for function in either] == ["pretended visa", "pretended visa later"]
    assert sync("visa") == "charged visa"
    assert charged == []


def test_methods_and_partials() -> None:
    class Mailer:
        sent = 0

        @noop_when_load_test()
        def send(self, number: int) -> int | None:
            self.sent += number
            return self.sent

    mailer = Mailer()
    partial = noop_when_load_test(returns=-1)(functools.partial(mailer.send, 5))
    with serve(SYNTHETIC):
        assert (mailer.send(1), partial()) == (None, -1)
    assert (mailer.send(1), partial(), mailer.sent) == (1, 6, 6)


async def test_methods_without_an_object_and_objects_that_are_called() -> None:
    class Provider:
        @noop_when_load_test(returns=0)
        @staticmethod
        async def charge(amount: int) -> int:
            return amount

        @noop_when_load_test(returns=0)
        @classmethod
        def refund(cls, amount: int) -> int:
            return amount

        async def __call__(self, amount: int) -> int:
            return amount

    called = noop_when_load_test(returns=0)(Provider())
    assert (await Provider.charge(5), Provider.refund(5), await called(5)) == (5, 5, 5)
    with serve(SYNTHETIC):
        assert (await Provider.charge(5), Provider().refund(5), await called(5)) == (0, 0, 0)


@pytest.mark.parametrize(("returns", "expected"), [(None, []), ((), []), ([7, 8], [7, 8])])
async def test_generators_give_what_is_said_or_nothing(returns: Any, expected: list[int]) -> None:
    done: list[str] = []

    @noop_when_load_test(returns=returns)
    def generate(last: int) -> Iterator[int]:
        done.append("sync")
        yield from range(last)

    @noop_when_load_test(returns=returns)
    async def generate_later(last: int) -> AsyncIterator[int]:
        done.append("async")
        for number in range(last):
            yield number

    with serve(SYNTHETIC):
        assert [*generate(3)] == expected
        assert [number async for number in generate_later(3)] == expected
        await generate_later(3).aclose()  # type: ignore[attr-defined]
    assert done == []
    assert [*generate(3)] == [number async for number in generate_later(3)] == [0, 1, 2]
    assert done == ["sync", "async"]


async def test_generators_may_be_made_instead() -> None:
    def pretend(last: int) -> Iterator[int]:
        yield -last

    async def pretend_later(last: int) -> AsyncIterator[int]:
        yield -last

    @contextmanager
    @noop_when_load_test(instead=pretend)
    def opened(last: int) -> Iterator[int]:
        yield last

    async def generate(last: int) -> AsyncIterator[int]:
        yield last

    with serve(SYNTHETIC):
        with opened(3) as found:
            assert found == -3
        for instead in (pretend, pretend_later):
            assert [one async for one in noop_when_load_test(instead=instead)(generate)(3)] == [-3]
    with opened(3) as found:
        assert found == 3


def test_a_generator_can_give_no_single_thing() -> None:
    def generate() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match=r"returns=\[5\]"):
        noop_when_load_test(returns=5)(generate)


def test_errors_are_the_functions_own() -> None:
    @noop_when_load_test()
    def fail() -> None:
        raise RuntimeError("own")

    with pytest.raises(RuntimeError, match="own"):
        fail()
    with serve(SYNTHETIC):
        fail()


def test_the_label_has_three_values() -> None:
    seen = [metric_label()]
    for served in (None, SYNTHETIC, Served(LoadTag("key", "run-2", 1, "shop"), "token"), Dark("next"), Dark("other")):
        with serve(served):
            seen.append(metric_label())
    assert seen == ["real", "real", "synthetic", "synthetic", "dark", "dark"]
    assert set(seen) == set(LABELS)
