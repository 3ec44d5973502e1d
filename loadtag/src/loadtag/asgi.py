"""ASGI middleware: makes the load tag of the incoming request known to the app."""

from __future__ import annotations

from loadtag.context import serve
from loadtag.propagation import arriving, prepare

TYPE_CHECKING = False  # see `loadtag`
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import Any

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]


class LoadTagMiddleware:
    """Wraps an ASGI app: while it serves an HTTP request or a websocket, `loadtag.current_tag()` tells its tag.

    Needs no key: the app trusts what the sidecar before it lets through. A broken tag is no tag, never an error.

    What the app hands to threads of executors (`run_in_executor`) stays part of the request: `executors=False` leaves
    them as they are, see `loadtag.concurrency`.
    """

    def __init__(self, app: App, *, executors: bool = True) -> None:
        self.app = app
        prepare(executors=executors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (see the ASGI specification)."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        headers = scope.get("headers") or ()
        if not isinstance(headers, (list, tuple)):
            headers = scope["headers"] = list(
                headers
            )  # any iterable will do in ASGI, also one that can be read only once
        # Set for real requests too: servers may start a pipelined request's task from the task of the one before it,
        # and a task inherits the context that it was started in.
        with serve(arriving(headers)):
            await self.app(scope, receive, send)
