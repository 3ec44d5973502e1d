"""Back-off at work: does the load settle below what users can stand, or swing, or end?

A real app whose latency rises with load (`kitchen`), real users at a steady rate through a real sidecar, and a replay
that demands more than the app carries: once with rules that ease the load off before another one ends it, and once with
the ending rule alone. What users get is measured at the users themselves. The course of both is drawn
(`docs/backoff.svg`).
"""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from loadtag import keys
from replayer.books.folder import read_report
from replayer.books.report import Report
from replayer.counting.series import Second
from tests.benchmarks.measuring import Bench
from tests.benchmarks.tables import figure, markdown
from tests.support.crowd import Crowd, Visit
from tests.support.processes import Process, free_port, python, reamp
from tests.support.stack import Stack

PEERS: tuple[str, ...] = ()
WORKERS, SERVICE = 4, 0.04
"""The app carries 100 requests a second."""
USERS = 40.0
"""Real requests a second."""
FACTOR = 3
"""Of live traffic: 80 more are wanted, where there is room for 60 at the very most."""
RAMP, LENGTH = 40, 115
"""Seconds until all of it is wanted, and of it all."""
WINDOW = 5.0
EASE, END, LASTING = 0.3, 0.5, 15
"""Seconds: above which users' p95 eases the load off, above which it ends it, and how long it has to be that."""
SETTLED = 60
"""Seconds at the end that tell where it settled."""
LEAD = 0.05
"""Seconds from the journal's "start" to the first due request."""

PLOT = Path(__file__).resolve().parents[2] / "docs/backoff.svg"
RULES = {
    "with back-off": (f"p(95)<{EASE * 1000:.0f}ms window={WINDOW:g}s for=0s grace=0s action=back-off",),
    "without": (),
}
ENDING = f"p(95)<{END * 1000:.0f}ms window={WINDOW:g}s for={LASTING}s"


class Point(NamedTuple):
    """A second of a run."""

    at: float
    p95: float | None
    """Of real users, over the last seconds; in seconds."""
    wanted: float
    sent: float
    gain: float


class Ran(NamedTuple):
    """A run, and what users got meanwhile."""

    report: Report
    points: list[Point]
    before: float
    """Users' p95 without load."""
    failed: int
    journal: list[dict[str, Any]]


