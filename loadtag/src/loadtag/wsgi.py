"""WSGI middleware: makes the load tag of the incoming request known to the app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loadtag.context import serving
from loadtag.headers import unverified_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from loadtag.tag import LoadTag

    Environ = dict[str, Any]
    App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

_VARIABLES = (("HTTP_BAGGAGE", b"baggage"), ("HTTP_X_LOAD_TEST", b"x-load-test"))


class LoadTagMiddleware:
    """Wraps a WSGI app: while it serves a request, `loadtag.current_tag()` tells the request's tag.

    That includes the time in which the server iterates over the response and closes it. Needs no key: the app trusts
    what the sidecar before it lets through. A broken tag is no tag, never an error.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve one request (PEP 3333)."""
        fields = [(name, environ[key].encode("latin-1", "replace")) for key, name in _VARIABLES if key in environ]
        tag = unverified_tag(fields)
        if tag is None and serving.get() is None:
            return self.app(environ, start_response)  # a real request: the server gets the app's own iterable
        before = serving.set(tag)
        try:
            response = self.app(environ, start_response)
        finally:
            serving.reset(before)
        # No code of the app runs while a list is iterated over, and servers take the length of a list for a fact.
        return response if isinstance(response, (list, tuple)) else _Response(response, tag)


class _Response:
    """The app's response, with the tag set whenever code of the app runs.

    Set and reset around each step, since server code runs between the steps, perhaps for another request.
    """

    def __init__(self, response: Iterable[bytes], tag: LoadTag | None) -> None:
        self._response = response
        self._iterator: Iterator[bytes] | None = None
        self._tag = tag

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        before = serving.set(self._tag)
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
        before = serving.set(self._tag)
        try:
            close()
        finally:
            serving.reset(before)
