"""What is served follows the work: into executors, threads, tasks and processes, and no further."""

import asyncio
import functools
import pickle
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier, Thread
from typing import Any

import httpx
import pytest
from opentelemetry.instrumentation.threading import ThreadingInstrumentor
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from loadtag import Dark, LoadTag, Served, current_run, format_token, inject, is_dark, serve
from loadtag.asgi import LoadTagMiddleware
from loadtag.concurrency import carry, follow_into_executors, leave_executors_alone


def served(run: str) -> Served:
    tag = LoadTag("key", run, 1_800_000_000, "shop")
    return Served(tag, format_token(tag, bytes(64)))


@pytest.fixture(autouse=True)
def executors() -> Iterator[None]:
    follow_into_executors()
    yield
    follow_into_executors()


def ask(*_: object, **__: object) -> str | None:
    return current_run()


def test_what_is_handed_to_an_executor_is_part_of_what_is_served_then() -> None:
    with ThreadPoolExecutor(1) as pool:
        with serve(served("run-1")):
            first = pool.submit(ask)  # starts the thread
            mapped = list(pool.map(ask, range(3)))
        with serve(None):
            real = pool.submit(ask)
        outside = pool.submit(ask)
        with serve(Dark("next")):
            dark = pool.submit(is_dark)
        assert (first.result(), mapped, real.result(), outside.result()) == ("run-1", ["run-1"] * 3, None, None)
        assert dark.result()
        assert not pool.submit(is_dark).result()


def test_arguments_results_and_errors_are_those_of_the_function() -> None:
    def work(a: int, *, fn: int = 0, self: int = 0) -> int:
        return 100 // a + fn + self

    with ThreadPoolExecutor(1) as pool, serve(served("run-1")):
        assert pool.submit(work, 10, fn=5, self=1).result() == 16
        with pytest.raises(ZeroDivisionError):
            pool.submit(work, 0).result()
        assert pool.submit(ask).result() == "run-1"


def test_threads_of_one_pool_serve_different_requests_at_once() -> None:
    together = Barrier(4)

    def meet() -> str | None:
        together.wait(10)
        return current_run()

    with ThreadPoolExecutor(4) as pool:
        futures: list[Future[str | None]] = []
        for run in ("run-1", None, "run-2", None):
            with serve(served(run) if run else None):
                futures.append(pool.submit(meet))
        assert [future.result() for future in futures] == ["run-1", None, "run-2", None]


async def test_run_in_executor_and_tasks() -> None:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(2) as pool:

        async def request(run: str | None) -> list[str | None]:
            with serve(served(run) if run else None):
                later: asyncio.Future[str | None] = loop.create_future()
                loop.call_soon(lambda: later.set_result(current_run()))
                return [
                    await loop.run_in_executor(pool, ask),
                    await loop.run_in_executor(None, functools.partial(ask, 1)),
                    await asyncio.to_thread(ask),
                    await asyncio.create_task(asyncio.to_thread(ask)),
                    await later,
                ]

        runs = [f"run-{number}" if number % 2 else None for number in range(10)]
        assert await asyncio.gather(*map(request, runs)) == [[run] * 5 for run in runs]
        assert current_run() is None


async def test_coroutines_handed_to_a_loop_by_a_thread() -> None:
    loop = asyncio.get_running_loop()

    async def inner() -> str | None:
        await asyncio.sleep(0)
        return current_run()

    def thread() -> str | None:
        with serve(served("run-1")):
            return asyncio.run_coroutine_threadsafe(inner(), loop).result(10)

    assert await asyncio.to_thread(thread) == "run-1"


def test_it_can_be_undone() -> None:
    leave_executors_alone()
    with ThreadPoolExecutor(1) as pool, serve(served("run-1")):
        assert pool.submit(ask).result() is None
        assert pool.submit(carry(ask)).result() == "run-1"
        assert pool.submit(ask).result() is None


def test_a_thread_that_is_told_to_carry() -> None:
    seen: list[str | None] = []
    with serve(served("run-1")):
        plain, carrying = (
            Thread(target=lambda: seen.append(current_run())),
            Thread(target=carry(lambda: seen.append(current_run()))),
        )
        for thread in (plain, carrying):
            thread.start()
            thread.join()
    assert seen == [None, "run-1"]


async def test_functions_called_later_or_elsewhere() -> None:
    async def slow(suffix: str) -> str:
        await asyncio.sleep(0)
        return f"{current_run()}{suffix}"

    with serve(served("run-1")):
        later, later_async = carry(ask), carry(slow)
    with serve(None):
        real = carry(ask)
    assert (later(), later(1, a=2), await later_async("!")) == ("run-1", "run-1", "run-1!")
    assert current_run() is None
    assert later.__name__ == "ask"
    with serve(served("run-2")):
        assert (later(), real(), current_run()) == ("run-1", None, "run-2")
    copied = pickle.loads(pickle.dumps(later))
    assert copied() == "run-1"


