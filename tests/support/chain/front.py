"""Where orders come in: FastAPI, which asks the warehouse by httpx. Its sidecar stands before it.

Run it as ``python -m uvicorn tests.support.chain.front:app``.
"""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI, Request, Response

from tests.support.chain.passing import chosen
from tests.support.chain.setting import Diary, Setting

setting = Setting.read()
passing = chosen(setting)
diary = Diary(setting, "front")
clients: list[httpx.AsyncClient] = []
numbers = itertools.count()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with passing.httpx_client() as client:
        clients.append(client)
        yield


shop = FastAPI(lifespan=lifespan)


@shop.get("/orders/{name}")
async def order(name: str, request: Request) -> Any:
    number = f"{name}.{next(numbers)}"
    raw = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in request.headers.raw]
    diary.write("front", number, raw, passing.told())
    answer = await clients[0].post(f"{setting.url(setting.warehouse)}/reserve/{number}", json={"order": number})
    if answer.status_code != 200:
        return Response(f"the warehouse says {answer.status_code}", 502)
    return {"order": number, **answer.json()}


app = passing.asgi(shop)
