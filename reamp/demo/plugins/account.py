"""Datasette plugin: the app's own account, one line for each request that reached it.

``<unix ns> <run id, - for real users> <request id, - if none> <path>`` into the file named by ``REAMP_DEMO_ACCOUNT``.
"""

import os
import time
from collections.abc import Callable
from typing import Any

from datasette import hookimpl

from loadtag import current_run
from loadtag.asgi import LoadTagMiddleware

_account = open(os.environ["REAMP_DEMO_ACCOUNT"], "a", buffering=1)  # noqa: SIM115, PTH123 - as long as the app runs


@hookimpl  # type: ignore[untyped-decorator]
def asgi_wrapper(datasette: Any) -> Callable[[Any], Any]:  # noqa: ARG001 - the hook's signature
    """Put loadtag's middleware and the account around the app."""

    def wrap(app: Any) -> Any:
        async def accounted(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                request_id = dict(scope["headers"]).get(b"x-request-id", b"-").decode("latin-1")
                _account.write(f"{time.time_ns()} {current_run() or '-'} {request_id} {scope['path']}\n")
            await app(scope, receive, send)

        return LoadTagMiddleware(accounted)

    return wrap
