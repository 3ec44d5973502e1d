"""The lane on the event loop. It can do whatever the transport can.

    due? (demand) -> in time? (pacing) -> within the gain? (thinning) -> a connection? (transport) -> credit? (ceiling)
        -> send -> outcome -> ledger

The pump asks these questions in this order for the request that is due next, and stops at the first answer that is not
"send". It is woken by an alarm at the next due time, by a grant, and by a connection that is free again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from captures.errors import CaptureError
from replayer.comparing.routes import rounded
from replayer.counting.accounts import Shed
from replayer.lanes.lane import Host
from replayer.permission.ceiling import SPENDABLE_NS, Source
from replayer.plan import Plan
from replayer.requests.encoding import Request
from replayer.safety.thinning import passes, seeded
from replayer.schedule.alarm import alarm
from replayer.schedule.demand import Demand
from replayer.schedule.pacing import LOOK_NS, Pace, awake, pace
from replayer.stock import REFILL, Supply
from replayer.transport import Answer, Failure, Target, Withdrawal, connections
from rules.units import MILLION

BATCH = 64
"""Requests sent before answers get their turn."""

TOGETHER_NS = 10_000_000
"""What finds no free connection in time is shed with what else was too late by then. To wake up for each of them would
take the time in which answers free connections, and a moment's crowd would never end."""


