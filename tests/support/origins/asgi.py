"""An ASGI app without any framework: ``ACCESS_LOG=FILE python -m uvicorn tests.support.origins.asgi:app``."""

import os
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.origins import STATUSES

_log = open(os.environ["ACCESS_LOG"], "a", buffering=1)  # noqa: SIM115, PTH123 - open as long as the app runs


async def app(
    scope: dict[str, Any], _receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    if scope["type"] != "http":
        return
    number = dict(scope["headers"]).get(b"x-record", b"-1").decode()
    status = STATUSES.get(scope["path"].split("/")[1], 404)
    _log.write(f"{number} {status} HTTP/{scope['http_version']}\n")
    body = b"" if status == 204 else scope["raw_path"] + b", one of many"
    length = [] if status == 204 else [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": length})
    await send({"type": "http.response.body", "body": body})
