"""Applies every trick to one master."""

from collections.abc import Mapping
from typing import Any

from mitmproxy.master import Master

from addons.internals import handler
from addons.internals.contexts import fork_cheaply
from addons.internals.dispatch import hooks_of
from addons.internals.lookups import look_up_directly
from addons.internals.mending import mend
from addons.internals.messages import uncheck
from addons.internals.modes import as_sidecar


def quicken(master: Master) -> None:
    """Make this process's mitmproxy safer and quicker, as far as it is the one that is known here."""
    mend()
    uncheck()
    fork_cheaply()
    look_up_directly()
    hooks_of(master)


def carried(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give mitmproxy options with which reverse proxies are carried by our handler, if it can."""
    return {**settings, "mode": as_sidecar(settings["mode"])} if handler.known() else dict(settings)
