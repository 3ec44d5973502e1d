"""A Django project that tells what it serves, both ways: ``python -m tests.support.djangoed WSGI-PORT ASGI-PORT``."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import uvicorn
import waitress
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.urls import path

from loadtag import current_run
from tests.support.bearing import told

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["loadtag.integrations.django.load_tag_middleware", "django.middleware.common.CommonMiddleware"],
    LOGGING_CONFIG=None,
)


def who(_request: Any) -> Any:
    return HttpResponse(str(told()))


async def who_async(_request: Any) -> Any:
    await asyncio.sleep(0.005)  # others are served meanwhile
    return HttpResponse(str(await asyncio.get_running_loop().run_in_executor(None, current_run)))


def stream(_request: Any) -> Any:
    def parts() -> Iterator[str]:
        for _ in range(3):
            yield f"{current_run()} "

    return StreamingHttpResponse(parts())


async def stream_async(_request: Any) -> Any:
    async def parts() -> AsyncIterator[str]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield f"{current_run()} "

    return StreamingHttpResponse(parts())


def file(_request: Any) -> Any:
    return FileResponse(Path(__file__).open("rb"))


def fail(_request: Any) -> Any:
    raise RuntimeError("the app's own error")


urlpatterns = [
    path("who", who),
    path("who-async", who_async),
    path("stream", stream),
    path("stream-async", stream_async),
    path("file", file),
    path("fail", fail),
]

if __name__ == "__main__":
    ports = [int(argument) for argument in sys.argv[1:]]
    wsgi = {"host": "127.0.0.1", "port": ports[0], "threads": 4, "_quiet": True}
    threading.Thread(target=waitress.serve, args=(get_wsgi_application(),), kwargs=wsgi, daemon=True).start()
    uvicorn.run(get_asgi_application(), host="127.0.0.1", port=ports[1], log_level="critical", lifespan="off")
