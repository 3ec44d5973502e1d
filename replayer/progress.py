"""What people see of a run: while it lasts, and at the end. Edge: the terminal.

Whatever comes from elsewhere (addresses, paths, what somebody gave as a reason) is shown as it is, never taken for
markup, and moves no terminal: what does not print is escaped. And the end of the output (a reader that has seen enough,
a closed terminal, a full disk) is not the run's end.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast

from rich import box
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from captures.rendering import printable
from replayer.books.report import Report, RouteReport
from replayer.comparing.comparison import Change
from replayer.comparing.differences import Differences
from replayer.counting.accounts import Accounts
from replayer.counting.latency import Quantiles
from replayer.counting.snapshot import Snapshot
from replayer.reporting.figures import figure, share, size, time
from replayer.reporting.versus import Comparison
from replayer.safety.loop import Judgement
from rules.exits import Exit
from rules.units import Duration

MOST, MOST_ROUTES = 5, 20
"""Lines of one kind in a summary, and routes in a table."""

EVERY = 5
"""Seconds between two lines when nobody watches a terminal."""


class _Output:
    """Standard output for as long as it takes anything; afterwards nothing is written any more."""

    def __init__(self) -> None:
        self._out = sys.stdout
        self.encoding = self._out.encoding

    def write(self, text: str) -> int:
        with self._ending():
            self._out.write(text)
        return len(text)

    def flush(self) -> None:
        with self._ending():
            self._out.flush()

    def isatty(self) -> bool:
        return self._out.isatty()

    def fileno(self) -> int:
        return self._out.fileno()

    @contextmanager
    def _ending(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            # What is still buffered has to go somewhere, or the interpreter complains about it at its own end.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._out.fileno())
            os.close(nowhere)


def screen() -> Console:
    """Make a console on standard output that never fails."""
    return Console(file=cast("IO[str]", _Output()), emoji=False)


@contextmanager
def shown(console: Console) -> Iterator[Callable[[Snapshot], None]]:
    """Show snapshots: in place on a terminal, as a line now and then elsewhere."""
    if not console.is_terminal:
        count = 0
        over = False

        def line(snapshot: Snapshot) -> None:
            nonlocal count, over
            count += 1
            ends, over = not over and snapshot.left <= 0, snapshot.left <= 0
            if count % EVERY == 1 or ends:
                console.print(one_line(snapshot), markup=False, highlight=False, soft_wrap=True)

        yield line
        return
    # Drawn when there is something new, and not by a thread: it would take the interpreter from the send schedule.
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda snapshot: live.update(_panel(snapshot), refresh=True)


def one_line(snapshot: Snapshot) -> str:
    """Put a snapshot into a line."""
    if snapshot.starts_in is not None:
        return f"starts in {_clock(snapshot.starts_in)}; Ctrl-C or the lever cancels it"
    accounts = snapshot.accounts
    parts = [f"{_clock(snapshot.elapsed)}", f"sent {snapshot.sent:.1f}/s", f"wanted {snapshot.wanted:.1f}/s"]
    if snapshot.allowed is not None:
        parts += [f"allowed {snapshot.allowed:.1f}/s (ceiling {snapshot.ceiling})", f"real {snapshot.real or 0:.1f}/s"]
        parts += [f"p95 real {_ms(snapshot.real_p95)}, extra {_ms(snapshot.p95)}"]
    else:
        parts += [f"p95 {_ms(snapshot.p95)}"]
    if snapshot.gain is not None:
        parts += [f"gain {snapshot.gain:.0%}"]
    parts += [f"failed {_failed(accounts)}", f"withheld {accounts.withheld.total()}"]
    parts += [f"{_clock(snapshot.left)} left", printable(snapshot.note)]
    return "  ".join(part for part in parts if part)


def _panel(snapshot: Snapshot) -> Table:
    accounts = snapshot.accounts
    table = Table.grid(padding=(0, 2))
    if snapshot.starts_in is not None:
        table.add_row("starts in", f"{_clock(snapshot.starts_in)}; Ctrl-C or the lever cancels it")
        return table
    table.add_row("time", f"{_clock(snapshot.elapsed)}, {_clock(snapshot.left)} left")
    allowed = "" if snapshot.allowed is None else f"   allowed {snapshot.allowed:.1f}/s"
    table.add_row("extra", f"sent {snapshot.sent:.1f}/s   wanted {snapshot.wanted:.1f}/s{allowed}")
    if snapshot.real is not None:
        table.add_row("real", f"{snapshot.real:.1f}/s   ceiling {snapshot.ceiling}")
    table.add_row("p95", f"real {_ms(snapshot.real_p95)}   extra {_ms(snapshot.p95)}")
    if snapshot.gain is not None:
        table.add_row("gain", f"{snapshot.gain:.0%} of what is wanted")
    failed = _failed(accounts)
    counts = f"sent {accounts.sent}   withheld {accounts.withheld.total()}   in flight {snapshot.in_flight}"
    table.add_row("so far", Text.assemble(counts, "   ", (f"failed {failed}", "red" if failed else "")))
    if snapshot.note:
        table.add_row("", Text(printable(snapshot.note), "red"))
    return table


def _failed(accounts: Accounts) -> int:
    """Count what rules take for failures: no answer, or one with 5xx."""
    return accounts.errors.total() + sum(count for status, count in accounts.statuses.items() if status >= 500)


def summary(report: Report) -> Table:
    """Sum a run up."""
    accounts = report.accounts
    table = Facts(f"run {report.run}")
    table.add_row("ended", Text.assemble(_verdict(report), ": ", printable(report.reason)))
    for judgement in report.slo:
        table.add_row("rule", _judged(judgement))
    if report.back_off is not None:
        back = report.back_off
        often = "never" if not back.cuts else "once" if back.cuts == 1 else f"{back.cuts} times"
        table.add_row(
            "gain",
            f"{back.last:.1%} at the end, {back.least:.1%} at least, {back.mean:.1%} in the mean; lowered {often}",
        )
    for what, why in _troubles(report):
        table.add_row(Text(what, "red"), why)
    if report.bottleneck is not None:
        names = {"none": "not the sender", "sender": "the sender", "connections": "its connections"}
        found = names[report.bottleneck.what], "green" if report.bottleneck.what == "none" else "red"
        table.add_row("bottleneck", Text.assemble(found, ": ", printable(report.bottleneck.reason)))
    lasted = Duration(round(report.seconds, 1 if report.seconds >= 1 else 3))
    table.add_row("sent", f"{accounts.sent} in {lasted}{_rate(accounts.sent, report)}")
    table.add_row("  wanted", f"{accounts.wanted}; shed {_counts(accounts.shed) or 'none'}")
    table.add_row("  answered", f"{accounts.answered}: {_counts(accounts.statuses) or 'none'}")
    table.add_row("  withheld", f"{_counts(accounts.withheld) or 'none'} (refused by the sidecar; not the target's)")
    table.add_row("  errors", _counts(accounts.errors) or "none")
    for kind, text in report.reasons.items():
        table.add_row(f"  {kind}", f"the first one: {text}")
    if accounts.unanswered:
        table.add_row("  unanswered", f"{accounts.unanswered} were on their way when the run was stopped")
    for live in report.sidecars:
        share = f", {live.spent / live.real:.2%} of it" if live.real else ""
        table.add_row("real", f"{live.real} at {live.url}; extra {live.spent}{share}; ceiling {live.ceiling}")
    table.add_row("latency", _distribution(report.latency))
    table.add_row("  from sending", _distribution(report.service))
    table.add_row("lag", _distribution(report.lag))
    if report.wait.count:
        table.add_row("waited", f"{report.wait.count} for a connection: {_distribution(report.wait)}")
    table.add_row("bytes", f"{accounts.bytes_sent} sent, {accounts.bytes_received} received")
    often = "once" if accounts.rounds == 1 else f"{accounts.rounds} times"
    again = f", begun anew {often}" if accounts.rounds else ""
    table.add_row("records", f"{accounts.read} read{again}; skipped {_counts(accounts.skipped) or 'none'}")
    for name, told in _left_out(report):
        table.add_row(name, told)
    table.add_row("accounts", "reconcile" if accounts.reconciles() else Text("do not reconcile", "red"))
    return table


def _judged(judgement: Judgement) -> Text:
    """Say how a rule fared."""
    color = {"held": "green", "breached": "red" if judgement.action == "abort" else "yellow"}.get(judgement.verdict, "")
    lasted = f" for {Duration(round(judgement.seconds, 1))}" if judgement.seconds else ""
    told = f", {judgement.told}" if judgement.told else ""
    last = f"; {judgement.words}" if judgement.verdict != "held" and judgement.words else ""
    facts = f"{lasted} ({judgement.action}){told}{last}"
    return Text.assemble(f"{printable(judgement.expression)} ", (judgement.verdict, color), printable(facts))


def _troubles(report: Report) -> Iterator[tuple[str, str]]:
    """Say what speaks against the run's figures."""
    yield from (("invalid", fault) for fault in report.invalid_because)
    yield from (("not written", missing) for missing in report.unwritten)
    yield from (("damaged", f"{damage}; it was left out") for damage in report.damage[:MOST])
    if len(report.damage) > MOST:
        yield "damaged", f"and {len(report.damage) - MOST} more, see report.json"


