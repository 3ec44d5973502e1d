"""Contexts forked without making what is thrown away.

mitmproxy forks a connection's context for every request. It does so by making a new one, with a server connection (and
its random id) that is replaced at once. Tested with mitmproxy 12.2.
"""

from types import SimpleNamespace
from typing import Any

from mitmproxy.connection import Client, Server
from mitmproxy.proxy.context import Context

from addons.internals.trial import expect, passes


def fork_cheaply() -> None:
    """Let contexts be forked by copying, in this process."""
    if passes("forking contexts by copying", _self_test):
        setattr(Context, "fork", _fork)  # noqa: B010 - a method of a typed class


def _fork(self: Context) -> Context:
    forked = Context.__new__(Context)
    forked.client = self.client
    forked.options = self.options
    forked.server = self.server
    forked.layers = self.layers.copy()
    return forked


def _self_test() -> None:
    options: Any = SimpleNamespace()
    context = Context(Client(peername=("", 0), sockname=("", 0)), options)
    context.server = Server(address=("app", 80))
    layer: Any = SimpleNamespace()
    context.layers.append(layer)
    theirs, ours = vars(context.fork()), vars(_fork(context))
    expect(theirs.keys() == ours.keys(), "a context holds something else")
    for name, value in theirs.items():
        same = ours[name] is value if name != "layers" else ours[name] == value and ours[name] is not context.layers
        expect(same, f"{name} is forked in another way")
