"""A process that sends a part of a run's requests: ``python -m replayer.lanes.worker FD``. Edge.

Of a recording that is sent as it is, it makes every `of`-th record's request itself. Any other request the run's
process makes and deals out (`dealing`). It knows no sidecar: what they granted to it, the load tag, and when to begin
and to end, the run's process says. If that is gone, so is the channel, and this process ends at once, with all its
connections.
"""

import asyncio
import socket
import sys
import time
from collections import deque
from functools import partial
from typing import Any, cast

import uvloop

from captures.keyring import load_identities
from captures.reader import Capture
from replayer.counting.ledger import Ledger
from replayer.encoder import encoder_for
from replayer.lanes.bulk import Bulk
from replayer.lanes.channel import Channel
from replayer.lanes.choice import addresses_of
from replayer.lanes.loading import Batch, Batches, Loader
from replayer.lanes.native import NativeLane
from replayer.permission.ceiling import Ceiling, Earned, Source, Unbounded
from replayer.plan import Plan
from replayer.selection import Selection, span
from replayer.stock import Supply
from replayer.stopping import Stop
from replayer.transport.target import target
from rules.exits import Exit, leave
from rules.units import Share
from rules.wire import Lever

BEAT = 0.05
"""Seconds between two reports of how things stand."""


class _Lane(NativeLane):
    """Keeps what it counted by value, for the run to count."""

    def __init__(self, *given: Any) -> None:
        self._kept = b"", b""
        super().__init__(*given)

    def _drain(self) -> None:
        keys, counts = self._tallied()
        self._kept = self._kept[0] + keys.tobytes(), self._kept[1] + counts.tobytes()

    def taken(self) -> tuple[bytes, bytes]:
        """Take what was kept."""
        kept, self._kept = self._kept, (b"", b"")
        return kept


class Dealt(Batches):
    """What the run's process has dealt to this one and is not loaded yet."""

    def __init__(self) -> None:
        super().__init__()
        self._batches: deque[Batch] = deque()
        self.last = False
        """Whether no more will come."""

    def add(self, batch: Batch) -> None:
        """Take a batch."""
        self._batches.append(batch)

    @property
    def exhausted(self) -> bool:
        """Whether everything was loaded that will ever come."""
        return self.last and not self._batches

    def load(self, loader: Loader, until_ns: int) -> bool:
        """Load a batch, whenever it is due: who dealt it looked at that."""
        if not self._batches:
            return False
        batch = self._batches.popleft()
        loader.take(batch)
        self.wanted += len(batch.dues)
        return bool(self._batches)