async def test_the_middleware_sees_to_it() -> None:
    async def endpoint(_request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(await asyncio.get_running_loop().run_in_executor(None, ask)))

    leave_executors_alone()
    plain = LoadTagMiddleware(Starlette(routes=[Route("/", endpoint)]), executors=False)
    headers: dict[str, str] = {}
    with serve(served("run-1")):
        inject(headers)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(plain), base_url="http://x") as client:
        assert (await client.get("/", headers=headers)).text == "None"
    app = LoadTagMiddleware(Starlette(routes=[Route("/", endpoint)]))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        assert (await client.get("/", headers=headers)).text == "run-1"
        assert (await client.get("/")).text == "None"


def test_what_others_make_of_executors_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instrumentation of other libraries replaces the same method, before ours or after it."""
    counted: list[str] = []

    def counting(name: str) -> Any:
        there: Any = ThreadPoolExecutor.submit

        @functools.wraps(there)
        def submit(self: Any, *args: Any, **kwargs: Any) -> Any:
            counted.append(name)
            return there(self, *args, **kwargs)

        return submit

    leave_executors_alone()
    plain = ThreadPoolExecutor.submit
    monkeypatch.setattr(ThreadPoolExecutor, "submit", counting("before"))
    before = ThreadPoolExecutor.submit
    follow_into_executors()
    ours = ThreadPoolExecutor.submit
    monkeypatch.setattr(ThreadPoolExecutor, "submit", counting("after"))
    after = ThreadPoolExecutor.submit
    follow_into_executors()
    assert ThreadPoolExecutor.submit is after
    with ThreadPoolExecutor(1) as pool, serve(served("run-1")):
        assert pool.submit(ask).result() == "run-1"
    assert counted == ["after", "before"]
    leave_executors_alone()
    assert ThreadPoolExecutor.submit is after  # theirs: not ours to take away
    ThreadPoolExecutor.submit = ours  # type: ignore[method-assign]
    leave_executors_alone()
    assert ThreadPoolExecutor.submit is before
    ThreadPoolExecutor.submit = plain  # type: ignore[method-assign]
    follow_into_executors()
    with ThreadPoolExecutor(1) as pool, serve(served("run-1")):
        assert pool.submit(ask).result() == "run-1"
    monkeypatch.undo()
    ThreadPoolExecutor.submit = plain  # type: ignore[method-assign]


async def test_what_outlives_the_request_that_starts_it_can_be_started_as_real() -> None:
    async def consume() -> None:
        while (item := await items.get()) is not None:
            seen.append((item, current_run()))

    items: asyncio.Queue[int | None] = asyncio.Queue()
    seen: list[tuple[int, str | None]] = []
    with serve(served("run-1")):
        with serve(None):
            consumer = asyncio.create_task(consume())
        await items.put(1)
        await asyncio.sleep(0)
    await items.put(2)
    await items.put(None)
    await consumer
    assert seen == [(1, None), (2, None)]


@pytest.mark.parametrize("order", ["ours theirs", "theirs ours"])
def test_opentelemetry_may_follow_into_executors_too(order: str) -> None:
    leave_executors_alone()
    plain = ThreadPoolExecutor.submit
    theirs = ThreadingInstrumentor()
    for who in order.split():
        if who == "ours":
            follow_into_executors()
            follow_into_executors()
        else:
            theirs.instrument()
    try:
        with ThreadPoolExecutor(1) as pool:
            with serve(served("run-1")):
                first, mapped = pool.submit(current_run), [*pool.map(lambda _: current_run(), range(2))]
            real = pool.submit(current_run)
        assert (first.result(), mapped, real.result()) == ("run-1", ["run-1"] * 2, None)
    finally:
        for who in reversed(order.split()):
            if who == "ours":
                leave_executors_alone()
            else:
                theirs.uninstrument()
    assert ThreadPoolExecutor.submit is plain


def test_undoing_ours_takes_nothing_of_opentelemetrys_away() -> None:
    leave_executors_alone()
    plain = ThreadPoolExecutor.submit
    follow_into_executors()
    theirs = ThreadingInstrumentor()
    theirs.instrument()
    try:
        before = vars(ThreadPoolExecutor)["submit"]
        leave_executors_alone()
        assert vars(ThreadPoolExecutor)["submit"] is before
    finally:
        theirs.uninstrument()
    leave_executors_alone()
    assert ThreadPoolExecutor.submit is plain


async def test_what_a_carried_generator_gives_is_part_of_it_step_by_step() -> None:
    seen: list[object] = []

    def generate(last: int) -> Iterator[str]:
        try:
            for number in range(last):
                yield f"{number} {current_run()}"
        except RuntimeError as error:
            seen.append(("told", str(error), current_run()))
        finally:
            seen.append(current_run())

    async def generate_later(last: int) -> AsyncIterator[str]:
        try:
            for number in range(last):
                await asyncio.sleep(0)
                yield f"{number} {current_run()}"
        finally:
            seen.append(current_run())

    def fail() -> None:
        raise RuntimeError("own")

    with serve(served("run-1")):
        carried, later, opened = carry(generate), carry(generate_later), contextmanager(carry(generate))
    assert [*carried(2)] == [one async for one in later(2)] == ["0 run-1", "1 run-1"]
    begun = carried(2)
    assert (next(begun), current_run()) == ("0 run-1", None)
    begun.close()  # type: ignore[attr-defined]
    with opened(1) as found:
        assert found == "0 run-1"
        fail()
    assert seen == ["run-1", "run-1", "run-1", ("told", "own", "run-1"), "run-1"]
