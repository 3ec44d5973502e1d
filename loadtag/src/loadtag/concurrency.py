"""What is served, in threads too.

asyncio's tasks, its callbacks and `asyncio.to_thread` take the context with them. Threads begin without one, and so
does what is handed to the threads of an executor, by `ThreadPoolExecutor.submit` and `map` or by `run_in_executor`.
`follow_into_executors` mends the executors (middleware calls it), `carry` the rest: what is called later or elsewhere.

    Thread(target=carry(work)).start()
    processes.submit(carry(work), 5)

Threads are not followed into by themselves, on purpose: many live on after the request that happened to start them
(the worker threads of pools, of clients of queues and of databases), and would take the work of real users for load.
Each task that is handed to an executor is told anew what it is part of.
"""

from __future__ import annotations

import functools
import sys
from concurrent.futures import ThreadPoolExecutor

from loadtag.context import current, serve

TYPE_CHECKING = False  # see `loadtag`
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any, TypeVar

    from loadtag.context import Dark, Served

    F = TypeVar("F", bound=Callable[..., Any])

# From Python 3.14 on, threads may be made to begin with the context of whoever started them. Then a thread of a pool
# may begin inside of a synthetic request, so that what is real has to be told, too.
_ALWAYS = bool(getattr(sys.flags, "thread_inherit_context", False))


def carry(function: F) -> F:
    """Return a function that does what `function` does, as part of what is being served now.

    It may be async, or a generator, each step of which is part of it then. What is returned may be called any number of
    times, by several threads at once, and pickled if `function` can be: for processes.
    """
    import inspect  # noqa: PLC0415 - takes longer to load than all the rest

    kinds: dict[Any, type[_Carried]] = {
        inspect.iscoroutinefunction: _CarriedAsync,
        inspect.isgeneratorfunction: _CarriedSteps,
        inspect.isasyncgenfunction: _CarriedAsyncSteps,
    }
    carried: Any = next((kind for is_such, kind in kinds.items() if is_such(function)), _Carried)(function, current())
    return carried  # type: ignore[no-any-return]


def follow_into_executors() -> None:
    """From now on let what is handed to any `ThreadPoolExecutor` be part of what is being served at that moment.

    For the whole process; calling it again does nothing. What is handed over while something real is served is called
    as it always was. Whatever others have made of `ThreadPoolExecutor.submit` stays as it is, below.
    """
    there: Any = ThreadPoolExecutor.submit
    below = there
    while below is not None and below not in _ours:
        below = getattr(below, "__wrapped__", None)
    if below is None:
        following = _following(there)
        _ours[following] = there
        ThreadPoolExecutor.submit = following  # type: ignore[method-assign]


def leave_executors_alone() -> None:
    """Undo `follow_into_executors`, unless somebody else has changed executors since."""
    there: Any = vars(ThreadPoolExecutor)["submit"]
    if any(there is ours for ours in _ours):  # what stands before ours may pass for it (wrapt's proxies do)
        ThreadPoolExecutor.submit = _ours.pop(there)  # type: ignore[method-assign]


_ours: dict[Any, Any] = {}
"""What we made of `ThreadPoolExecutor.submit`, and what it was before."""


def _following(submit: Callable[..., Future[Any]]) -> Any:
    @functools.wraps(submit)
    def following(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        served = current()
        if served is None and not _ALWAYS:
            return submit(self, fn, *args, **kwargs)
        return submit(self, _run, served, fn, args, kwargs)

    return following


class _Carried:
    """A class and no closure, so that it can be pickled."""

    def __init__(self, function: Callable[..., Any], served: Served | Dark | None) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._served = served

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with serve(self._served):
            return self._function(*args, **kwargs)


class _CarriedAsync(_Carried):
    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with serve(self._served):
            return await self._function(*args, **kwargs)


class _CarriedSteps(_Carried):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from loadtag.integrations.stepping import Steps  # noqa: PLC0415 - few need it

        return Steps(self._function(*args, **kwargs), self._served)


class _CarriedAsyncSteps(_Carried):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from loadtag.integrations.stepping import AsyncSteps  # noqa: PLC0415 - as above

        return AsyncSteps(self._function(*args, **kwargs), self._served)


def _run(served: Served | Dark | None, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    with serve(served):
        return fn(*args, **kwargs)
