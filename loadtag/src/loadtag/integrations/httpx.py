"""httpx: calls by its clients bear the tag of the request being served.

``instrument()`` hooks into its two transports, so it holds for all clients, whenever they were made. A client with a
transport of its own, or an app that wants no hooks: ``httpx.Client(transport=LoadTagTransport(...))``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from loadtag.context import current
from loadtag.integrations.hooking import Hook, guarded, tagging
from loadtag.propagation import injected

if TYPE_CHECKING:
    from collections.abc import Callable


def instrument() -> None:
    """Put hooks on all clients of this process."""
    for hook in _HOOKS:
        hook.put_on()


def uninstrument() -> None:
    """Take the hooks off again."""
    for hook in _HOOKS:
        hook.take_off()


class LoadTagTransport(httpx.BaseTransport):
    """A transport around another one (or httpx's own), for ``httpx.Client(transport=...)``."""

    def __init__(self, wrapped: httpx.BaseTransport | None = None) -> None:
        self._wrapped = httpx.HTTPTransport() if wrapped is None else wrapped

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        return self._wrapped.handle_request(_outgoing(request))

    def close(self) -> None:
        """Close the transport inside."""
        self._wrapped.close()


class LoadTagAsyncTransport(httpx.AsyncBaseTransport):
    """A transport around another one (or httpx's own), for ``httpx.AsyncClient(transport=...)``."""

    def __init__(self, wrapped: httpx.AsyncBaseTransport | None = None) -> None:
        self._wrapped = httpx.AsyncHTTPTransport() if wrapped is None else wrapped

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        return await self._wrapped.handle_async_request(_outgoing(request))

    async def aclose(self) -> None:
        """Close the transport inside."""
        await self._wrapped.aclose()


def _outgoing(request: httpx.Request) -> httpx.Request:
    return request if current() is None else guarded(_tagged, request)


def _tagged(request: httpx.Request) -> httpx.Request:
    # Not the app's own request: its headers go along to wherever it is redirected.
    fields = injected(request.headers.raw, to=str(request.url))
    return httpx.Request(
        request.method, request.url, headers=fields, stream=request.stream, extensions=request.extensions
    )


def _around(original: Callable[..., Any]) -> Callable[..., Any]:
    def handle(self: Any, request: httpx.Request) -> Any:
        return original(self, guarded(_tagged, request))

    return handle


_HOOKS = (
    Hook(httpx.HTTPTransport, "handle_request", _around, tagging),
    Hook(httpx.AsyncHTTPTransport, "handle_async_request", _around, tagging),
)
