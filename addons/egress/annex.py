"""What the supervisor holds for the egress: its port, its memory, and what it tells of it."""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from addons.egress.attribution import JUDGEMENTS
from addons.egress.destinations import Destinations
from addons.egress.naming import ANSWERED, COUNTED, DOORS, MEMORY, OUTCOMES
from addons.parties.policy import Policy
from addons.processes.aide import Aide
from addons.processes.holding import Holding
from addons.processes.listening import bind
from addons.processes.tallies import Tallies
from addons.traces import Traces
from rules.units import parse_address
from rules.wire import EgressState

logger = logging.getLogger(__name__)

NAME = "egress"

FIXED = ("listen", "age")
"""What a reload can't change."""


@dataclass(frozen=True)
class EgressPlan:
    """What one reading of the settings says of the egress."""

    listen: str
    state: Path
    age: int
    """Seconds for which a trace is remembered."""
    mapped: tuple[str, ...] = ()
    intercepted: tuple[str, ...] = ()
    control: str = "127.0.0.1:8901"
    """Address of the control port, where no call may go."""
    trust: Path | None = None
    """Authorities that are trusted beside the public ones."""
    judging: Mapping[str, Any] = field(default_factory=dict)
    """mitmproxy options that say which load tags are valid."""
    styles: tuple[str, ...] = ("traceparent",)
    """Headers in which a synthetic request without a trace begins one."""
    sampled: bool = False
    """Whether tracing is to keep those traces."""
    policy: Policy = field(default_factory=Policy)
    """What synthetic calls to third parties may do."""
    name: str = NAME

    def __str__(self) -> str:
        """Say in words what it does."""
        into = ", ".join(self.intercepted) or "no host"
        lines = [f"http://{self.listen} (HTTP_PROXY for the app); looks into tunnels to {into}", f"{self.policy}"]
        if self.policy.tunnels == "block":
            lines.append("other tunnels to third parties pass only if every call in them could; users' as well")
        elif self.policy.default_third_party == "block" and "*" not in self.intercepted:
            lines.append(
                "beware: other tunnels pass as they are, with what is synthetic in them; to have those to third parties"
                " refused, users' as well: --egress-tunnels block"
            )
        if self.policy.tunnels == "pass" and (unseen := self._unseen()):
            lines.append(
                f"beware: TLS to {', '.join(unseen)} is not looked into, so synthetic calls in it are left alone and"
                " no rule holds for them: add --egress-intercept"
            )
        return "\n            ".join(lines)

    def _unseen(self) -> list[str]:
        """Give the hosts that calls are to be kept from, in tunnels that are not looked into."""
        destinations = Destinations(self.mapped, self.intercepted)
        return [host for host, port in self.policy.kept_from() if not destinations.looks_into(host, port)]

    def open(self) -> "Egress":
        """Bind the port and make the memory. Raises UserError."""
        return Egress(self)

    def options(self) -> dict[str, Any]:
        """Give what `addons.learning` has to know."""
        return {"reamp_trace": list(self.styles), "reamp_trace_sampled": self.sampled}

    def settings(self) -> dict[str, Any]:
        """Give what `serving.Settings` takes, without what only `Egress` knows; and `FIXED`, for `Egress` alone."""
        return {
            **{name: getattr(self, name) for name in FIXED},
            "mapped": list(self.mapped),
            "intercepted": list(self.intercepted),
            "options": dict(self.judging),
            "folder": str((self.state / "egress").absolute()),
            "trust": str(self.trust or ""),
            "policy": self.policy.written(),
        }


