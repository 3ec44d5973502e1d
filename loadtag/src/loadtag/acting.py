"""What to do where a request turns out to be synthetic, or a dark copy: nothing, and to say so.

    @noop_when_load_test(returns=Receipt("none"))
    def charge(card, amount): ...

    requests_total.labels(kind=metric_label()).inc()

A dark copy is no load test, but what it may not do is the same: a real user was or will be charged by the original.
"""

from __future__ import annotations

import functools

from loadtag.context import Dark, Served, current

TYPE_CHECKING = False  # see `loadtag`
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

LABELS = ("real", "synthetic", "dark")
"""All that `metric_label` can return."""


def noop_when_load_test(*, returns: Any = None, instead: Callable[..., Any] | None = None) -> Callable[[F], F]:
    """Make a function do nothing while a synthetic request or a dark copy is served: charges, e-mails, shipments.

    It returns `returns` then, the same object each time; or what `instead` returns, which is called with the same
    arguments, so that the answer may look like a real one. For functions that are async, `instead` may be async, too.
    A generator, async or not, gives the items of either, and none of them if nothing is said.

    Raises TypeError where a generator is to give what has no items.
    """

    def decorate(function: F) -> F:
        done: Any
        if isinstance(function, (staticmethod, classmethod)):
            done = type(function)(decorate(function.__func__))
        else:
            done = _around(function, (lambda *_, **__: returns) if instead is None else instead, returns)
        return done  # type: ignore[no-any-return]

    return decorate


def _around(function: Any, answer: Callable[..., Any], returns: Any) -> Any:
    import inspect  # noqa: PLC0415 - takes longer to load than all the rest

    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):

        @functools.wraps(function)
        async def done_later(*args: Any, **kwargs: Any) -> Any:
            if current() is None:
                return await function(*args, **kwargs)
            found = answer(*args, **kwargs)
            return await found if found is not returns and inspect.isawaitable(found) else found

        return done_later

    steps: Any = None
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        steps = _steps if inspect.isgeneratorfunction(function) else _async_steps
        if returns is not None and not hasattr(returns, "__iter__"):
            raise TypeError(f"a generator gives items: say returns=[{returns!r}] if there is to be one")

    @functools.wraps(function)
    def done(*args: Any, **kwargs: Any) -> Any:
        if current() is None:
            return function(*args, **kwargs)  # of a generator: the app's own, whatever it is sent and asked
        found = answer(*args, **kwargs)
        return found if steps is None else steps(found)

    return done


def _steps(items: Any) -> Iterator[Any]:
    yield from () if items is None else items


async def _async_steps(items: Any) -> AsyncIterator[Any]:
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield item
    else:
        for item in _steps(items):
            yield item


def metric_label() -> str:
    """Return ``real``, ``synthetic`` or ``dark``: one label for metrics, so that no dashboard takes load for users.

    Never the run's id, of which there are ever more.
    """
    served = current()
    return "synthetic" if isinstance(served, Served) else "dark" if isinstance(served, Dark) else "real"
