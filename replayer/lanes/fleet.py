"""Several processes that send for one run, each by a native lane of its own. Edge: starts them and speaks with them.

    the run: grants, lever, tag, schedule ->  worker 0: every record 0, N, 2N, ...  -> counts -> the run's ledger
                                              worker 1: every record 1, N+1, ...

So it is for a recording that is sent as it is (`bulk.fits`): each worker reads it and makes its own part. Whatever else
there is to send (amplified, at a rate, on top of live traffic, seen by a plugin, ...) the run's process makes, as for
one sender, and deals out (`dealing`). So it is the same requests at the same times, however many send them.

One run, one ceiling, one report. Whatever the sidecars grant is handed out here, each credit to one worker only, so all
of them together send no more than one would. Histograms are merged value by value. A worker whose process is gone ends
the run: what it sent since its last report nobody knows.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

from captures.errors import CaptureError
from replayer.lanes.channel import Channel
from replayer.lanes.dealing import Dealer
from replayer.lanes.lane import Host
from replayer.lanes.loading import Batch
from replayer.lanes.native import AHEAD, AHEAD_BYTES, AHEAD_NS, LOAD, LOAD_BYTES, count_values
from replayer.permission.ceiling import Source
from replayer.plan import Plan
from replayer.requests.encoding import Encoder, Request
from replayer.schedule.pacing import awake
from replayer.stock import Supply, ending
from replayer.stopping import Stop
from rules.wire import SECRETS, SIGNAL_TIMEOUT

START_SECONDS = 30.0
END_SECONDS = 5.0
"""How long to wait for workers to be ready, and for their last reports."""

LEASE_NS = int(SIGNAL_TIMEOUT * 1e9)
"""For how long workers send without hearing of the run: if that is stopped (Ctrl-Z), so are they."""

SILENT_BEATS = 200
"""A worker reports with every beat. After so many without a report (ten seconds) it is given up."""

_COUNTS = ("read", "wanted", "waiting", "sent", "answered", "in_flight", "retried", "bytes_sent",
           "bytes_received")  # fmt: skip
_COUNTERS = ("skipped", "shed", "withheld", "errors", "statuses")


class _Member:
    """One worker, as the run sees it."""

    def __init__(self, number: int) -> None:
        mine, other = socket.socketpair()
        self.number = number
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            # -P: not what happens to lie in the folder that the run was started in
            [sys.executable, "-P", "-m", "replayer.lanes.worker", str(other.fileno())],
            pass_fds=(other.fileno(),),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the run, which tells its workers
            # They know no sidecar.
            env={name: value for name, value in os.environ.items() if name not in SECRETS},
        )
        other.close()
        self.channel = Channel(mine)
        self.ready = self.halted = self.ended = self.lost = False
        self.accounts: dict[str, Any] = {}
        self.crowded = self.silent = 0
        self.spent: list[int] = []
        self.reasons: dict[str, str] = {}
        self.routes: list[int] = []
        """For each route of the worker, its number in the run."""
        self.damage: list[str] = []
        self.dealt = self.held_bytes = 0
        self._batches: deque[tuple[int, int]] = deque()

    def deal(self, batch: Batch) -> None:
        """Hand requests over."""
        self.channel.say(deal=batch.packed())
        self.dealt += len(batch.dues)
        self.held_bytes += len(batch.content)
        self._batches.append((self.dealt, len(batch.content)))

    @property
    def ahead(self) -> int:
        """Requests that it was dealt, and that were not due yet when it last reported."""
        ahead: int = self.dealt - self.accounts.get("wanted", 0)
        return ahead

    def room(self, most_bytes: int) -> int:
        """Tell how many requests more it may be dealt; none while it has not taken what it was told before.

        So what is said to it in a hurry (halt!) waits behind one batch at most.
        """
        while self._batches and self._batches[0][0] <= self.accounts.get("wanted", 0):
            self.held_bytes -= self._batches.popleft()[1]
        if self.channel.unsent or self.held_bytes >= most_bytes or self.halted or self.lost:
            return 0
        return max(0, AHEAD - self.ahead)


class Fleet:
    """The lane of a run with several processes."""

    name = "native"

    def __init__(self, host: Host, plan: Plan, count: int, encoder: Encoder, told: Mapping[str, Any]) -> None:
        """`told`: what every worker is told at the beginning, beside its part."""
        self._host = host
        self._routes, self._left_out = encoder.routes, encoder.left_out
        self._sources = host.ceiling.sources
        self._dealer = Dealer(count, len(self._sources))
        self._supply: Supply | None = None
        self._sending = self._dealing = self._said_last = False
        self._most = plan.max_requests
        self._max_lag_ns = int(plan.max_lag * 1e9)
        self._looked_ns = self._awake_ns = 0
        self._late = 0
        self._seen: dict[str, Any] = {}
        self._halting = self._closed = False
        self._loop = asyncio.get_running_loop()
        self._members = [_Member(number) for number in range(count)]
        for member in self._members:
            connections = (plan.max_connections + count - 1 - member.number) // count
            token, until_ns = self._token()
            member.channel.say(
                plan=plan.model_dump_json(), part=[member.number, count], sources=len(self._sources),
                token=token, until=until_ns, connections=connections, **told,
            )  # fmt: skip
            self._loop.add_reader(member.channel.fileno(), self._hear, member)

    # --- what the run asks ---

    @property
    def in_flight(self) -> int:
        """Requests on their way; one at least as long as a worker has not said that it sends no more."""
        self.look()
        silent = sum(not (member.halted or member.lost) for member in self._members)
        return self._host.ledger.accounts.in_flight + (silent if self._halting else 0)

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection of their own."""
        return self._host.ledger.accounts.waiting

    @property
    def reasons(self) -> Mapping[str, str]:
        """Of each kind of connection that failed, the first error in words."""
        return {kind: why for member in reversed(self._members) for kind, why in member.reasons.items()}

    @property
    def damage(self) -> Sequence[str]:
        """What of the recording the workers could not read; all of them read all of it."""
        return self._members[0].damage

    async def ready(self) -> bool:
        """Wait until every worker is; False if one can't, or if it is all over already."""
        until = time.monotonic() + START_SECONDS
        while not all(member.ready for member in self._members):
            if self._halting:
                return False
            if time.monotonic() > until or any(member.lost for member in self._members):
                self._host.stop("failed", "a process that was to send did not start")
                return False
            await asyncio.sleep(0.005)
        return True

    def start(self, start_ns: int, deadline_ns: int) -> None:
        """Let all of them begin, at one moment, with what each of them makes itself."""
        self._say(begin=[start_ns, deadline_ns])

    def begin(self, supply: Supply, deadline_ns: int) -> None:
        """Let all of them begin, and deal out what there is."""
        self._supply = supply
        self._sending = True
        self._say(begin=[0, deadline_ns])
        self._deal()

    def wake(self) -> None:
        """Say what could not be said; deal out what is wanted."""
        for member in self._members:
            member.channel.flush()
        if not self._dealing:
            self._deal()

    def heard(self, source: Source) -> None:
        """Hand out what a sidecar granted, each credit to one of them."""
        place = self._sources.index(source)
        cleared, _, at_ns = source.earned
        for member, amount in zip(self._members, self._dealer.credit(place, source.earned), strict=True):
            self._hand_on(member, place, source, cleared=cleared, amount=amount, at_ns=at_ns)

    def beat(self, now_ns: int) -> None:
        """Hand on the tag and what the sidecars stand at; give up who does not report any more."""
        for member in self._members:
            member.silent += 1  # not by the clock: this process may have stood still itself
            if member.silent > SILENT_BEATS and not (member.ended or member.lost or self._closed):
                member.process.kill()
                self._lose(member)
        self._look_at(now_ns)
        self._say(renewed=self._token())
        for place, source in enumerate(self._sources):
            for member in self._members:
                self._hand_on(member, place, source, cleared=False, amount=0, at_ns=now_ns)

    def set_gain(self, gain: int) -> None:
        """Tell all of them which share goes on."""
        self._say(gain=gain)

    def look(self) -> None:
        """Add up what the workers said last: each of them spoke of one moment."""
        accounts = self._host.ledger.accounts
        for name, now in self._sums().items():
            then = self._seen.get(name)  # others count in the same accounts, so what is new is added
            if isinstance(now, Counter):
                whole: Counter[Any] = getattr(accounts, name)
                whole.update(now)
                whole.subtract(then or {})
                setattr(accounts, name, +whole)
            else:
                setattr(accounts, name, getattr(accounts, name) + now - (then or 0))
            self._seen[name] = now
        if self._supply is None:
            accounts.rounds = max(member.accounts.get("rounds", 0) for member in self._members)
        self._host.ledger.crowded = sum(member.crowded for member in self._members)
        for place, source in enumerate(self._sources):
            source.spent = sum(member.spent[place] for member in self._members if member.spent)

    def _sums(self) -> dict[str, Any]:
        sums: dict[str, Any] = {name: sum(member.accounts.get(name, 0) for member in self._members) for name in _COUNTS}
        for name in _COUNTERS:
            whole: Counter[Any] = Counter()
            for member in self._members:
                whole.update(member.accounts.get(name, {}))
            sums[name] = whole
        if self._supply is None or self._supply.echo is None:
            sums["wanted"] += self._late  # what a worker holds ready is not wanted before it is due
            return sums
        # What live traffic asked for is wanted from that moment on, whether or not it was ever begun.
        given_up = sum(member.ahead for member in self._members if member.halted or member.lost or member.ended)
        ahead = sum(member.ahead for member in self._members) - given_up
        sums["wanted"] = self._supply.demand.wanted
        sums["waiting"] += ahead + (self._supply.demand.pending if self._sending else 0)
        sums["shed"]["stopped"] += given_up
        return sums

    def halt(self) -> int:
        """Have them begin nothing any more."""
        if not self._halting:
            self._halting = True
            self._say(halt=False)
        pending = self._supply.demand.pending if self._supply is not None and self._sending else 0
        self._sending = False
        return pending

    def withdraw(self) -> int:
        """Have them send nothing any more; they count it themselves."""
        self._say(halt=True)
        return 0

    def close(self) -> int:
        """Have them close every connection, take their last reports, and end them."""
        if self._closed:
            return 0
        self._closed = self._halting = True
        self._say(close=True)
        until = time.monotonic() + END_SECONDS
        for member in self._members:
            self._loop.remove_reader(member.channel.fileno())
            self._loop.remove_writer(member.channel.fileno())
            while not (member.ended or member.lost):
                if not member.channel.wait(until) and time.monotonic() >= until:
                    self._lose(member)
                    break
                member.channel.flush()
                self._hear(member)
            member.channel.close()
            try:
                member.process.wait(1)
            except subprocess.TimeoutExpired:
                member.process.kill()
                member.process.wait()
        unanswered = 0
        for member in self._members:
            accounts = member.accounts
            if member.lost:  # what was on its way when it last reported stays without an answer
                shed = dict(accounts.get("shed", {}))
                shed["stopped"] = shed.get("stopped", 0) + accounts.get("waiting", 0)
                unanswered += accounts.get("in_flight", 0)
                accounts.update(shed=shed, in_flight=0, waiting=0)
            unanswered += accounts.get("unanswered", 0)
        return unanswered

    # --- dealing out ---

    def _look_at(self, now_ns: int) -> None:
        """Find out whether this process was held up: what should have been dealt meanwhile is not sent all at once."""
        self._awake_ns = awake(self._awake_ns, self._looked_ns, now_ns, self._max_lag_ns)
        self._looked_ns = now_ns

    def _deal(self) -> None:
        """Deal out some of what is wanted, and go on with that when others had their turn."""
        self._dealing = False
        supply = self._supply
        if not self._sending or supply is None:
            return
        self._look_at(time.monotonic_ns())
        rooms = [member.room(AHEAD_BYTES // len(self._members)) for member in self._members]
        if any(rooms):
            now = time.monotonic_ns()
            try:
                hand = self._dealer.deal(supply, rooms, now, now + AHEAD_NS, LOAD, LOAD_BYTES)
            except CaptureError as error:
                self._host.stop("failed", str(error))
                return
            self._look_at(time.monotonic_ns())  # it may have been read for long
            self._shed_late(hand.take_late(self._awake_ns))
            for member, part in zip(self._members, hand.parts, strict=True):
                if part:
                    member.deal(Batch.of(part))
                    self._take_up(member)
            if hand.more and not supply.demand.exhausted:
                self._dealing = True
                self._loop.call_soon(self._deal)
        if supply.demand.exhausted and not self._dealer.keeping and not self._said_last:
            self._said_last = True
            self._say(last=True)

    def _shed_late(self, requests: Sequence[Request]) -> None:
        self._late += len(requests)
        for request in requests:
            self._host.ledger.accounts.shed["late"] += 1
            self._host.ledger.routes[request.route].shed["late"] += 1

    def _take_up(self, member: _Member) -> None:
        """Say the rest to a worker as soon as it listens."""
        if member.channel.unsent and not member.channel.closed:
            self._loop.add_writer(member.channel.fileno(), self._flush, member)

    def _flush(self, member: _Member) -> None:
        member.channel.flush()
        if not member.channel.unsent or member.channel.closed:
            self._loop.remove_writer(member.channel.fileno())
            self.wake()

    # --- inside ---

    def _token(self) -> tuple[bytes, int]:
        """Give the load tag's token, and until when it may be sent: no longer than workers may go unheard."""
        token, until_ns = self._host.token_until()
        return token, min(until_ns, time.monotonic_ns() + LEASE_NS)

    def _say(self, **message: Any) -> None:
        for member in self._members:
            member.channel.say(**message)

    def _hand_on(self, member: _Member, place: int, source: Source, *, cleared: bool, amount: int, at_ns: int) -> None:
        allowance = self._dealer.allowances(source.allowance)[member.number]
        member.channel.say(hear=[place, cleared, amount, at_ns, allowance, source.heard_ns, source.lever.engaged])

    def _hear(self, member: _Member) -> None:
        for message in member.channel.heard():
            self._take(member, message)
        if member.channel.closed and not (member.ended or member.lost):
            self._lose(member)

    def _take(self, member: _Member, message: dict[str, Any]) -> None:
        member.silent = 0
        if message.get("ready"):
            member.ready = True
            return
        member.accounts, member.crowded, member.spent = message["accounts"], message["crowded"], message["spent"]
        member.reasons, member.damage = message["reasons"], message["damage"]
        member.halted = member.halted or message["halted"]
        member.routes += [self._routes.named(method, template) for method, template in message["routes"]]
        keys, counts = array("Q", message["tallies"][0]), array("Q", message["tallies"][1])
        count_values(self._host.ledger, keys, counts, member.routes if self._supply is None else None)
        for method, template, left_out in message.get("left_out", ()):
            self._left_out.all[self._left_out.named(method, template)].left_out += left_out
        member.ended = message.get("final", False)
        if "stop" in message and not self._halting:
            self._stop(member, *message["stop"])
        if self._sending and not self._dealing:
            self._deal()
        if self._halting and member.halted:
            self._host.settled()

    def _stop(self, member: _Member, why: Stop, reason: str) -> None:
        member.halted = True
        if why == "lever":
            self._host.refused_by_lever()
        elif why != "ended" or reason == "the time was up":
            self._host.stop(why, reason)
        elif all(one.halted or one.lost for one in self._members):
            wanted = sum(one.accounts.get("wanted", 0) for one in self._members)
            self._host.stop(why, ending(wanted, self._most) if self._supply is None else self._supply.ending)

    def _lose(self, member: _Member) -> None:
        """Take note that a worker is gone, and end the run."""
        member.lost = True
        self._loop.remove_reader(member.channel.fileno())
        self._loop.remove_writer(member.channel.fileno())
        code = member.process.poll()
        how = "ended" if member.channel.closed else "was not heard of any more"
        self._host.stop(
            "failed",
            f"process {member.number + 1} of {len(self._members)} (pid {member.process.pid}) {how} "
            f"{'' if code is None else f'with {code} '}while it was sending; "
            "what it sent in its last moments is in no account",
        )
        self._host.settled()
