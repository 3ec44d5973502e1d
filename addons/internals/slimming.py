"""mitmproxy without its stock add-ons.

Whoever imports one module of `mitmproxy.addons` gets all of them, with a web framework, LDAP and a YAML editor: a third
of the time that a worker takes to start, in which real users may be waiting, and 15 MB for each. Tested with mitmproxy
12.2.
"""

import importlib
import logging
import sys
import types
from importlib.util import find_spec
from pathlib import Path

logger = logging.getLogger(__name__)

_PACKAGE = "mitmproxy.addons"
_NEEDED = ("mitmproxy.master", *(f"{_PACKAGE}.{name}" for name in ("core", "next_layer", "proxyserver", "tlsconfig")))


def slim() -> bool:
    """Leave the stock add-ons out, before anything else of mitmproxy is imported. False: it can't be done here."""
    if _PACKAGE in sys.modules:
        return False
    try:
        _leave_out()
    except (ImportError, AttributeError) as error:
        for name in [name for name in sys.modules if name.partition(".")[0] == "mitmproxy"]:
            del sys.modules[name]
        logger.warning("This mitmproxy can't be had without its stock add-ons (%s): workers start slowly.", error)
        return False
    return True


def _leave_out() -> None:
    """Put a package in place that has the same modules, and imports none by itself."""
    mitmproxy = importlib.import_module("mitmproxy")
    spec = find_spec("mitmproxy")
    bare = types.ModuleType(_PACKAGE)
    bare.__path__ = [str(Path(folder, "addons")) for folder in (spec and spec.submodule_search_locations) or []]
    sys.modules[_PACKAGE] = bare
    setattr(mitmproxy, "addons", bare)  # noqa: B010 - as an import does
    for name in _NEEDED:
        importlib.import_module(name)
