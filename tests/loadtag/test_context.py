"""The tag of the request being served, seen by tasks and threads."""

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from loadtag import Dark, LoadTag, Served, current_run, current_tag, current_token, is_dark, is_load_test, serve
from loadtag.context import serving


def tag(number: int) -> LoadTag:
    return LoadTag("key", f"run-{number}", 1_800_000_000, "shop")


def served(number: int) -> Served:
    return Served(tag(number), f"token-{number}")


def test_outside_of_any_request_there_is_none() -> None:
    assert current_tag() is None
    assert current_run() is None
    assert current_token() is None
    assert is_load_test() is False
    assert is_dark() is False


def test_the_tag_is_told() -> None:
    def ask() -> None:
        serving.set(served(1))
        assert current_tag() == tag(1)
        assert current_run() == "run-1"
        assert current_token() == "token-1"
        assert is_dark() is False
        assert is_load_test() is True

    contextvars.copy_context().run(ask)
    assert not is_load_test()


async def test_each_task_sees_its_own() -> None:
    everyone_is_in = asyncio.Event()

    async def serve(number: int) -> tuple[int, LoadTag | None]:
        serving.set(served(number) if number % 2 else None)
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
        before = serving.set(served(number))
        everyone_is_in.wait(10)
        seen = current_tag()
        serving.reset(before)
        return seen == tag(number) and current_tag() is None

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(serve, range(8)))


def test_what_a_block_serves_ends_with_the_block() -> None:
    with serve(served(1)):
        with serve(served(2)):
            assert current_run() == "run-2"
        with serve(None):
            assert not is_load_test()
        with pytest.raises(RuntimeError, match="own"), serve(served(3)):
            raise RuntimeError("the app's own")
        assert current_run() == "run-1"
    assert not is_load_test()


def test_a_block_may_be_used_again() -> None:
    block = serve(served(1))
    for _ in range(2):
        with block:
            with block:
                assert current_run() == "run-1"
            assert current_run() == "run-1"
        assert not is_load_test()


def test_a_dark_copy_is_no_load_test() -> None:
    with serve(Dark("next")):
        assert is_dark()
        assert not is_load_test()
        assert (current_tag(), current_run(), current_token()) == (None, None, None)
    assert not is_dark()


def test_a_block_may_be_left_in_another_context_than_it_was_entered_in() -> None:
    """As generators are whose steps run in a thread pool. No error, and nothing is left behind."""
    block = serve(served(1))
    inside = contextvars.copy_context()
    inside.run(block.__enter__)
    block.__exit__()
    assert not is_load_test()

    with serve(served(2)):
        block = serve(served(1))
        block.__enter__()
        copied = contextvars.copy_context()
        copied.run(block.__exit__)
        assert copied.run(current_run) == "run-2"
        assert current_run() == "run-1"
        serving.set(None)
