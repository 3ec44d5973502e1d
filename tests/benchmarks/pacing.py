"""How well senders keep a schedule: steadily, after they stood still, and while the target hangs.

Everything is seen from outside, at the target (`stamped`): the kernel says when each request was sent. What a sender
takes for its start is not known there, so its schedule is laid against what arrived such that none is early: the
request that was least late counts as punctual, and the lag of another is by how much later it came. The first second
does not count: tools open their connections in it.

- *Steadily*: at 1,000, 5,000 and 20,000 requests per second, one core for the sender.
- *After it stood still*: all processes of the sender are stopped (SIGSTOP) for three seconds and go on. What it missed
  is not to come: then the first 100 ms bring what is due in them, and nothing of the missed is made up for.
- *While the target hangs*: for a second, each request is answered half a second late.
"""

import signal
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from statistics import median
from typing import NamedTuple

from replayer.books.folder import read_report
from tests.benchmarks.measuring import Bench, pinned, tree_cpu
from tests.benchmarks.senders import PEERS, Ask, Recorded, Sender, record, senders
from tests.benchmarks.stamped import Arrival, Stamped, resolution
from tests.benchmarks.tables import figure, markdown, spread
from tests.benchmarks.waking import woken
from tests.support.processes import Process, eventually, free_port
from tests.support.processes import run as run_reamp

__all__ = ["PEERS", "run"]

RATES = (1_000, 5_000, 20_000)
DISTURBED = 1_000
"""Requests per second where the sender or the target is disturbed: all tools carry that."""

WARM_UP = 1.0
STILL, GOES_ON = 3.0, 1.0
"""Seconds without the sender, and those that are looked at afterwards."""
HANGS, LATE, RECOVERS = 1.0, 0.5, 1.0
"""For how long the target hangs, how late it answers meanwhile, and seconds looked at afterwards."""

_NS = 1_000_000_000
_MOMENT_NS = _NS // 10
"""In which a burst or a hole is looked for."""
_AT_ONCE_NS = _NS // 100


class Steady(NamedTuple):
    """What one steady run showed. Times are milliseconds. Without a schedule there is no lag: not a number."""

    wanted: float
    reached: float
    p50: float
    p99: float
    p99_9: float
    most: float
    drift: float
    """How much more time it took than planned, from the first second to the last."""
    cpu_us: float
    """Of the sender, per request."""


class Stood(NamedTuple):
    """What came after the sender had stood still."""

    at_once: float
    """Requests in the first 10 ms."""
    moment: float
    """Requests in the first 100 ms, as a multiple of those that were due in them."""
    second: float
    """The same of the first second."""
    made_up: float
    """Of those that it missed, the share that it sent then."""


class Hung(NamedTuple):
    """What came while the target hung, each as a multiple of what was due."""

    meanwhile: float
    afterwards: float
    fewest: float
    """In the worst 100 ms."""
    most: float
    """In the fullest."""


class _Ran(NamedTuple):
    """A run: what arrived, when something was done to it (unix ns), what the sender cost, what it says of itself."""

    arrivals: list[Arrival]
    began: int
    marks: list[int]
    cpu_us: float
    note: str


class _Schedule:
    """When requests are due, laid against what arrived before `until` (unix ns)."""

    def __init__(self, sender: Sender, recorded: Recorded, rate: int, arrivals: Sequence[Arrival], until: int) -> None:
        self._even = None if sender.recorded else rate / _NS
        self._due = recorded.due
        self._start = 0
        before = arrivals[: bisect_left(arrivals, until, key=lambda arrival: arrival.at)]
        self._start = min(late for _, late in self.lags(before))

    def lags(self, arrivals: Sequence[Arrival]) -> list[tuple[int, int]]:
        """When each was due, since the first, and by how much later than that it came (ns); in the order of the due."""
        if self._even is None:
            pairs = [(self._due[number], at) for at, number in arrivals if number is not None]
        else:
            pairs = [(round(place / self._even), arrival.at) for place, arrival in enumerate(arrivals)]
        return sorted((due, at - self._start - due) for due, at in pairs)

    def between(self, begin: int, end: int) -> float:
        """Count what is due from `begin` to `end` (unix ns)."""
        if self._even is not None:
            return (end - begin) * self._even
        return bisect_left(self._due, end - self._start) - bisect_left(self._due, begin - self._start)


