"""urllib3: calls by its pools, and so by whatever stands on it (botocore, ...), bear the tag of the request served.

``instrument()`` hooks into connection pools, so it holds for all pools and pool managers, whenever they were made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import urllib3

from loadtag.faults import tell
from loadtag.integrations.hooking import Hook, tagging
from loadtag.propagation import inject

if TYPE_CHECKING:
    from collections.abc import Callable


def instrument() -> None:
    """Put hooks on all pools of this process."""
    _HOOK.put_on()


def uninstrument() -> None:
    """Take the hook off again."""
    _HOOK.take_off()


def _tagged(pool: Any, url: Any, headers: Any) -> Any:
    """Return what to send in the place of `headers`: never the same object, it may be the pool's own."""
    try:
        given = pool.headers if headers is None else headers
        tagged = given.copy() if hasattr(given, "copy") else dict(given or {})
        # Through a proxy the URL is absolute, and the pool's host is the proxy.
        inject(tagged, to=url if str(url).startswith(("http://", "https://")) else pool.host)
    except Exception as error:  # noqa: BLE001 - the call goes out without a tag: that is better than not at all
        tell(f"a {type(headers).__name__} can't be given the load tag: {type(error).__name__}")
        return headers
    return tagged


def _around(original: Callable[..., Any]) -> Callable[..., Any]:
    def urlopen(
        self: Any, method: str, url: str, body: Any = None, headers: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        return original(self, method, url, body, _tagged(self, url, headers), *args, **kwargs)

    return urlopen


_HOOK = Hook(urllib3.HTTPConnectionPool, "urlopen", _around, tagging)
