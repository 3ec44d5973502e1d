"""Hooks into the libraries by which apps call each other: calls made for a synthetic request bear its tag.

    from loadtag.integrations import instrument

    instrument("httpx", "requests")  # once, where the app starts

One module for each library, and each is imported only by whoever uses that library:

- `hooking`: how a function of a library is replaced, once, and put back. What all the others are made of.
- `stepping`: how an iterator of the app is served, step by step.
- `httpx`, `requests`, `urllib3`: calls by these clients. Each has something to be used by hand, too.
- `aiohttp`: its client, and a middleware for its server.
- `grpc`: interceptors for clients and servers, with threads and with asyncio.
- `celery`, `rq`: tasks bear the tag of who sent them, and workers serve it.
- `kafka`: headers for messages, as all clients of Kafka take and give them. Nothing to instrument.
- `django`: a middleware for ``MIDDLEWARE``. Flask takes `loadtag.wsgi`, FastAPI and Starlette take `loadtag.asgi`.

What holds for all: a hook never raises into the app, a request or message of the app is not changed (the call bears
the tag, the app's own object does not), nothing is taken away that the app has set, a real request's call is passed
on as it is, and instrumenting twice is the same as once. Who may get the tag is said in one place: `keep_inside`.
"""

from __future__ import annotations

from importlib import import_module

INSTRUMENTABLE = ("aiohttp", "celery", "grpc", "httpx", "requests", "rq", "urllib3")
"""Libraries whose calls can be hooked into for a whole process."""


def instrument(*names: str) -> None:
    """Put hooks on these libraries, for the whole process. Call it where the app starts; a second time does nothing.

    Raises ValueError for a name that is not in `INSTRUMENTABLE`, and ImportError for a library that is not there.
    """
    for name in _known(names):
        import_module(f"{__name__}.{name}").instrument()


def uninstrument(*names: str) -> None:
    """Take the hooks off again. Raises as `instrument` does."""
    for name in _known(names):
        import_module(f"{__name__}.{name}").uninstrument()


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in INSTRUMENTABLE:
            raise ValueError(f"loadtag has no hook for {name!r}: choose from {', '.join(INSTRUMENTABLE)}")
    return names