def run(bench: Bench) -> str:
    """Run both, draw them, and give the table."""
    ramp, length = (8, 30) if bench.quick else (RAMP, LENGTH)
    settled = min(SETTLED, length // 2)
    with _place(bench.folder) as place:
        ran = {name: _run(bench, place, name, rules, ramp, length) for name, rules in RULES.items()}
    plot = bench.folder / PLOT.name if bench.quick else PLOT
    plot.write_text(drawn(ran, length))
    bench.say(f"  drawn: {plot}")
    return _table(ran, settled)


@contextlib.contextmanager
def _place(folder: Path) -> Iterator[Stack]:
    """The app, a sidecar before it, and a recording."""
    port = free_port()
    private, _ = keys.generate(folder, "load")
    command = python("-m", "uvicorn", "tests.benchmarks.kitchen:app", "--port", str(port), "--log-level", "warning")
    given = {"KITCHEN_WORKERS": str(WORKERS), "KITCHEN_SECONDS": str(SERVICE)}
    with Process(command, folder / "kitchen.out", given) as app:
        app.ready(port)
        place = Stack(folder, f"http://127.0.0.1:{port}", folder / "none", keys.load_private(private))
        with place.sidecar(**{"max-extra": f"{(FACTOR - 1) * 100}%"}) as sidecar:
            with Crowd(place.url, USERS) as users:
                while users.answered < 120:
                    users._stop.wait(0.1)
            assert sidecar.running()
            yield place


def _run(bench: Bench, place: Stack, name: str, rules: tuple[str, ...], ramp: int, length: int) -> Ran:
    runs = bench.folder / name.replace(" ", "-")
    slo = [part for rule in (ENDING, *rules) for part in ("--slo", rule)]
    arguments = reamp(
        "replay", str(place.captures), "--to", place.url, "--sidecar", place.control, "--runs", str(runs),
        "--no-preflight", "--key", str(bench.folder / "load.key"), "--stage", f"{ramp}s:1.05x..{FACTOR}x",
        "--stage", f"{length - ramp}s:{FACTOR}x", *slo,
    )  # fmt: skip
    with Crowd(place.url, USERS) as users:
        users._stop.wait(2 * WINDOW)
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    (folder,) = runs.iterdir()
    report = read_report(folder)
    bench.say(f"  {name}: {report.stop} ({done.returncode}): {report.reason}")
    journal = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    start = next(entry["at"] for entry in journal if entry["event"] == "start") + LEAD
    points = []
    for line in (folder / "seconds.jsonl").read_text().splitlines():
        second = Second.model_validate_json(line)
        span = second.end - second.start
        if span >= 0.5 and second.end <= report.seconds + 1:
            gain = 1.0 if second.gain is None else second.gain
            p95 = _p95(users.visits, start + second.end)
            points.append(Point(second.end, p95, second.wanted / span, second.sent / span, gain))
    before = _p95(users.visits, start) or 0.0
    return Ran(report, points, before, len(users.failed), journal)


def _p95(visits: list[Visit], until: float) -> float | None:
    """What users got in the seconds before a moment (unix), by when they had their answers."""
    times = sorted((v.ended - v.began) / 1e9 for v in visits if until - WINDOW < v.ended / 1e9 <= until)
    return times[-(-len(times) * 95 // 100) - 1] if times else None


def _table(ran: dict[str, Ran], settled: int) -> str:
    rows = []
    for name, one in ran.items():
        last = [point for point in one.points if point.at > one.points[-1].at - settled]
        p95s = [point.p95 for point in last if point.p95 is not None]
        rows.append(
            [
                name,
                f"{one.report.seconds:.0f} s",
                f"{one.report.stop} ({one.report.exit_code})",
                f"{one.before * 1000:.0f}",
                f"{median(p95s) * 1000:.0f}",
                f"{max(p95s) * 1000:.0f}",
                f"{sum(p95 > END for p95 in p95s)} of {len(p95s)}",
                figure(fmean(point.sent for point in last)),
                f"{min(point.gain for point in last):.0%}-{max(point.gain for point in last):.0%}",
                str(one.report.back_off.cuts if one.report.back_off else 0),
                str(one.failed),
            ]
        )
    head = [
        "replay", "lasted", "ended by (exit code)", "users' p95 before, ms", "at the end, median ms", "worst ms",
        f"seconds above {END * 1000:.0f} ms", "synthetic/s", "gain", "cuts", "users' failures",
    ]  # fmt: skip
    capacity = WORKERS / SERVICE
    return (
        f"An app that carries {capacity:.0f} requests/s (M/M/{WORKERS}, {SERVICE * 1000:.0f} ms each), {USERS:.0f} real"
        f" ones, and a replay that wants {USERS * (FACTOR - 1):.0f} more a second. Both end if users' p95 is above "
        f"{END * 1000:.0f} ms for {LASTING} s; the first one eases off above {EASE * 1000:.0f} ms (window {WINDOW:g} "
        "s). "
        f"*At the end*: the last {settled} s, or all of it; p95 as users saw it, each second over the last {WINDOW:g} "
        "s.\n\n"
        f"{markdown(head, rows)}\n\n![Users' p95, the rate of synthetic requests and the gain over time](backoff.svg)"
    )


# --- the drawing ---

WIDTH, LEFT, RIGHT, TOP, PANEL, GAP = 920, 70, 20, 34, 190, 46
COLOURS = {"with back-off": "#1f6f8b", "without": "#c4472f"}


class Panel(NamedTuple):
    """A chart: where it begins, what it may hold, and what is said of it."""

    top: float
    most: float
    title: str
    unit: str


def drawn(ran: dict[str, Ran], length: float) -> str:
    """Draw the runs: users' p95 with its limits, requests, gain."""
    highest = max((p.p95 or 0.0 for one in ran.values() for p in one.points), default=1.0) * 1000
    panels = [
        Panel(TOP, min(2000.0, max(1000.0, highest * 1.05)), "real users' p95", "ms"),
        Panel(TOP + PANEL + GAP, USERS * (FACTOR - 1) * 1.1, "synthetic requests per second", "/s"),
        Panel(TOP + 2 * (PANEL + GAP), 1.0, "gain: share of the demand that goes on", ""),
    ]
    height = TOP + 3 * (PANEL + GAP) + 10
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-size="13" '
    out = [head + f'font-family="system-ui, sans-serif"><rect width="{WIDTH}" height="{height}" fill="#ffffff"/>']
    for panel in panels:
        out += _frame(panel, length)
    for seconds, words in ((EASE, "eases off above {}"), (END, f"ends above {{}}, if for {LASTING} s")):
        out += _limit(panels[0], seconds * 1000, words.format(f"{seconds * 1000:.0f} ms"), length)
    wanted = [(point.at, point.wanted) for point in max(ran.values(), key=lambda one: len(one.points)).points]
    out.append(_path(panels[1], wanted, length, "#9aa3ad", 1.5, "5 4"))
    for name, one in ran.items():
        colour = COLOURS[name]
        series = [
            [(p.at, p.p95 * 1000) for p in one.points if p.p95 is not None],
            [(p.at, p.sent) for p in one.points],
            [(p.at, p.gain) for p in one.points] if one.report.back_off else [],
        ]
        out += [_path(panel, values, length, colour, 2) for panel, values in zip(panels, series, strict=True)]
        if one.report.stop != "ended" and one.points:
            x = _x(one.points[-1].at, length)
            out.append(
                f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{panels[1].top + PANEL}" stroke="{colour}" '
                f'stroke-dasharray="2 4"/><text x="{x + 5:.1f}" y="{TOP + 14}" fill="{colour}">ended by its rule '
                f"(exit code {one.report.exit_code})</text>"
            )
    out += _legend()
    return "\n".join([*out, "</svg>"]) + "\n"


def _x(at: float, length: float) -> float:
    return LEFT + min(1.0, max(0.0, at / length)) * (WIDTH - LEFT - RIGHT)


def _y(panel: Panel, value: float) -> float:
    return panel.top + PANEL * (1 - min(1.0, max(0.0, value / panel.most)))


def _frame(panel: Panel, length: float) -> list[str]:
    out = [f'<text x="{LEFT}" y="{panel.top - 8}" font-weight="600" fill="#222b36">{escape(panel.title)}</text>']
    for part in range(5):
        value = panel.most * part / 4
        y = _y(panel, value)
        told = f"{value:.0%}" if not panel.unit else f"{value:,.0f}{' ms' if panel.unit == 'ms' else panel.unit}"
        out.append(
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#e3e7ec"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#5b6673">{told}</text>'
        )
    step = 20 if length > 60 else 5
    for at in range(0, int(length) + 1, step):
        x = _x(at, length)
        out.append(
            f'<text x="{x:.1f}" y="{panel.top + PANEL + 18:.1f}" text-anchor="middle" fill="#5b6673">{at} s</text>'
        )
    return out


def _limit(panel: Panel, value: float, words: str, length: float) -> list[str]:
    y = _y(panel, value)
    line = f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#b3261e" stroke-dasharray="6 4"/>'
    text = f'<text x="{_x(length, length):.1f}" y="{y - 5:.1f}" text-anchor="end" fill="#b3261e">{escape(words)}</text>'
    return [line, text]


def _path(
    panel: Panel, values: list[tuple[float, float]], length: float, colour: str, width: float, dash: str = ""
) -> str:
    points = " ".join(f"{_x(at, length):.1f},{_y(panel, value):.1f}" for at, value in values)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"{dashed}/>'


def _legend() -> list[str]:
    out, x = [], WIDTH - RIGHT - 330
    for name, colour in {**COLOURS, "wanted": "#9aa3ad"}.items():
        out.append(
            f'<rect x="{x}" y="{TOP - 20}" width="18" height="4" fill="{colour}"/>'
            f'<text x="{x + 24}" y="{TOP - 13}" fill="#222b36">{name}</text>'
        )
        x += 130
    return out
