"""Headers looked up without the layers in between.

A request's headers are looked up about twenty times on its way, each time by seven functions, and every name is
converted anew: a seventh of the time of a request. Tested with mitmproxy 12.2.
"""

from functools import lru_cache
from typing import Any

from mitmproxy.http import Headers

from addons.internals.trial import expect, passes


def look_up_directly() -> None:
    """Shorten the way in this process."""
    if passes("looking headers up directly", _self_test):
        setattr(Headers, "__getitem__", _getitem)  # noqa: B010 - methods of a typed class, here and below
        setattr(Headers, "__contains__", _contains)  # noqa: B010
        setattr(Headers, "get", _get)  # noqa: B010


@lru_cache(1024)
def _wanted(name: str | bytes) -> bytes:
    return (name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")).lower()


def _values(headers: Headers, name: str | bytes) -> list[bytes]:
    wanted = _wanted(name)
    size = len(wanted)
    return [value for found, value in headers.fields if len(found) == size and found.lower() == wanted]


def _folded(values: list[bytes]) -> str:
    return b", ".join(values).decode("utf-8", "surrogateescape")


def _getitem(self: Headers, name: str | bytes) -> str:
    values = _values(self, name)
    if not values:
        raise KeyError(name)
    return _folded(values)


def _contains(self: Headers, name: str | bytes) -> bool:
    return bool(_values(self, name))


def _get(self: Headers, name: str | bytes, default: Any = None) -> Any:
    values = _values(self, name)
    return _folded(values) if values else default


def _self_test() -> None:
    headers = Headers([(b"Host", b"app"), (b"accept", b"a"), (b"Accept", b"\xff"), (b"X-\xc3\xa9", b"")])
    for name in ("host", "HOST", b"hOst", "accept", "x-é", "hos", "", b"\xff"):
        expect(_get(headers, name, 1) == headers.get(name, 1), "a header is looked up in another way")
        expect(_contains(headers, name) == (name in headers), "a header is found in another way")
        if name in headers:
            expect(_getitem(headers, name) == headers[name], "a header is folded in another way")
