"""A real app whose latency rises with load: a pool of workers, and everybody waits for one.

``KITCHEN_WORKERS=4 KITCHEN_SECONDS=0.04 python -m uvicorn tests.benchmarks.kitchen:app``: each request occupies one of
so many threads for a time that is drawn anew (exponential, with that mean), so that the pool carries 4 / 0.04 = 100
requests a second, and the queue before it is that of M/M/4.
"""

import os
import random
import time

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

WORKERS = int(os.environ.get("KITCHEN_WORKERS", "4"))
SECONDS = float(os.environ.get("KITCHEN_SECONDS", "0.04"))

_pool: list[CapacityLimiter] = []


def _work() -> None:
    time.sleep(random.expovariate(1 / SECONDS))


async def item(_request: Request) -> Response:
    if not _pool:
        _pool.append(CapacityLimiter(WORKERS))
    await to_thread.run_sync(_work, limiter=_pool[0])
    return PlainTextResponse("here you are")


app = Starlette(routes=[Route("/item/{number:int}", item)])
