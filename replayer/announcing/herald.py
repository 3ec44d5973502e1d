"""The run's end of announcements: hands them to the courier, hears what became of them, waits for none. Edge."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from replayer.announcing.pace import Pace
from replayer.announcing.receivers import Receiver
from replayer.announcing.wording import Words
from replayer.lanes.channel import Channel
from rules.wire import SECRETS

PATIENCE = 25.0
"""Seconds after which an announcement counts as not taken: two attempts of Apprise, with time for others before."""

LAST = 5.0
"""Seconds that the end of a run waits for its last announcement, at most."""


class Outcome(NamedTuple):
    """What became of an announcement at one receiver."""

    event: str
    to: str
    trouble: str
    """Empty: it took it."""


class Herald:
    """Announces a run. Belongs to the event loop's thread. Nothing here fails because a receiver does."""

    def __init__(
        self, receivers: Sequence[Receiver], orphaned: Words, heard: Callable[[Outcome], None],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:  # fmt: skip
        """`orphaned`: what to say if the run's process is gone without a word. `heard` is told of each outcome."""
        self._receivers, self._heard, self._clock = receivers, heard, clock
        self._pace = Pace()
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self._pending: dict[tuple[int, int], tuple[str, int]] = {}
        """Of each announcement at each receiver that did not answer yet: its event, and since when."""
        mine, other = socket.socketpair()
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", "replayer.announcing.courier", str(other.fileno())],
            pass_fds=(other.fileno(),),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the run, which says so to the courier
            # Other people's code sends there; the receivers are told to it by the channel.
            env={name: value for name, value in os.environ.items() if name not in SECRETS},
        )
        other.close()
        self._channel = Channel(mine)
        self.ready = False
        urls = [receiver.url.get_secret_value() for receiver in receivers]
        self._channel.say(urls=urls, orphaned={"n": 0, **_packed(orphaned)})
        self._loop.add_reader(self._channel.fileno(), self._hear)

    @property
    def pending(self) -> bool:
        """Whether a receiver has not answered yet."""
        return bool(self._pending)

    def say(self, words: Words) -> None:
        """Announce something, now or when it is its turn."""
        if (now := self._pace.offer(words, self._clock())) is not None:
            self._send(now)

    def beat(self) -> None:
        """Say what was held back for long enough, and give up what nobody answered."""
        now = self._clock()
        for words in self._pace.due(now):
            self._send(words)
        self._channel.flush()
        late = [key for key, (_, since) in self._pending.items() if now - since > PATIENCE * 1e9]
        for key in late:
            self._settle(key, "it has not answered")

    async def close(self) -> None:
        """Let the courier tell the rest: wait for a moment, and leave it to it."""
        until = time.monotonic() + LAST
        with suppress(OSError):
            self._channel.say(last=True)
        while (self._pending or self._channel.unsent) and time.monotonic() < until:
            await asyncio.sleep(0.01)
            self._channel.flush()
        for key in list(self._pending):
            self._settle(key, f"it has not answered within {LAST:.0f} s; this is still tried for some seconds")
        self._loop.remove_reader(self._channel.fileno())
        self._channel.close()
        self._process.poll()

    def _send(self, words: Words) -> None:
        self._count += 1
        now = self._clock()
        lost = "it is not sent: the process that sends is gone" if self._channel.closed else ""
        if self._channel.unsent:
            lost = "it is not sent: too many wait to be sent"
        for number in range(len(self._receivers)):
            self._pending[self._count, number] = words.event, now
        if not lost:
            self._channel.say(n=self._count, **_packed(words))
            return
        for number in range(len(self._receivers)):
            self._settle((self._count, number), lost)

    def _hear(self) -> None:
        for message in self._channel.heard():
            if "ready" in message:
                self.ready = True
            else:
                self._settle((message["n"], message["receiver"]), message["trouble"])
        if self._channel.closed:
            self._loop.remove_reader(self._channel.fileno())
            self._process.poll()
            for key in list(self._pending):
                self._settle(key, "the process that sends is gone")

    def _settle(self, key: tuple[int, int], trouble: str) -> None:
        if (found := self._pending.pop(key, None)) is not None:
            self._heard(Outcome(found[0], self._receivers[key[1]].name, trouble))


def _packed(words: Words) -> dict[str, str]:
    return {"title": words.title, "body": words.body, "kind": words.kind}