def run(bench: Bench) -> str:
    """Measure, and give the tables."""
    if run_reamp("keygen", "load", "--out", str(bench.folder)).returncode:
        raise RuntimeError("reamp keygen failed")
    track = _Track(bench)
    tools = senders(bench.folder / "load.key")
    steady: dict[tuple[int, str], list[Steady]] = {}
    stood: dict[str, list[Stood]] = {}
    hung: dict[str, list[Hung]] = {}
    notes: dict[str, str] = {}

    def say(turn: int, what: str, tool: Sender, ran: _Ran, figures: Steady | Stood | Hung) -> None:
        told = ", ".join(f"{name} {value:.2f}" for name, value in figures._asdict().items())
        bench.say(f"  {turn + 1}/{bench.rounds} {what:9} {tool.name:26} {told} {ran.note}")
        if ran.note:
            notes[f"{tool.name}, {what}"] = ran.note

    clock = track.clock()
    floors: list[tuple[float, float]] = []
    for turn in range(bench.rounds):
        floors.append(track.floor())
        bench.say(f"  {turn + 1}/{bench.rounds} who only sleeps wakes up late: p99, p99.9 {floors[-1]} ms")
        for rate in RATES:
            for tool in (tool for tool in tools if rate <= tool.most):
                with _left_out(bench, tool):
                    ran, kept = track.steadily(tool, rate)
                    steady.setdefault((rate, tool.name), []).append(kept)
                    say(turn, f"{rate:,}/s", tool, ran, kept)
        for tool in (tool for tool in tools if tool.schedule != "none"):  # the others have nothing to keep
            with _left_out(bench, tool):
                ran, after = track.standing_still(tool)
                stood.setdefault(tool.name, []).append(after)
                say(turn, "stopped", tool, ran, after)
                ran, held = track.hanging(tool)
                hung.setdefault(tool.name, []).append(held)
                say(turn, "it hangs", tool, ran, held)
    floor = (
        "The floor: who only slept on the sender's core, until each next millisecond, woke up "
        f"{median(p99 for p99, _ in floors):.2f} ms late in the worst of a hundred "
        f"({spread([p99 for p99, _ in floors])}), {median(p99_9 for _, p99_9 in floors):.2f} ms in the worst of a "
        "thousand."
    )
    said = "\n".join(f"- {name}: {note}" for name, note in notes.items())
    return "\n\n".join(
        [
            clock,
            floor,
            *(f"Steadily, {rate:,}/s, {track.seconds:g} s:\n\n{_steady_table(tools, rate, steady)}" for rate in RATES),
            f"Stopped for {STILL:g} s at {DISTURBED:,}/s:\n\n{_stood_table(stood)}",
            f"The target hangs for {HANGS:g} s at {DISTURBED:,}/s:\n\n{_hung_table(hung)}",
            f"What the replays said of themselves (last round):\n\n{said}",
        ]
    )


@contextmanager
def _left_out(bench: Bench, tool: Sender) -> Iterator[None]:
    """Go on without a figure of a tool that could not give one; reamp has to."""
    try:
        yield
    except (RuntimeError, AssertionError) as error:
        if tool.name.startswith(REAMP):
            raise
        bench.say(f"  LEFT OUT: {tool.name}: {error}")


