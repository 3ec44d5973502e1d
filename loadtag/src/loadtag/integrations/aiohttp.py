"""aiohttp: calls by its client bear the tag of the request being served; its server tells the app what it serves.

``instrument()`` hooks into the requests that the client sends, so it holds for all sessions, whenever they were made.
An app that wants no hooks gives `client_middleware` to its sessions (aiohttp >= 3.12), as it gives `server_middleware`
to its ``web.Application``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from loadtag.context import serving
from loadtag.integrations.hooking import Hook, follow, tagging
from loadtag.propagation import arriving, inject

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def instrument() -> None:
    """Put hooks on all client sessions of this process."""
    _HOOK.put_on()


def uninstrument() -> None:
    """Take the hook off again."""
    _HOOK.take_off()


async def client_middleware(request: aiohttp.ClientRequest, handler: Callable[..., Awaitable[Any]]) -> Any:
    """Tag one request: for ``aiohttp.ClientSession(middlewares=(client_middleware,))``."""
    _tag(request)
    return await handler(request)


@web.middleware
async def server_middleware(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Tell the app what it serves: ``web.Application(middlewares=[server_middleware, ...])``, before all others.

    It holds until the answer is written and logged, which is after all middleware, or the websocket is closed.
    """
    served = arriving(request.raw_headers)
    if served is not None:
        follow()
    serving.set(served)  # never set back: aiohttp runs each request in a task of its own
    return await handler(request)


def _tag(request: aiohttp.ClientRequest) -> None:
    # Each hop has headers of its own, so those that are changed here go nowhere else. A tunnel through a proxy is no
    # call: it stays, and calls of real requests are made through it.
    if request.method != "CONNECT":
        inject(request.headers, to=str(request.url))


def _around(original: Callable[..., Any]) -> Callable[..., Any]:
    def send(self: aiohttp.ClientRequest, *args: Any, **kwargs: Any) -> Any:
        _tag(self)
        return original(self, *args, **kwargs)

    return send


_HOOK = Hook(aiohttp.ClientRequest, "send" if hasattr(aiohttp.ClientRequest, "send") else "_send", _around, tagging)
