"""The tag of the request being served, seen by tasks and threads."""

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from loadtag import LoadTag, current_run, current_tag, is_load_test
from loadtag.context import serving


def tag(number: int) -> LoadTag:
    return LoadTag("key", f"run-{number}", 1_800_000_000, "shop")


def test_outside_of_any_request_there_is_none() -> None:
    assert current_tag() is None
    assert current_run() is None
    assert is_load_test() is False


def test_the_tag_is_told() -> None:
    def ask() -> None:
        serving.set(tag(1))
        assert current_tag() == tag(1)
        assert current_run() == "run-1"
        assert is_load_test() is True

    contextvars.copy_context().run(ask)
    assert not is_load_test()


async def test_each_task_sees_its_own() -> None:
    everyone_is_in = asyncio.Event()

    async def serve(number: int) -> tuple[int, LoadTag | None]:
        serving.set(tag(number) if number % 2 else None)
        if number == 19:
            everyone_is_in.set()
        await everyone_is_in.wait()
        inner = await asyncio.to_thread(current_tag)
        assert inner == current_tag()
        return number, current_tag()

    for number, seen in await asyncio.gather(*(serve(number) for number in range(20))):
        assert seen == (tag(number) if number % 2 else None)
    assert current_tag() is None


def test_each_thread_sees_its_own() -> None:
    everyone_is_in = Barrier(8)

    def serve(number: int) -> bool:
        assert current_tag() is None
        before = serving.set(tag(number))
        everyone_is_in.wait(10)
        seen = current_tag()
        serving.reset(before)
        return seen == tag(number) and current_tag() is None

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(serve, range(8)))