class Egress:
    """The annex of the egress."""

    name = NAME

    def __init__(self, plan: EgressPlan) -> None:
        """Bind the port and make the memory. Raises UserError."""
        self._opened = contextlib.ExitStack()
        with contextlib.ExitStack() as opened:
            _, port = parse_address(plan.listen)
            if port:
                self._holding = opened.enter_context(Holding(plan.state, port))
                self._sockets = _bound(plan.listen, opened, shared=self._holding.orphans)
            else:  # whichever is free: then nobody else holds it
                self._sockets = _bound(plan.listen, opened)
                self._holding = opened.enter_context(Holding(plan.state, self._port))
            self._traces = opened.enter_context(contextlib.closing(self._memory(plan)))
            self._tallies = opened.enter_context(contextlib.closing(Tallies.create(COUNTED)))
            self._opened = opened.pop_all()
        self._guarded = [one for one in (self._port, parse_address(plan.control)[1]) if one]
        self.aide = _Aide(self._holding, self._guarded, self._inherited)

    def _memory(self, plan: EgressPlan) -> Traces:
        """Go on with what an egress without a supervisor knows, if there is one.

        The app has connections to it, by which it calls once more for requests that come in here. (For that moment
        two processes may count in one row of the memory, and lose a count.)
        """
        if self._holding.orphans:
            try:
                return _known(plan.state / NAME / MEMORY, plan.age)
            except (OSError, ValueError) as error:
                logger.warning("The egress that served before knows none of the traces that come in now: %s", error)
        return Traces.create(plan.age)

    @property
    def _port(self) -> int:
        return int(self._sockets[0].getsockname()[1])

    @property
    def address(self) -> str:
        """Where apps connect to."""
        host, port = self._sockets[0].getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def shares(self) -> Mapping[str, int]:
        """Workers write down what they learn."""
        return {"traces": self._traces.fileno()}

    def _inherited(self) -> dict[str, int]:
        doors = {f"{DOORS}{at}": one.fileno() for at, one in enumerate(self._sockets)}
        held = {f"egress-held-{at}": one for at, one in enumerate(self._holding.kept)}
        return {**doors, **held, "traces": self._traces.fileno(), "egress-tallies": self._tallies.fileno()}

    def state(self) -> EgressState:
        """Tell how it is."""
        calls: dict[str, dict[str, int]] = {}
        for kind, by in JUDGEMENTS:
            calls.setdefault(kind, {})[by] = sum(self._tallies[f"{kind}/{by}/{outcome}"] for outcome in OUTCOMES)
        counted = self._traces.counted()
        here = {what: sum(self._tallies[f"{kind}/{by}/{what}"] for kind, by in JUDGEMENTS) for what in ANSWERED}
        return EgressState(
            answered=here,
            listen=self.address,
            pid=self.aide.pid,
            serves=self.aide.serves,
            restarts=self.aide.restarts.count,
            calls=calls,
            forged=self._tallies["forged"],
            refused=self._tallies["refused"],
            traces=counted,
            held=self._traces.held(int(time.monotonic())),
            room=self._traces.room,
        )

    def metrics(self) -> Iterable[Metric]:
        """Give its metrics as they stand."""
        calls = CounterMetricFamily(
            "reamp_egress_calls", "Calls of the app that ended, by whose they were.", labels=["kind", "by", "outcome"]
        )
        for kind, by in JUDGEMENTS:
            for outcome in OUTCOMES:
                calls.add_metric([kind, by, outcome], self._tallies[f"{kind}/{by}/{outcome}"])
        state = self.state()
        traces = CounterMetricFamily(
            "reamp_egress_traces", "Traces that requests bore, by what was done with them.", labels=["what"]
        )
        for what, count in state.traces.items():
            traces.add_metric([what], count)
        yield calls
        yield traces
        yield CounterMetricFamily("reamp_egress_forged", "Forged tags taken away from calls.", value=state.forged)
        yield CounterMetricFamily(
            "reamp_egress_refused", "Connections not made as they led to the sidecar itself.", value=state.refused
        )
        yield CounterMetricFamily(
            "reamp_egress_restarts", "Processes that died and were replaced.", value=state.restarts
        )
        yield GaugeMetricFamily("reamp_egress_up", "Whether calls are carried.", value=state.serves)
        yield GaugeMetricFamily("reamp_egress_traces_held", "Synthetic traces remembered, about.", value=state.held)
        yield GaugeMetricFamily("reamp_egress_traces_room", "Synthetic traces there is room for.", value=state.room)
        yield GaugeMetricFamily(
            "reamp_egress_hit_ratio",
            "Share of calls with a trace whose trace was known; NaN: none bore one.",
            value=float("nan") if state.hit_ratio is None else state.hit_ratio,
        )

    def close(self) -> None:
        """Give everything back."""
        self._opened.close()


def _bound(address: str, opened: contextlib.ExitStack, *, shared: bool = False) -> list[socket.socket]:
    (sockets,) = bind(address, 1, shared=shared)
    for one in sockets:
        opened.enter_context(one)
    return sockets


def _known(file: Path, age: int) -> Traces:
    """Open the memory that an egress has told of in a file. Raises OSError or ValueError if it can't be had."""
    pid, descriptor = map(int, file.read_text().split())
    path = Path(f"/proc/{pid}/fd/{descriptor}")
    if "reamp-traces" not in path.readlink().name:
        raise ValueError("it is not there any more")
    with contextlib.ExitStack() as failing:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        failing.callback(os.close, fd)
        traces = Traces(fd)
        if traces.age != age:
            raise ValueError("it remembers them for another time")
        failing.pop_all()
        return traces


class _Aide(Aide):
    """The aide, which is told what only its annex knows, and takes charge of the port once it serves."""

    def __init__(self, holding: Holding, guarded: list[int], inherited: Any) -> None:
        super().__init__(NAME, "addons.egress.serving", inherited)
        self._holding, self._guarded = holding, guarded
        self._fixed: dict[str, Any] | None = None

    async def begin(self, settings: Mapping[str, Any]) -> None:
        """Start it, and wait until it serves. Raises UserError if it can't."""
        await super().begin(self._told(settings))
        self._settings["replaces"] = True
        self._holding.take_charge()

    async def reload(self, settings: Mapping[str, Any]) -> None:
        """Put another one in its place. Raises UserError if that one can't serve; the old one stays then."""
        await super().reload(self._told(settings))
        self._settings["replaces"] = True

    def _told(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        fixed = {name: settings[name] for name in FIXED}
        if self._fixed not in (None, fixed):
            logger.warning("Address and memory of the egress can't be changed by a reload: they stay until a restart")
        self._fixed = self._fixed or fixed
        return {
            **{name: value for name, value in settings.items() if name not in FIXED},
            "guarded": self._guarded,
            "holding": str(self._holding.path),
            "in_charge": self._holding.name,
        }