class Worker:
    """The part of a run that this process sends. Is the `Host` of its lane."""

    def __init__(self, channel: Channel, told: dict[str, Any]) -> None:
        plan = Plan.model_validate_json(told["plan"])
        self._channel = channel
        self._plan = plan
        self._part: tuple[int, int] = told["part"]
        self._dealt: Dealt | None = Dealt() if told["dealt"] else None
        if self._dealt is None:
            self._encoder, self._judge = encoder_for(plan, told["run"]), encoder_for(plan, told["run"])
            whole = Capture(plan.recording, load_identities(plan.identity))
            self._selection = Selection(whole, span(whole, plan.from_, plan.until), None, told["begin"])
        self.ledger = Ledger([])
        # Stand for the sidecars: what the run's process heard of each, this one's share of it.
        sources = [Source(str(place), Share(0)) for place in range(told["sources"])]
        self.ceiling: Ceiling | Unbounded = Ceiling(sources) if sources else Unbounded()
        self._token: tuple[bytes, int] = told["token"], told["until"]
        there = target(plan, None)._replace(max_connections=told["connections"])
        look_up = partial(addresses_of, plan)
        self.lane = _Lane(self, plan, there, time.monotonic_ns, told["addresses"], None, look_up, self._part[0])
        self.done = asyncio.Event()
        self._ended = ""
        self._halted = self._began = False
        self._known_routes = 0

    # --- what the lane asks ---

    def token(self) -> bytes:
        """Give the newest token."""
        return self._token[0]

    def token_until(self) -> tuple[bytes, int]:
        """Give the newest token, and until when it may be sent."""
        return self._token

    def stop(self, why: Stop, reason: str) -> None:
        """Begin no request any more, and say so."""
        if not self._halted:
            self._halted = True
            self.ledger.accounts.shed["stopped"] += self.lane.halt()
        self.report(stop=[why, reason])

    def refused_by_lever(self) -> None:
        """Pass on what a guard said."""
        self.stop("lever", "")

    def settled(self) -> None:
        """Say so at once: the run may be waiting for it."""
        self.report()

    # --- what the run says ---

    def take(self, message: dict[str, Any]) -> None:
        """Do what a message says."""
        for what, value in message.items():
            getattr(self, f"_{what}")(value)

    def _begin(self, times: list[int]) -> None:
        if self._halted:
            return
        start_ns, deadline_ns = times
        if self._dealt is None:
            bulk = Bulk(
                self._plan, self._selection, self._encoder, self.ledger.accounts, self.lane.code, start_ns,
                self._part, self._judge,
            )  # fmt: skip
            supply = bulk.supply()
        else:
            supply = Supply(cast("Any", self._dealt), cast("Any", self._dealt), None)
        self._began = True
        self.lane.begin(supply, deadline_ns)

    def _deal(self, columns: list[bytes]) -> None:
        if self._dealt is not None:
            self._dealt.add(Batch.unpacked(columns))
            self.lane.wake()

    def _last(self, _: bool) -> None:
        if self._dealt is not None:
            self._dealt.last = True
            self.lane.wake()

    def _renewed(self, token: list[Any]) -> None:
        self._token = token[0], token[1]

    def _hear(self, news: list[Any]) -> None:
        place, cleared, amount, at_ns, allowance, heard_ns, engaged = news
        source = self.ceiling.sources[place]
        source.earned, source.allowance = Earned(cleared, amount, at_ns), allowance
        source.heard_ns, source.lever = heard_ns, Lever(engaged=engaged)
        self.lane.heard(source)

    def _gain(self, gain: int) -> None:
        self.lane.set_gain(gain)

    def _halt(self, at_once: bool) -> None:
        if not self._halted:
            self._halted = True
            self.ledger.accounts.shed["stopped"] += self.lane.halt()
        if at_once:
            self.ledger.accounts.shed["stopped"] += self.lane.withdraw()
        self.report()

    def _close(self, _: bool) -> None:
        self.end()
        self.done.set()

    # --- reporting ---

    def end(self) -> None:
        """Close every connection and say what came of everything."""
        accounts = self.ledger.accounts
        accounts.shed["stopped"] += self.lane.withdraw()
        accounts.unanswered += self.lane.close()
        self.report(final=True, left_out=self._more_left_out())

    def report(self, **more: Any) -> None:
        """Say how things stand, all at one moment."""
        self.lane.look()
        ledger, accounts = self.ledger, self.ledger.accounts
        names: list[list[str]] = []  # whatever was dealt has the run's own numbers
        if self._dealt is None:
            found = self._encoder.routes.all[self._known_routes :]
            names = [[route.method, route.template] for route in found]
            self._known_routes += len(names)
        counts = {name: _plain(getattr(accounts, name)) for name in accounts.__slots__}
        tallies = self.lane.taken()
        self._channel.say(
            accounts=counts, crowded=ledger.crowded, routes=names, tallies=tallies, halted=self._halted,
            spent=[source.spent for source in self.ceiling.sources], reasons=dict(self.lane.reasons),
            damage=self._selection.damage if self._dealt is None else [], **more,
        )  # fmt: skip

    def beat(self) -> None:
        """Keep the lane going and report."""
        self.lane.beat(time.monotonic_ns())
        if self._began and not self._halted:
            self.lane.wake()
        self.report(left_out=self._more_left_out())

    def _more_left_out(self) -> list[tuple[str, str, int]]:
        """Tell what was left out since this was asked last: method, template, how often."""
        if self._dealt is not None:
            return []
        known = self._encoder.left_out
        found = map(known.taken, range(len(known.all)))
        return [(route.method, route.template, route.left_out) for route in found if route is not None]


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, dict) else value


async def _work(channel: Channel) -> None:
    loop = asyncio.get_running_loop()
    first = channel.heard() if channel.wait(time.monotonic() + 30) else []
    if not first:
        return
    worker = Worker(channel, first[0])
    channel.say(ready=True)

    def hear() -> None:
        for message in channel.heard():
            worker.take(message)
        if channel.closed:
            worker.done.set()  # the run is gone, and with it the right to send

    for message in first[1:]:
        worker.take(message)
    loop.add_reader(channel.fileno(), hear)
    while not worker.done.is_set():
        worker.beat()
        try:
            async with asyncio.timeout(BEAT):
                await worker.done.wait()
        except TimeoutError:
            channel.flush()
    loop.remove_reader(channel.fileno())
    worker.lane.close()
    until = time.monotonic() + 5
    while channel.unsent and not channel.closed and time.monotonic() < until:
        channel.flush()
        await asyncio.sleep(0.001)


if __name__ == "__main__":
    uvloop.run(_work(Channel(socket.socket(fileno=int(sys.argv[1])))))
    leave(Exit.DONE)
