"""aiohttp: tells what a delivery costs, and delivers what it finds in the queue. ``python -m`` runs it.

A delivery tells the warehouse of it (aiohttp's client) and has it booked in the ledger (gRPC).
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import redis.asyncio
from aiohttp import ClientError, ClientSession, web

from tests.support.chain.passing import chosen
from tests.support.chain.setting import Diary, Setting

HANDS = 8
"""Deliveries at a time."""

setting = Setting.read()
passing = chosen(setting)
diary = Diary(setting, "courier")


async def quote(request: web.Request) -> web.Response:
    number = request.match_info["number"]
    diary.write("courier", number, request.headers.items(), passing.told())
    return web.json_response({"days": 2})


async def deliver(queue: redis.asyncio.Redis, session: ClientSession, channel: grpc.aio.Channel) -> None:
    """Take one message after the other. What fails is told, and missed where it should have arrived."""
    book: Any = channel.unary_unary("/shop.Ledger/Book")
    while True:
        found: Any = await queue.blpop(["parcels"], timeout=0)
        message = json.loads(found[1])
        with passing.serve(message["headers"]):
            number = message["order"]
            diary.write("queue", number, message["headers"].items(), passing.told())
            try:
                async with session.post(f"{setting.url(setting.warehouse)}/delivered/{number}") as answer:
                    answer.raise_for_status()
                await book(number.encode())
            except (ClientError, grpc.RpcError) as error:
                print(f"{number}: {error!r}", flush=True)


async def working(_: web.Application) -> AsyncIterator[None]:
    """Deliver for as long as the app runs."""
    trusted = grpc.ssl_channel_credentials(Path(setting.trusted).read_bytes()) if setting.trusted else None
    async with (
        redis.asyncio.Redis(port=setting.queue) as queue,
        passing.aiohttp_session() as session,
        passing.grpc_channel(f"localhost:{setting.ledger}", trusted) as channel,
    ):
        hands = [asyncio.create_task(deliver(queue, session, channel)) for _ in range(HANDS)]
        yield
        for hand in hands:
            hand.cancel()
        await asyncio.wait(hands)


if __name__ == "__main__":
    app = web.Application(middlewares=passing.aiohttp_middlewares())
    app.router.add_get("/quote/{number}", quote)
    app.cleanup_ctx.append(working)
    web.run_app(app, host="127.0.0.1", port=setting.courier, print=None, access_log=None)
