"""Replacing a function of a library, and putting it back."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import pytest
import wrapt

from loadtag.integrations.hooking import Hook, always, guarded


class Library:
    """What is hooked into."""

    factor = 2

    def method(self, number: int) -> int:
        return number * self.factor

    @classmethod
    def of_the_class(cls, number: int) -> int:
        return number * cls.factor

    @staticmethod
    def static(number: int) -> int:
        return number * 2

    @property
    def prop(self) -> int:
        return self.factor


@pytest.fixture
def library() -> type[Library]:
    return type("Library", (Library,), dict(vars(Library)))


def one_more(original: Callable[..., int]) -> Callable[..., int]:
    return lambda *args: original(*args) + 1


def test_each_kind_of_function_stays_what_it_is(library: type[Library]) -> None:
    before = dict(vars(library))
    hooks = [Hook(library, name, one_more, always) for name in ("method", "of_the_class", "static", "prop")]
    for hook in hooks:
        hook.put_on()
        hook.put_on()
    made = library()
    assert (made.method(3), library.of_the_class(3), made.of_the_class(3), library.static(3), made.prop) == (
        7,
        7,
        7,
        7,
        3,
    )
    for hook in hooks:
        hook.take_off()
        hook.take_off()
    assert dict(vars(library)) == before


def test_it_is_asked_only_when_it_is_wanted(library: type[Library]) -> None:
    wanted = False
    hook = Hook(library, "method", one_more, lambda: wanted)
    hook.put_on()
    assert library().method(3) == 6
    wanted = True
    assert library().method(3) == 7


def test_what_others_put_on_top_stays(library: type[Library]) -> None:
    hook = Hook(library, "method", one_more, always)
    hook.put_on()
    ours = library.method

    @functools.wraps(ours)
    def theirs(self: Library, number: int) -> int:
        return ours(self, number) * 10

    library.method = theirs  # type: ignore[method-assign]
    assert library().method(3) == 70
    hook.put_on()
    assert library().method(3) == 70, "it is there already, below"
    hook.take_off()
    assert library().method(3) == 60, "theirs stays, ours does nothing"
    hook.put_on()
    assert library().method(3) == 70


def test_a_function_that_others_have_put_back_is_replaced_again(library: type[Library]) -> None:
    hook = Hook(library, "method", one_more, always)
    own = library.method
    hook.put_on()
    library.method = own  # type: ignore[method-assign]  # as test doubles do when they leave
    assert library().method(3) == 6
    hook.put_on()
    assert library().method(3) == 7
    hook.take_off()
    assert library().method(3) == 6


def test_a_change_that_fails_is_no_change_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    class Strange:
        pass

    def fail(_given: Any) -> Any:
        raise RuntimeError("a fault of ours")

    given = Strange()
    with caplog.at_level(logging.WARNING, "loadtag"):
        assert guarded(fail, given) is given
        assert guarded(fail, given) is given
    assert [record.getMessage() for record in caplog.records] == ["a Strange can't be given the load tag: RuntimeError"]


def ten_times(wrapped: Callable[..., int], _instance: Any, args: Any, kwargs: Any) -> int:
    return wrapped(*args, **kwargs) * 10


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("name", ["method", "of_the_class", "static"])
def test_ours_goes_below_the_proxies_that_are_there_or_on_top_of_what_is_no_function(
    name: str, levels: int, library: type[Library]
) -> None:
    for _ in range(levels):
        wrapt.wrap_function_wrapper(library, name, ten_times)
    theirs = vars(library)[name]
    hook = Hook(library, name, one_more, always)
    hook.put_on()
    hook.put_on()
    below = name == "method"
    with_ours = 7 * 10**levels if below else 6 * 10**levels + 1
    assert getattr(library(), name)(3) == with_ours
    assert (vars(library)[name] is theirs) == below
    hook.take_off()
    assert getattr(library(), name)(3) == 6 * 10**levels
    assert vars(library)[name] is theirs
    hook.put_on()
    assert getattr(library(), name)(3) == with_ours


def test_proxies_that_go_leave_ours(library: type[Library]) -> None:
    own = library.method
    wrapt.wrap_function_wrapper(library, "method", ten_times)
    hook = Hook(library, "method", one_more, always)
    hook.put_on()
    library.method = vars(library)["method"].__wrapped__  # type: ignore[method-assign]  # as instrumentations do
    assert library().method(3) == 7
    hook.put_on()
    assert library().method(3) == 7
    hook.take_off()
    assert library.method is own