def _left_out(report: Report) -> Iterator[tuple[str, str]]:
    """Name the routes that were not sent because they change things, and say what would send them."""
    if report.left_out:
        yield "  left out", f"{sum(route.count for route in report.left_out)} that may change things"
    for route in report.left_out[:MOST]:
        name = f"{route.count} of {route.method} {route.template}"
        yield "", f"{route.option} would send {route.count}" if route.option else f"{name} can't be sent"
    if len(report.left_out) > MOST:
        rest = report.left_out[MOST:]
        yield "", f"{sum(route.count for route in rest)} more, of other routes ({len(rest)}): see report.html"


def routes(report: Report) -> Table:
    """List what came back by route, beside what the recording tells of the same requests."""
    rows = [(f"{route.method} {route.template}", route, route.service, route.changes) for route in report.routes]
    return _routes("by route: from the actual send, and the change against the recording", rows)


def differences(found: Differences) -> Table:
    """List what differs in the answers beyond noise."""
    table = Facts(f"answers: {found.compared} requests compared with {found.against}")
    real = [(route, each) for route in found.routes for each in route.found if each.verdict == "differs"]
    for route, each in real[:MOST_ROUTES]:
        often = f" in {each.differing} of {route.compared}, noise {each.noise}"
        what = Text.assemble((printable(each.what), "red"), often)
        table.add_row(f"{route.method} {route.template}", what)
    if not real:
        table.add_row("nothing differs", "beyond what differs by itself")
    if len(real) > MOST_ROUTES:
        table.add_row(f"and {len(real) - MOST_ROUTES} more", "see report.html")
    missing = found.failed | ({"without credit": found.without_credit} if found.without_credit else {})
    if missing:
        table.add_row("not compared", _counts(Counter(missing)))
    return table


