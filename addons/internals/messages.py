"""The type checks of every message's fields, left out.

mitmproxy checks each field of each request and answer against its annotation, which tells authors of scripts about
mistakes of theirs. For a sidecar, whose messages all come from mitmproxy's own parser, it was an eighth of the time of
a request. Tested with mitmproxy 12.2.
"""

from collections.abc import Callable
from typing import Any

from mitmproxy import http

from addons.internals.trial import expect, passes


def uncheck() -> None:
    """Leave the checks out in this process, once."""
    if passes("making messages without checking the types of their fields", _self_test):
        setattr(http.MessageData, "__post_init__", _nothing)  # noqa: B010 - a method of a typed class


def _nothing(_self: Any) -> None:
    """Replace a method that only checks."""


def _self_test() -> None:
    """Whether all that the method does is to refuse wrong types."""
    check: Callable[[http.MessageData], None] = http.MessageData.__post_init__
    if check is _nothing:
        return  # left out already
    for message in (http.Request.make("GET", "http://app/", b"", ()), http.Response.make(200)):
        before = dict(vars(message.data))
        check(message.data)
        expect(vars(message.data) == before, "the check changes what it checks")
        message.data.timestamp_start = "now"  # type: ignore[assignment] # what it is there for
        try:
            check(message.data)
        except TypeError:
            continue
        raise RuntimeError("it does not check types")
