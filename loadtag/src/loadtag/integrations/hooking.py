"""Replacing a function of a library by one around it, once, and putting it back.

Hooks are put where a call goes out for good (a transport, not a client), so that each redirect and each retry is
judged by its own host. The replacement is only asked while something synthetic or dark is being served: a real
request's call goes to the library's own function.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from loadtag.context import current
from loadtag.faults import tell
from loadtag.propagation import prepare

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def tagging() -> bool:
    """Tell whether calls made now have to bear something."""
    try:
        return current() is not None
    except Exception as error:  # noqa: BLE001 - other libraries may be asked; a call does not fail for their sake
        tell(f"nobody knows what is being served: {type(error).__name__}")
        return False


def always() -> bool:
    """For hooks that are asked for everything: those on what comes in."""
    return True


def follow() -> None:
    """Have what is handed to executors be part of what is being served, as loadtag's middleware does."""
    try:
        prepare(executors=True)
    except Exception as error:  # noqa: BLE001 - what is handed to executors then has to be carried
        tell(f"executors can't be followed into: {type(error).__name__}")


def guarded(change: Callable[[T], T], given: T) -> T:
    """Return `change` of what is given; if that raises, tell of it and return what was given."""
    try:
        return change(given)
    except Exception as error:  # noqa: BLE001 - the call goes out without a tag: that is better than not at all
        tell(f"a {type(given).__name__} can't be given the load tag: {type(error).__name__}")
        return given


class Hook:
    """One function of a library, replaced while the hook is on."""

    def __init__(
        self,
        owner: Any,
        name: str,
        around: Callable[[Callable[..., Any]], Callable[..., Any]],
        when: Callable[[], bool],
    ) -> None:
        """Prepare to replace ``owner.name`` (a function, a method of whichever kind, a property's getter).

        `around` takes the function that is there and returns the one to be called instead of it whenever `when` says
        so.
        """
        self._owner = owner
        self._name = name
        self._around = around
        self._when = when
        self._on = False
        self._hooked: Callable[..., Any] | None = None
        self._proxy: Any = None
        self._put: Any = None
        self._before: Any = None

    def put_on(self) -> None:
        """Replace the function, unless it is replaced already."""
        there = inspect.getattr_static(self._owner, self._name)
        if not self._in(there):
            proxy, there = _below_proxies(there)
            self._hooked = self._make(_called(there, self._owner, self._name) if proxy is None else there)
            self._proxy, self._before, self._put = proxy, there, _of_the_kind_of(there, self._hooked)
            if proxy is None:
                setattr(self._owner, self._name, self._put)
            else:
                proxy.__wrapped__ = self._put
        self._on = True

    def take_off(self) -> None:
        """Put the function back. Where somebody else has replaced ours since, ours stays below and does nothing."""
        self._on = False
        if self._hooked is None:
            return
        if inspect.getattr_static(self._owner, self._name) is self._put:
            setattr(self._owner, self._name, self._before)
            self._hooked = None
        elif self._proxy is not None and self._proxy.__wrapped__ is self._put:
            self._proxy.__wrapped__ = self._before
            self._hooked = None

    def _make(self, original: Callable[..., Any]) -> Callable[..., Any]:
        instead, when = self._around(original), self._when

        @functools.wraps(original)
        def hooked(*args: Any, **kwargs: Any) -> Any:
            return (instead if self._on and when() else original)(*args, **kwargs)

        if hasattr(inspect, "markcoroutinefunction") and inspect.iscoroutinefunction(original):
            return inspect.markcoroutinefunction(hooked)  # Python >= 3.12: whoever looks at it sees what it was
        return hooked

    def _in(self, there: Any) -> bool:
        """Tell whether ours is what is there, or is somewhere below it."""
        while there is not None:
            if there is self._hooked:
                return True
            there = _below(there)
        return False


# Others may have been here before. Proxies that pass for what they wrap (wrapt's, by which OpenTelemetry instruments)
# let us in below them: ours is to have the last word on what goes out, whoever came first. Otherwise theirs would write
# their baggage over ours, or put on a call to a third party what ours has just taken off.


def _below_proxies(there: Any) -> tuple[Any, Any]:
    """Return the lowest of the proxies and the function in it; None and what is there, if that is something else."""
    proxy, found = None, there
    while any(kind.__name__.endswith("ObjectProxy") for kind in type(found).__mro__):
        proxy, found = found, found.__wrapped__
    return (proxy, found) if inspect.isfunction(found) else (None, there)


def _called(there: Any, owner: Any, name: str) -> Callable[..., Any]:
    """Return what to call instead of what is there, with the class or the object as the first argument, if any."""
    if isinstance(there, classmethod):
        return functools.wraps(there.__func__)(lambda cls, *args, **kwargs: there.__get__(None, cls)(*args, **kwargs))
    if isinstance(there, property):
        return functools.wraps(there.fget or _called)(lambda self: there.__get__(self, type(self)))
    found: Callable[..., Any] = getattr(owner, name)
    return found


def _below(there: Any) -> Any:
    """Return what a wrapper wraps, or None. Asks for its true type: a proxy tells that of what is in it."""
    if type(there) in {classmethod, staticmethod}:
        return there.__func__
    return there.fget if type(there) is property else getattr(there, "__wrapped__", None)


def _of_the_kind_of(there: Any, function: Callable[..., Any]) -> Any:
    if isinstance(there, classmethod):
        return classmethod(function)
    if isinstance(there, staticmethod):
        return staticmethod(function)
    if isinstance(there, property):
        return property(function, there.fset, there.fdel, there.__doc__)
    return function