def comparison(found: Comparison) -> Table:
    """List what changed between two runs, route by route."""
    rows = [
        (f"{r.method} {r.template}", r.after, r.after.latency if r.after else Quantiles(), r.changes)
        for r in found.routes
    ]
    return _routes(f"{found.after} against {found.before}: from the intended send", rows)


def _routes(title: str, rows: Sequence[tuple[str, RouteReport | None, Quantiles, Sequence[Change]]]) -> Table:
    told = Text(printable(f"{title} (~ noise, or unclear)"))
    table = Table(title=told, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("route", overflow="fold")
    for name in ("sent", "failed", "p50", "p95", "p99", "p99.9"):
        table.add_column(name, justify="right")
    for name, route, times, changes in rows[:MOST_ROUTES]:
        found = {change.figure: change for change in changes}
        table.add_row(
            Text(printable(name)),
            str(route.sent if route else 0),
            _changed(share(route.failed if route else None), found.get("failed")),
            *(_changed(time(getattr(times, each)), found.get(each)) for each in ("p50", "p95", "p99")),
            Text(time(times.p99_9)),
        )
    if len(rows) > MOST_ROUTES:
        table.add_row(Text(f"and {len(rows) - MOST_ROUTES} more, see report.html"))
    return table


def _changed(now: str, change: Change | None) -> Text:
    if change is None or not change.change:
        return Text(now)
    color = {"worse": "red", "better": "green"}.get(change.verdict, "dim")
    mark = "" if change.verdict in ("worse", "better") else " ~"
    before = f"{figure(change.before, change.figure)}\n" if change.figure != "failed" else ""
    return Text.assemble(now, "\n", (f"{before}{size(change)}{mark}", color))  # narrow: it has to fit 80 columns


class Facts(Table):
    """A table of what was found: (what, finding). Text is shown as it is."""

    def __init__(self, title: str) -> None:
        super().__init__(title=Text(printable(title)), show_header=False, title_justify="left", title_style="bold")

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """Add one; text in it is no markup."""
        super().add_row(*(Text(printable(cell, "\n")) if isinstance(cell, str) else cell for cell in cells), **options)


def _verdict(report: Report) -> Text:
    code = Exit(report.exit_code)
    color = {Exit.DONE: "green", Exit.INTERRUPTED: "yellow"}.get(code, "red")
    return Text.assemble((report.stop, color), f" (exit code {int(code)})")


def _rate(count: int, report: Report) -> str:
    # Of a fraction of a second, a rate says nothing.
    return f", {count / report.seconds:.1f}/s" if report.seconds >= 1 else ""


def _counts(counts: Counter[str] | Counter[int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in sorted(counts.items(), key=str) if count)


def _distribution(values: Quantiles) -> str:
    if not values.count:
        return "-"
    return (
        f"p50 {time(values.p50)}   p95 {time(values.p95)}   p99 {time(values.p99)}   "
        f"p99.9 {time(values.p99_9)}   max {time(values.max)}"
    )


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f} ms" if seconds < 10 else f"{seconds:.1f} s"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
