"""What people see of a drill while it runs. Edge: the terminal."""

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from captures.rendering import printable
from drill.fairness.fairness import Fairness
from drill.fairness.showing import show
from drill.running.plan import DrillPlan
from drill.running.record import Step
from drill.running.running import Surveyed, Teller
from drill.running.steps import Next, most_left
from loadtag.validity import write_moment
from replayer.books.report import Report
from replayer.counting.snapshot import Snapshot
from replayer.progress import Facts, shown
from replayer.reporting.figures import share, time
from rules.units import MILLION, Duration

_COLORS = {"held": "green", "broke": "red", "unclear": "yellow"}
_NAMES = {"warm-up": "warm-up", "repeat": "the incident", "sweep": "its heaviest part"}


class Terminal(Teller):
    """Tells of a drill on a terminal; closed, it leaves it as it was."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._showing = ExitStack()
        self._status: Status | None = None
        self._show: Callable[[Snapshot], None] = lambda _: None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._showing.close()

    def step(self, step: Next, number: int, steps: int, seconds: float, left: float) -> None:
        """Tell of a step that begins."""
        lasts, rest = Duration(round(seconds)), Duration(round(left))
        more = f"; all that is left takes {rest} at most" if number < steps else ""
        told = f"step {number} of {steps} at most: {step.why}, {_NAMES[step.kind]} at {step.factor}, {lasts}{more}"
        self._print(Text(told, "bold"))
        self._show = self._showing.enter_context(shown(self._console))

    def snapshot(self, snapshot: Snapshot) -> None:
        """Show how the run of a step stands."""
        self._show(snapshot)

    def over(self, step: Step, report: Report) -> None:
        """Tell what came of a step."""
        self._showing.close()
        rate = f"{report.accounts.sent / report.seconds:.1f}/s, " if report.seconds >= 1 else ""
        answered = report.accounts.answered + report.accounts.errors.total()
        failed = report.accounts.errors.total() + sum(
            count for status, count in report.accounts.statuses.items() if status >= 500
        )
        told = f" at {step.factor}: {rate}p95 {time(report.latency.p95)}, "
        told += f"failed {share(failed / answered if answered else None)}"
        if step.kind == "warm-up":
            self._print(Text(f"  warmed{told}"))
        else:
            self._print(Text.assemble("  ", (step.found, _COLORS[step.found]), told))
        for because in step.because:
            self._print(Text(f"    {printable(because)}"))

    def asking(self, done: int, of: int) -> None:
        """Show how far the comparison of the clone with the incident has come."""
        if not done:
            self._status = self._showing.enter_context(self._console.status(""))
        if self._status is not None:
            self._status.update(f"  asking the clone: {done} of {of}")

    def compared(self, fairness: Fairness) -> None:
        """Tell how fair a stand-in the clone is."""
        self._showing.close()
        self._status = None
        show(self._console, fairness)

    def say(self, text: str) -> None:
        """Tell something else."""
        self._print(Text(f"  {printable(text)}", "dim"))

    def _print(self, text: Text) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)


def intended(plan: DrillPlan, known: Surveyed, told: str, now: float) -> Table:
    """List what a drill is going to do at `now` (unix time). `told`: what the incident is."""
    table = Facts(f"drill {known.prepared.run_id}")
    table.add_row("incident", told)
    rate = known.requests / max(known.whole.seconds, 1.0)
    lasts = Duration(round(known.whole.seconds, 1))
    table.add_row("  can be sent", f"{known.requests} requests in {lasts}, {rate:.1f}/s{known.prepared.skipped}")
    table.add_row("clone", f"{plan.sending.to}, idle")
    for what, finding in known.prepared.preview:
        table.add_row(what, finding)
    for rule in plan.criteria:
        table.add_row(
            "has to hold",
            f"{rule.expression}{' (nobody said what: --slo)' if plan.defaulted and not rule.external else ''}",
        )
    if plan.warm is not None:
        table.add_row("warm-up", f"{plan.warm} of it first")
    table.add_row("repeats", f"{plan.repeat} at {plan.amplify}")
    if plan.sweep is not None:
        part = Duration(round(known.heaviest.seconds, 1))
        low, high, by = plan.sweep
        table.add_row("breaking point", f"looked for from {low} to {high} by {by}, with its heaviest {part}")
    whole, swept = most_left(plan.scheme, [])
    seconds = whole * known.whole.seconds + swept * known.heaviest.seconds + (plan.warm or 0.0)
    seconds += (whole + swept + (plan.warm is not None) - 1) * plan.cool_down
    table.add_row("takes", f"{Duration(round(seconds))} at most, if the clone comes to rest at once")
    most = max(plan.amplify, plan.sweep.high if plan.sweep is not None else 0)
    table.add_row("loudest", f"{most}, which is {rate * most / MILLION:.1f}/s of the incident's mean")
    ends = known.prepared.signer.validity.not_after
    if ends is not None and now + seconds > ends:
        table.add_row("warning", f"the key expires at {write_moment(ends)}, before the drill is over, and ends it then")
    return table
