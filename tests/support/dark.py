"""What tests of dark copies have in common."""

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from aiohttp import web

from addons.dark.annex import DarkPlan
from addons.dark.comparison import Aspects
from rules.units import Duration, Share, Size


def dark_plan(state: Path, url: str = "http://127.0.0.1:8001", **changes: Any) -> DarkPlan:
    """A plan as the settings make it when nothing but the URL is given."""
    values: dict[str, Any] = {
        "share": Share.parse("10%"),
        "workers": 1,
        "mark": "dark",
        "allow": (),
        "host": "keep",
        "secrets": "send",
        "compare": Aspects(),
        "timeout": Duration.parse("5s"),
        "at_once": 32,
        "per_second": None,
        "body_limit": Size.parse("64KiB"),
        **changes,
    }
    return DarkPlan(url=url, state=state, **values)


Mode = Literal["well", "slow", "failing", "hanging", "resetting"]


class Service:
    """A service in a thread of its own that notes what it gets, and fares as it is told. `gone` and `back` again."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: list[Got] = []
        self.mode: Mode = "well"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._released = asyncio.Event()
        self._runner: web.ServerRunner | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.back()
        return self

    def __exit__(self, *_: object) -> None:
        self.fare("well")
        self.gone()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fare(self, mode: Mode) -> None:
        """From now on; what hangs is let go."""

        async def change() -> None:
            self.mode = mode
            self._released.set()
            self._released = asyncio.Event()

        self._do(change())

    def gone(self) -> None:
        """Close all connections and listen no more."""

        async def close() -> None:
            if self._runner is not None:
                await self._runner.cleanup()

        self._do(close())

    def back(self) -> None:
        """Listen again, where it listened before."""

        async def begin() -> None:
            self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
            await self._runner.setup()
            site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
            await site.start()
            self.port = int(self._runner.addresses[0][1])

        self._do(begin())

    def _do(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        got = Got(request.method, request.raw_path, headers, body)
        self.seen.append(got)
        if self.mode == "slow":
            await asyncio.sleep(0.1)
        elif self.mode == "hanging":
            await self._released.wait()
        elif self.mode == "resetting" and request.transport is not None:
            request.transport.abort()
        status = 500 if self.mode == "failing" else 200
        return web.Response(body=reply(got), status=status, headers={"date": "today"})


class Got(NamedTuple):
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def reply(got: Got) -> bytes:
    """What a service says to a request: ``/big`` more than anybody keeps in memory."""
    said = f"{got.method} {got.target} {len(got.body)}".encode()
    return said + bytes(300_000) if got.target.startswith("/big") else said
