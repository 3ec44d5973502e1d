"""ASGI middleware: makes the load tag of the incoming request known to the app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loadtag.context import serving
from loadtag.headers import unverified_tag

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]


class LoadTagMiddleware:
    """Wraps an ASGI app: while it serves an HTTP request or a websocket, `loadtag.current_tag()` tells its tag.

    Needs no key: the app trusts what the sidecar before it lets through. A broken tag is no tag, never an error.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (see the ASGI specification)."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        # Set for real requests too: servers may start a pipelined request's task from the task of the one before it,
        # and a task inherits the context that it was started in.
        before = serving.set(unverified_tag(scope["headers"]))
        try:
            await self.app(scope, receive, send)
        finally:
            serving.reset(before)
