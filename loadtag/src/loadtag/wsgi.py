"""WSGI middleware: makes the load tag of the incoming request known to the app."""

from __future__ import annotations

from loadtag.context import current, serving
from loadtag.propagation import arriving, prepare

TYPE_CHECKING = False  # see `loadtag`
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from loadtag.context import Dark, Served

    Environ = dict[str, Any]
    App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

_VARIABLES = (
    ("HTTP_BAGGAGE", b"baggage"),
    ("HTTP_X_LOAD_TEST", b"x-load-test"),
    ("HTTP_X_REAMP_DARK", b"x-reamp-dark"),
)


class LoadTagMiddleware:
    """Wraps a WSGI app: while it serves a request, `loadtag.current_tag()` tells the request's tag.

    That includes the time in which the server iterates over the response and closes it. Needs no key: the app trusts
    what the sidecar before it lets through. A broken tag is no tag, never an error.

    What the app hands to threads of executors stays part of the request: `executors=False` leaves them as they are, see
    `loadtag.concurrency`.
    """

    def __init__(self, app: App, *, executors: bool = True) -> None:
        self.app = app
        prepare(executors=executors)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve one request (PEP 3333)."""
        fields = [(name, str(environ[key]).encode("latin-1", "replace")) for key, name in _VARIABLES if key in environ]
        served = arriving(fields)
        if served is None and current() is None:
            return self.app(environ, start_response)  # a real request: the server gets the app's own iterable
        before = serving.set(served)
        try:
            response = self.app(environ, start_response)
        finally:
            serving.reset(before)
        # No code of the app runs while a list is iterated over, and servers take the length of a list for a fact.
        return response if isinstance(response, (list, tuple)) else _Response(response, served)


class _Response:
    """The app's response, with the tag set whenever code of the app runs.

    Set and reset around each step, since server code runs between the steps, perhaps for another request.
    """

    def __init__(self, response: Iterable[bytes], served: Served | Dark | None) -> None:
        self._response = response
        self._iterator: Iterator[bytes] | None = None
        self._served = served

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        before = serving.set(self._served)
        try:
            if self._iterator is None:
                self._iterator = iter(self._response)
            return next(self._iterator)
        finally:
            serving.reset(before)

    def close(self) -> None:
        """Close the app's response, if it can be closed."""
        close = getattr(self._response, "close", None)
        if close is None:
            return
        before = serving.set(self._served)
        try:
            close()
        finally:
            serving.reset(before)
