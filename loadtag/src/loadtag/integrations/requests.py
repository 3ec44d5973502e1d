"""requests: calls by its sessions, and by ``requests.get`` and the like, bear the tag of the request being served.

``instrument()`` hooks into its adapter, so it holds for all sessions, whenever they were made. An app that wants no
hooks: ``session.mount("http://", LoadTagAdapter())``, and the same for ``https://``.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import requests
import requests.adapters

from loadtag.context import current
from loadtag.integrations.hooking import Hook, guarded, tagging
from loadtag.propagation import inject

if TYPE_CHECKING:
    from collections.abc import Callable


def instrument() -> None:
    """Put hooks on all sessions of this process."""
    _HOOK.put_on()


def uninstrument() -> None:
    """Take the hook off again."""
    _HOOK.take_off()


class LoadTagAdapter(requests.adapters.HTTPAdapter):
    """An adapter for ``session.mount``; takes the same arguments as requests' own."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send one request."""
        if current() is None:
            return super().send(request, *args, **kwargs)
        response: requests.Response = _answering(request, super().send(guarded(_tagged, request), *args, **kwargs))
        return response


def _tagged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    # Not the app's own request: its headers go along to wherever it is redirected.
    tagged = request.copy()
    inject(tagged.headers, to=tagged.url)
    return tagged


def _answering(request: requests.PreparedRequest, response: Any) -> Any:
    """Have the response name the app's own request: it may be sent again (a digest's challenge), or be logged."""
    with contextlib.suppress(Exception):  # test doubles need not be able to
        response.request = request
    return response


def _around(original: Callable[..., Any]) -> Callable[..., Any]:
    def send(self: Any, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> Any:
        return _answering(request, original(self, guarded(_tagged, request), *args, **kwargs))

    return send


_HOOK = Hook(requests.adapters.HTTPAdapter, "send", _around, tagging)
