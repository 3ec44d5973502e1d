"""Django: tells the app what it serves, by one line in its settings.

    MIDDLEWARE = ["loadtag.integrations.django.load_tag_middleware", ...]  # before all others

It serves sync and async views, under WSGI and ASGI, and holds while a streaming response is written. A project that
already has `loadtag.wsgi` or `loadtag.asgi` around its application needs nothing of this.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import TYPE_CHECKING, Any

from django.utils.decorators import sync_and_async_middleware

from loadtag.context import serve
from loadtag.integrations.hooking import follow, guarded
from loadtag.integrations.stepping import AsyncSteps, Steps
from loadtag.propagation import FIELDS, extract

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtag.context import Dark, Served

# How Django marks the objects among them depends on the Python.
_is_async = inspect.iscoroutinefunction if sys.version_info >= (3, 12) else asyncio.iscoroutinefunction

_VARIABLES = tuple((name, "HTTP_" + name.upper().replace("-", "_")) for name in FIELDS)


def _middleware(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    follow()
    if _is_async(get_response):

        async def serving_async(request: Any) -> Any:
            served = _served(request)
            with serve(served):
                response = await get_response(request)
            return response if served is None else guarded(_Streaming(served), response)

        return serving_async

    def serving(request: Any) -> Any:
        served = _served(request)
        with serve(served):
            response = get_response(request)
        return response if served is None else guarded(_Streaming(served), response)

    return serving


load_tag_middleware = sync_and_async_middleware(_middleware)
"""For ``MIDDLEWARE``, before all others that ask what is being served."""


def _served(request: Any) -> Served | Dark | None:
    found = [(name, request.META[variable]) for name, variable in _VARIABLES if variable in request.META]
    return extract(found) if found else None


class _Streaming:
    """Has a streaming response served while it is written, which is after all middleware. Files run no code."""

    def __init__(self, served: Served | Dark) -> None:
        self._served = served

    def __call__(self, response: Any) -> Any:
        if getattr(response, "streaming", False) and getattr(response, "file_to_stream", None) is None:
            steps = AsyncSteps if getattr(response, "is_async", False) else Steps
            response.streaming_content = steps(response.streaming_content, self._served)
        return response
