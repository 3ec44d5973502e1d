"""Drives loadtag with nothing but the standard library: ``PYTHONPATH=loadtag/src python3.9 tests/support/oldest.py``.

For interpreters that have neither pytest nor any of the libraries which loadtag has hooks for. Whatever of loadtag
needs one of those is compiled, and the rest is imported and used as an app would.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import logging
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import loadtag
from loadtag import asgi, wsgi

ROOT = Path(loadtag.__file__).parent
TAG = loadtag.LoadTag("key", "run-1", 1_800_000_000, "shop")
SERVED = loadtag.Served(TAG, loadtag.format_token(TAG, bytes(64)))
FIELDS = {"baggage": "user=alice,loadtest=" + SERVED.token}


def modules() -> list[str]:
    """Import what can be imported; return what could not be, since a library is missing."""
    missing = []
    for path in sorted(ROOT.rglob("*.py")):
        compile(path.read_text(encoding="utf-8"), str(path), "exec")
        parts = ("loadtag", *path.relative_to(ROOT).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    return missing


def carriers() -> None:
    """Put the tag on carriers and take it off again."""
    with loadtag.serve(SERVED):
        mapping = dict(FIELDS)
        loadtag.inject(mapping)
        pairs = loadtag.injected((("a", "b"),))
    assert loadtag.extract(mapping) == loadtag.extract(pairs) == pickle.loads(pickle.dumps(SERVED)) == SERVED
    assert loadtag.extract({"baggage": "loadtest=rubbish"}) is None
    loadtag.keep_inside("*.internal", "10.0.0.0/8")
    assert [loadtag.goes_to(host) for host in ("a.internal:80", "http://10.0.0.1/", "example.com")] == [
        True,
        True,
        False,
    ]
    loadtag.keep_inside()


async def requests_by_asgi() -> None:
    """Serve requests the ASGI way, with work in an executor."""
    seen: list[str | None] = []

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        with ThreadPoolExecutor(1) as pool:
            seen.append(await asyncio.get_running_loop().run_in_executor(pool, loadtag.current_run))

    nothing: Any = None
    for headers in ([(name.encode(), value.encode()) for name, value in FIELDS.items()], []):
        await asgi.LoadTagMiddleware(app)({"type": "http", "headers": headers}, nothing, nothing)
    assert seen == ["run-1", None], seen


def requests_by_wsgi() -> None:
    """Serve requests the WSGI way, with responses that stream."""

    def app(_environ: Any, _start: Any) -> Any:
        yield str(loadtag.current_run()).encode()

    nothing: Any = None
    assert list(wsgi.LoadTagMiddleware(app)({"HTTP_BAGGAGE": FIELDS["baggage"]}, nothing)) == [b"run-1"]
    assert list(wsgi.LoadTagMiddleware(app)({}, nothing)) == [b"None"]


def acting() -> None:
    """Leave things undone, and say so."""

    @loadtag.noop_when_load_test(returns="nothing")
    def charge() -> str:
        return "charged"

    @loadtag.noop_when_load_test(returns="nothing")
    async def charge_later() -> str:
        return "charged"

    async def both() -> Any:
        return charge(), await charge_later(), loadtag.metric_label()

    assert asyncio.run(both()) == ("charged", "charged", "real")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(loadtag.LoadTagFilter())
    handler.setFormatter(logging.Formatter("%(load_test)s %(message)s"))
    logger = logging.getLogger("app")
    logger.addHandler(handler)
    with loadtag.serve(SERVED):
        assert asyncio.run(both()) == ("nothing", "nothing", "synthetic")
        logger.warning("told")
    assert stream.getvalue() == "run-1 told\n"
    assert loadtag.recognise(loadtag.synthetic_email("run-1", 7)) == ("run-1", 7)
    assert loadtag.carry(charge)() == "charged"


if __name__ == "__main__":
    without = modules()
    carriers()
    asyncio.run(requests_by_asgi())
    requests_by_wsgi()
    acting()
    print(sys.version.split()[0], *without)