class PythonLane:
    """Sends for one run. Is the `Outcomes` of its pool."""

    name = "python"

    def __init__(self, host: Host, plan: Plan, target: Target, clock: Callable[[], int]) -> None:
        self._host = host
        self._ledger = host.ledger
        self._accounts = host.ledger.accounts
        self._routes = host.ledger.routes
        self._ceiling = host.ceiling
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._pool = connections(target, self, clock)
        self._alarm = alarm(self._loop, self._pump)
        self._max_lag_ns = int(plan.max_lag * 1e9)
        self._lag_bound_ns = int(plan.lag_bound * 1e9)
        self._supply: Supply | None = None
        self._sending = False
        self._over = False  # whether not even what a connection lost is sent again
        self._levered = False  # whether a guard told that its lever is pulled, which the ceiling may not know yet
        self._deadline_ns = 0
        self._taken = 0  # since it was read ahead
        self._number, self._gain, self._seed = 0, MILLION, seeded(plan.seed)
        self._refilling = self._going_on = False
        self._short_ns = 0  # since when what is due waits for a free connection
        self._looked_ns = self._awake_ns = self._beat_ns = 0
        self._reads_first = False

    # --- what the run asks ---

    @property
    def in_flight(self) -> int:
        """Requests that were sent and have no outcome yet."""
        return self._pool.in_flight

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection of their own."""
        return self._pool.waiting

    @property
    def reasons(self) -> Mapping[str, str]:
        """Of each kind of connection that failed, the first error in words."""
        return {str(kind): why for kind, why in self._pool.reasons.items()}

    @property
    def damage(self) -> Sequence[str]:
        """Nothing that the run does not know."""
        return ()

    def begin(self, supply: Supply, deadline_ns: int) -> None:
        """Send what falls due."""
        self._supply, self._deadline_ns = supply, deadline_ns
        self._sending = True
        self._pump()

    def wake(self) -> None:
        """Look again."""
        if self._sending:
            self._refill()
            self._pump()

    def heard(self, source: Source) -> None:
        """Take in a grant: each request asks the ceiling itself."""

    def beat(self, now_ns: int) -> None:
        """Give up what has waited too long, and draw up the histograms."""
        # After a standstill answers are read first, and a beat later it is seen which are missing.
        self._reads_first = now_ns - self._beat_ns > LOOK_NS and not self._reads_first
        self._beat_ns = now_ns
        if not self._reads_first:
            self._pool.sweep(now_ns)
        for _, recorder in self._ledger.recorders:
            recorder.digest()

    def set_gain(self, gain: int) -> None:
        """Let this share of what falls due go on."""
        self._gain = gain
        self.wake()

    def look(self) -> None:
        """Bring the accounts up to date."""
        accounts, pool = self._accounts, self._pool
        if self._supply is not None:
            demand = self._supply.demand
            accounts.wanted = demand.wanted
            accounts.waiting = pool.waiting + (demand.pending if self._sending else 0)
        accounts.retried = pool.retried
        accounts.bytes_sent = pool.sent_bytes
        accounts.in_flight = pool.in_flight

    def halt(self) -> int:
        """Begin nothing any more."""
        given_up = self._supply.demand.pending if self._supply and self._sending else 0
        self._sending = False
        return given_up

    def withdraw(self) -> int:
        """Send nothing any more."""
        self._over = True
        return self._pool.withdraw()

    def close(self) -> int:
        """Close every connection."""
        self._sending = False
        self._alarm.close()
        return self._pool.close()

    # --- sending ---

    def _pump(self) -> None:
        # With a batch to come already, whoever wakes it up must not make it two: answers would wait ever longer.
        if self._going_on or not self._sending or self._supply is None:
            return
        demand = self._supply.demand
        try:
            for _ in range(BATCH):
                now = self._clock()
                self._awake_ns = awake(self._awake_ns, self._looked_ns, now, self._max_lag_ns)
                self._looked_ns = now
                due = self._due(demand, now)
                if due is None:
                    self._short_ns = 0
                    return
                match pace(now, due, self._max_lag_ns, self._awake_ns):
                    case Pace.WAIT:
                        self._short_ns = 0
                        self._alarm.at(due)
                        return
                    case Pace.SHED:
                        self._shed(self._take(demand), "connections" if self._short_ns else "late")
                    case Pace.SEND if not passes(self._seed, self._number, self._gain):
                        self._shed(self._take(demand), "backed-off")
                    case Pace.SEND:
                        if not self._send(demand, due, now):
                            return
        except CaptureError as error:
            self._host.stop("failed", str(error))
            return
        self._going_on = True
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._going_on = False
        self._pump()

    def _due(self, demand: Demand[Request], now: int) -> int | None:
        """Tell when the next request is due; None if there is none, for now or for good."""
        if self._deadline_ns and now >= self._deadline_ns:
            self._host.stop("ended", "the time was up")
            return None
        due = demand.due()
        if due is None:
            if demand.exhausted:
                self._host.stop("ended", self._supply.ending if self._supply else "")
            else:
                self._refill()
        return due

    def _send(self, demand: Demand[Request], due: int, now: int) -> bool:
        """Send the request that is due; False if there is no connection for it now."""
        shortage = self._pool.shortage(now)
        if shortage == "connections":
            self._short_ns = self._short_ns or now
            too_late = due + self._max_lag_ns
            self._alarm.at(too_late - too_late % TOGETHER_NS + TOGETHER_NS)
            return False
        request = self._take(demand)
        refusal = shortage or self._ceiling.spend(now)
        if refusal is not None:
            self._shed(request, refusal)
            return True
        # Waiting for a free connection is not the sender's own lag; but what waited long was not sent as planned.
        if self._short_ns and now - due > self._lag_bound_ns:
            self._ledger.crowded += 1
        self._pool.send(request, due, max(due, self._short_ns) if self._short_ns else now, now)
        return True

    def _take(self, demand: Demand[Request]) -> Request:
        self._number += 1
        self._taken += 1
        if self._taken >= REFILL:
            self._taken = 0
            self._refill()
        return demand.take()

    def _shed(self, request: Request, why: Shed) -> None:
        self._accounts.shed[why] += 1
        self._routes[request.route].shed[why] += 1

    def _refill(self) -> None:
        if not self._refilling:
            self._refilling = True
            self._loop.call_soon(self._read_ahead)

    def _read_ahead(self) -> None:
        self._refilling = False
        if not self._sending or self._supply is None:
            return
        stock = self._supply.stock
        try:
            dry = stock.peek() is None
            stock.fill(2 * REFILL)
        except CaptureError as error:
            self._host.stop("failed", str(error))
            return
        if stock.low:
            self._refill()
        if dry and (stock.ended or stock.peek() is not None):
            self._pump()

    # --- outcomes, called by the pool ---

    def answered(self, answer: Answer) -> None:
        """Count an answer."""
        accounts = self._accounts
        route = self._routes[answer.request.route]
        route.sent += 1
        route.bytes_received += answer.size
        accounts.bytes_received += answer.size
        if answer.withheld is None:
            latency = (answer.ended_ns - answer.due_ns) // 1000
            service = (answer.ended_ns - answer.sent_ns) // 1000
            accounts.answered += 1
            accounts.statuses[answer.status] += 1
            self._ledger.latency.pending.append(latency)
            self._ledger.service.pending.append(service)
            route.answered += 1
            route.statuses[answer.status] += 1
            route.latency[rounded(latency)] += 1
            route.service[rounded(service)] += 1
            if answer.request.recorded is not None:
                route.told.append(answer.request.recorded)
        else:
            route.withheld += 1
            accounts.withheld[answer.withheld] += 1
            if answer.withheld == "lever":
                self._levered = True
                self._host.refused_by_lever()
        self._host.settled()

    def sent(self, due_ns: int, ready_ns: int, sent_ns: int) -> None:
        """Count a request that is on its way."""
        self._accounts.sent += 1
        self._ledger.lag.pending.append((ready_ns - due_ns) // 1000)
        if sent_ns > ready_ns:
            self._ledger.wait.pending.append((sent_ns - ready_ns) // 1000)

    def failed(self, request: Request, sent_ns: int | None, failure: Failure) -> None:
        """Count a request that will have no answer."""
        if sent_ns is None:
            self._accounts.sent += 1
        self._accounts.errors[failure] += 1
        route = self._routes[request.route]
        route.sent += 1
        route.errors[failure] += 1
        if request.recorded is not None:
            route.told.append(request.recorded)
        self._host.settled()

    def withdrawal(self, since_ns: int, *, again: bool) -> Withdrawal | None:
        """Tell whether a request that waited for its connection may still be sent: all that held then has to hold.

        What is sent again has left the schedule; it may take as long as the credit is good that it has spent.
        """
        now = self._clock()
        if self._levered or self._ceiling.lever is not None:
            return "lever"
        if not self._ceiling.open(now):
            return "signal"
        if not self._gain:
            return "backed-off"
        most = max(self._max_lag_ns, SPENDABLE_NS) if again else self._max_lag_ns
        return "connecting" if now - since_ns > most else None

    def withdrawn(self, _request: Request, why: Withdrawal) -> None:
        """Count a request that was not sent after all."""
        self._accounts.shed[why] += 1
        self._host.settled()

    def token(self) -> bytes:
        """Give the load tag's token, valid now."""
        return self._host.token()

    def may_retry(self) -> bool:
        """Let a lost request be sent again, for another credit; also once all that was due is sent, for it was due."""
        return bool(self._gain) and not (self._over or self._levered) and self._ceiling.spend(self._clock()) is None

    def ready(self) -> None:
        """Go on, there is a connection again."""
        self._pump()
