"""A client: ``python -m tests.support.endurance.client SETTINGS``, in JSON. It tells what it found in a file."""

import asyncio
import json
import struct
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import cast

import httptools
import uvloop
from pydantic import BaseModel

from tests.support.endurance.wording import Asked, plan

PATIENCE = 60.0
"""Seconds after which a request that is neither answered nor refused is lost."""

PAUSE = 0.05
"""Seconds that a connection rests after a refusal: there is no app at the moment."""


class Settings(BaseModel):
    """What a client is told."""

    port: int
    first: int
    """Number of the first request."""
    stages: list[tuple[int, int]]
    """(connections, requests), one after the other."""
    seed: int
    folder: Path


class Found(BaseModel):
    """What a client found out."""

    sent: int = 0
    ended: Counter[str] = Counter()
    """answered, refused (502 and 504), cut (recognisably), aborted (by the client itself), lost, wrong"""
    wrong: list[str] = []
    """The first of them."""
    unserved: list[tuple[float, float]] = []
    """When those were asked that were refused or cut, and when they came to that: monotonic time."""


class _Slot:
    """One of the connections at a time: it takes its next request when the last one has come to its end."""

    def __init__(self, client: "Client", requests: Iterator[Asked], done: asyncio.Future[None]) -> None:
        self.client, self._requests, self._done = client, requests, done
        self._connection: _Connection | None = None
        self.deadline: asyncio.TimerHandle | None = None

    def go_on(self) -> None:
        """Send the next request, on this connection or on a new one."""
        asked = next(self._requests, None)
        if asked is None:
            if self._connection:
                self._connection.drop()
            self._done.set_result(None)
            return
        self.client.found.sent += 1
        if self._connection and self._connection.usable:
            self._connection.ask(asked)
        else:
            self.client.spawn(self._connect(asked))

    async def _connect(self, asked: Asked) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.client.port)
        except OSError as error:
            self.ended("lost", asked, repr(error))
            return
        self._connection = connection
        connection.ask(asked)

    def ended(self, how: str, asked: Asked, detail: str = "") -> None:
        """Note what became of a request, then go on."""
        self.client.note(how, asked, detail)
        if how in ("refused", "cut", "lost"):
            asyncio.get_running_loop().call_later(PAUSE, self.go_on)
        else:
            self.go_on()


class _Connection(asyncio.Protocol):
    """A connection with at most one request under way."""

    def __init__(self, slot: _Slot) -> None:
        self._slot = slot
        self._asked: Asked | None = None
        self._asked_at = 0.0
        self._body: list[bytes] = []
        self._framed = False
        """Whether the answer says where it ends."""
        self.usable = True
        self._parser = httptools.HttpResponseParser(self)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's do not descend from it

    def ask(self, asked: Asked) -> None:
        """Send a request; hang up at once, or in the middle of it, if it is to be so."""
        self._asked, self._body, self._framed = asked, [], False
        self._asked_at = time.monotonic()
        wire = asked.wire()
        if asked.aborts:
            half = asked.number % 2 and len(wire) // 2
            self._transport.write(wire[: half or len(wire)])
            self._end("aborted")
            return
        self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._lost)
        self._transport.write(wire)

    def drop(self) -> None:
        """Close."""
        self.usable = False
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end("wrong", f"no HTTP: {error}: {data[:200]!r}")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._framed = self._framed or name.lower() in (b"content-length", b"transfer-encoding")
        if name.lower() == b"connection" and value.lower() == b"close":
            self.usable = False

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        asked, status = self._asked, self._parser.get_status_code()
        if asked is None:
            self._slot.client.note("wrong", None, f"an answer that nobody waits for: {status}")
            self.drop()
        elif not self._framed:
            self._end("wrong", f"an answer without a length: {status}")
        elif status in (502, 504):
            self._end("refused")
        elif status != 200 or b"".join(self._body) != asked.answer():
            self._end("wrong", f"{status} {b''.join(self._body)[:100]!r}")
        else:
            self.usable = self.usable and not asked.last
            self._end("answered")

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if self._asked:
            self._end("cut", repr(exc))

    def _lost(self) -> None:
        self._end("lost", "no answer in time")

    def _end(self, how: str, detail: str = "") -> None:
        asked, self._asked = self._asked, None
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if how != "answered":
            self.usable = self.usable and how == "refused"
        if not self.usable:
            self._transport.close()
        if how in ("refused", "cut"):
            self._slot.client.found.unserved.append((self._asked_at, time.monotonic()))
        if asked:
            # Not from within the parser: the next request may be answered before it returns.
            asyncio.get_running_loop().call_soon(self._slot.ended, how, asked, detail)


class Client:
    """All connections of this process."""

    def __init__(self, settings: Settings) -> None:
        self.port = settings.port
        self.found = Found()
        self.executed: array[int] = array("Q")
        """Numbers of those answered requests that must have been executed exactly once."""
        self._settings = settings
        self._tasks: set[asyncio.Task[None]] = set()
        self._progress = (settings.folder / f"progress-{settings.first}").open("r+b", buffering=0)

    def spawn(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def note(self, how: str, asked: Asked | None, detail: str) -> None:
        """Count what became of a request."""
        found = self.found
        found.ended[how] += 1
        if asked and how == "answered" and not asked.repeatable:
            self.executed.append(asked.number)
        if how in ("wrong", "lost") and len(found.wrong) < 10:
            found.wrong.append(f"{how}: {asked}: {detail}")
        if found.sent % 256 == 0:
            self._progress.seek(0)
            self._progress.write(struct.pack("=Q", found.sent))

    async def run(self) -> None:
        """Go through the stages, and write down what was found."""
        number, choice = self._settings.first, Random(self._settings.seed)
        loop = asyncio.get_running_loop()
        for connections, count in self._settings.stages:
            requests = (plan(one, choice) for one in range(number, number + count))
            number += count
            slots = []
            for _ in range(connections):
                done: asyncio.Future[None] = loop.create_future()
                slots.append(done)
                _Slot(self, requests, done).go_on()
            await asyncio.gather(*slots)
        folder, first = self._settings.folder, self._settings.first
        with (folder / f"executed-{first}").open("wb") as file:
            self.executed.tofile(file)
        (folder / f"found-{first}.json").write_text(self.found.model_dump_json())


if __name__ == "__main__":
    uvloop.run(Client(Settings.model_validate(json.loads(sys.argv[1]))).run())