class _Track:
    """Runs senders before a target, both with a core of their own."""

    def __init__(self, bench: Bench) -> None:
        self.seconds = 2.0 if bench.quick else bench.seconds
        self._bench = bench
        self._port = free_port()
        self._runs = 0
        self._recorded: dict[tuple[int, float], Recorded] = {}

    def clock(self) -> str:
        """Say what the target's stamps are worth."""
        with Stamped(self._folder() / "target", pinned(self._bench.cores.other, []), self._port) as target:
            late = resolution(target)
        return (
            "The clock: a request is stamped "
            f"{late[len(late) // 2] / 1000:.1f} us (median) after the sender's system call began, "
            f"{late[len(late) * 999 // 1000] / 1000:.1f} us in the worst of a thousand."
        )

    def floor(self) -> tuple[float, float]:
        """Milliseconds by which the machine itself is late, p99 and p99.9."""
        late = woken(pinned(self._bench.cores.measured, []), 2 * self.seconds, self._folder() / "waking")
        return late[len(late) * 99 // 100], late[len(late) * 999 // 1000]

    def steadily(self, sender: Sender, rate: int) -> tuple[_Ran, Steady]:
        """Let it send in peace."""

        def watch(_target: Stamped, _process: Process) -> list[int]:
            time.sleep(self.seconds)
            return [time.time_ns()]

        ran = self._run(sender, rate, self.seconds, watch)
        if sender.schedule == "none":
            return ran, self._unscheduled(rate, ran)
        begin, end = ran.began + round(WARM_UP * _NS), ran.began + round((WARM_UP + self.seconds) * _NS)
        arrived = sum(begin <= arrival.at < end for arrival in ran.arrivals)
        schedule = _Schedule(sender, self._record(rate, self.seconds), rate, ran.arrivals, end)
        low, high = round(WARM_UP * _NS), round((WARM_UP + self.seconds) * _NS)
        lags = [(due, lag) for due, lag in schedule.lags(ran.arrivals) if low <= due < high]
        if len(lags) < 100:
            raise RuntimeError(f"{sender.name}: {len(lags)} requests are too few to say anything: {ran.note}")
        # By whole seconds: some tools send in lumps, but none in longer ones.
        first, last = (
            median(lag for due, lag in lags if at <= due < at + _NS) for at in (lags[0][0], lags[-1][0] - _NS)
        )
        least = min(lag for _, lag in lags)
        late = sorted(lag - least for _, lag in lags)
        p50, p99, p99_9 = (late[int(len(late) * share)] / 1e6 for share in (0.5, 0.99, 0.999))
        wanted, reached = schedule.between(begin, end) / self.seconds, arrived / self.seconds
        return ran, Steady(wanted, reached, p50, p99, p99_9, late[-1] / 1e6, (last - first) / 1e6, ran.cpu_us)

    def _unscheduled(self, rate: int, ran: _Ran) -> Steady:
        """Say how fast it went, and how long against the time that its requests had been recorded in."""
        first, last = ran.arrivals[0], ran.arrivals[-1]
        due = self._record(rate, self.seconds).due
        asked = [due[number] for _, number in ran.arrivals if number is not None]
        planned = max(asked) - min(asked)
        reached = (len(ran.arrivals) - 1) / (last.at - first.at) * _NS
        nan = float("nan")
        return Steady(rate, reached, nan, nan, nan, nan, (last.at - first.at - planned) / 1e6, ran.cpu_us)

    def standing_still(self, sender: Sender) -> tuple[_Ran, Stood]:
        """Stop it, and let it go on."""

        def stop(_target: Stamped, process: Process) -> list[int]:
            stopped = time.time_ns()
            process.signal(signal.SIGSTOP)
            time.sleep(STILL)
            goes_on = time.time_ns()
            process.signal(signal.SIGCONT)
            time.sleep(GOES_ON)
            return [stopped, goes_on]

        ran = self._run(sender, DISTURBED, STILL + GOES_ON, stop)
        stopped, goes_on = ran.marks
        counts = self._counting(sender, STILL + GOES_ON, ran)
        moment, second = goes_on + _MOMENT_NS, goes_on + round(GOES_ON * _NS)
        came, due = counts(goes_on, second)
        missed = counts(stopped, goes_on)
        made_up = (came - due) / (missed[1] - missed[0])
        at_once = counts(goes_on, goes_on + _AT_ONCE_NS)[0]
        return ran, Stood(at_once, _ratio(counts(goes_on, moment)), came / due, max(0.0, made_up))

    def hanging(self, sender: Sender) -> tuple[_Ran, Hung]:
        """Have the target hang for a while."""

        def hang(target: Stamped, _process: Process) -> list[int]:
            began = time.time_ns()
            target.delay(LATE)
            time.sleep(HANGS)
            ended = time.time_ns()
            target.delay(0)
            time.sleep(RECOVERS)
            return [began, ended]

        ran = self._run(sender, DISTURBED, HANGS + RECOVERS, hang, many=True)
        began, ended = ran.marks
        counts = self._counting(sender, HANGS + RECOVERS, ran)
        over = ended + round(RECOVERS * _NS)
        moments = [_ratio(counts(at, at + _MOMENT_NS)) for at in range(began, over - _MOMENT_NS, _MOMENT_NS)]
        return ran, Hung(_ratio(counts(began, ended)), _ratio(counts(ended, over)), min(moments), max(moments))

    def _counting(self, sender: Sender, seconds: float, ran: _Ran) -> Callable[[int, int], tuple[float, float]]:
        """Make what counts requests that came, and that were due, between two times (unix ns)."""
        schedule = _Schedule(sender, self._record(DISTURBED, seconds), DISTURBED, ran.arrivals, ran.marks[0])
        times = [arrival.at for arrival in ran.arrivals]

        def counts(begin: int, end: int) -> tuple[float, float]:
            return bisect_left(times, end) - bisect_left(times, begin), schedule.between(begin, end)

        return counts

    def _run(
        self,
        sender: Sender,
        rate: int,
        seconds: float,
        disturb: Callable[[Stamped, Process], list[int]],
        many: bool = False,
    ) -> _Ran:
        folder, cores = self._folder(), self._bench.cores
        ask = Ask(
            f"http://127.0.0.1:{self._port}",
            folder,
            rate,
            round(WARM_UP + seconds + 1),
            self._record(rate, seconds),
            many,
        )
        with Stamped(folder / "target", pinned(cores.other, []), self._port) as target:
            with Process(pinned(cores.measured, sender.command(ask)), folder / "out") as process:
                eventually(lambda: target.count or not process.running(), 60)
                if sender.schedule != "none":  # else it may be over before long
                    time.sleep(WARM_UP)
                cpu, count = tree_cpu(process.pid), target.count
                marks = disturb(target, process)
                cpu, count = tree_cpu(process.pid) - cpu, target.count - count
                if not process.running() and sender.schedule != "none":
                    raise RuntimeError(f"{sender.name} ended too early:\n{process.output}")
                if sender.name.startswith(REAMP):
                    process.wait(30)  # its report is of interest
                else:
                    time.sleep(0.5)
                    process.kill()
            arrivals = target.arrivals()
        return _Ran(arrivals, arrivals[0].at, marks, cpu / max(1, count) * 1e6, _verdict(folder))

    def _record(self, rate: int, seconds: float) -> Recorded:
        """Give the recording for a run whose measurement takes so long, made only once."""
        key = rate, seconds
        if key not in self._recorded:
            lasts = WARM_UP + seconds + 1
            self._bench.say(f"  writing a recording of {round(rate * lasts):,} requests")
            url = f"http://127.0.0.1:{self._port}"
            self._recorded[key] = record(self._folder(), url, rate, lasts, flows=rate <= DISTURBED)
        return self._recorded[key]

    def _folder(self) -> Path:
        self._runs += 1
        folder = self._bench.folder / f"run{self._runs}"
        folder.mkdir()
        return folder


REAMP = "reamp replay"


def _verdict(folder: Path) -> str:
    """What a replay says about itself; nothing for the others."""
    runs = [path for path in folder.glob("runs/*") if (path / "report.json").exists()]
    if not runs:
        return ""
    report = read_report(runs[0])
    if not report.accounts.reconciles():
        raise RuntimeError(f"the accounts of {runs[0]} do not reconcile: {report.accounts}")
    shed = ", ".join(f"{count} {why}" for why, count in report.accounts.shed.items() if count)
    return (
        f"{'valid' if report.valid else 'invalid'}, lag p99 {(report.lag.p99 or 0) * 1000:.2f} ms, "
        f"shed {shed or 'none'}, exit code {report.exit_code}"
    )


def _ratio(counts: tuple[float, float]) -> float:
    came, due = counts
    return came / due if due else 0.0


def _steady_table(tools: Sequence[Sender], rate: int, found: dict[tuple[int, str], list[Steady]]) -> str:
    head = [
        "sender",
        "schedule",
        "wanted/s",
        "reached/s",
        "lag p50 ms",
        "p99 ms",
        "least-most",
        "p99.9 ms",
        "max ms",
        "drift ms",
        "CPU us/request",
    ]
    rows = []
    for tool in tools:
        runs = found.get((rate, tool.name))
        if runs:
            wanted, reached, p50, p99, p99_9, most, drift, cpu = (median(values) for values in zip(*runs, strict=True))
            rows.append(
                [
                    tool.name,
                    tool.schedule,
                    f"{wanted:,.0f}",
                    f"{reached:,.0f}",
                    *map(_known, (p50, p99)),
                    "-" if isnan(p99) else spread([one.p99 for one in runs]),
                    *map(_known, (p99_9, most)),
                    f"{drift:+,.2f}",
                    figure(cpu),
                ]
            )
    return markdown(head, rows)


def _known(value: float) -> str:
    return "-" if isnan(value) else figure(value)


def _stood_table(found: dict[str, list[Stood]]) -> str:
    due = DISTURBED * _AT_ONCE_NS / _NS
    head = [
        "sender",
        f"requests in the first 10 ms ({due:g} are due)",
        "first 100 ms, x due",
        "least-most",
        "first second, x due",
        "of the missed, sent then",
    ]
    rows = [
        [
            name,
            figure(median(one.at_once for one in runs)),
            f"{median(one.moment for one in runs):.2f}",
            spread([one.moment for one in runs]),
            f"{median(one.second for one in runs):.2f}",
            f"{median(one.made_up for one in runs):.0%}",
        ]
        for name, runs in found.items()
    ]
    return markdown(head, rows)


def _hung_table(found: dict[str, list[Hung]]) -> str:
    head = ["sender", "meanwhile, x due", "least-most", "the second after, x due", "worst 100 ms", "fullest 100 ms"]
    rows = [
        [
            name,
            f"{median(one.meanwhile for one in runs):.2f}",
            spread([one.meanwhile for one in runs]),
            f"{median(one.afterwards for one in runs):.2f}",
            f"{median(one.fewest for one in runs):.2f}",
            f"{median(one.most for one in runs):.2f}",
        ]
        for name, runs in found.items()
    ]
    return markdown(head, rows)
