"""Whether the incident drill tells a fix that holds from one that does not, on a shop that really goes down.

`tests.support.incident` says what the shop is. For each of its faults: users go to it through a sidecar until it is
down; then what was recorded is drilled on clones. On the broken one the drill has to say DOES NOT HOLD and to name the
page that is to blame, on the fixed one HOLDS, on a fixed one with 12 products NOT PROVEN; from the capture, from
Upsun's JSON of the same traffic and from the shop's access log alike. Beside it stands the load test that people write
instead: the home page of the broken shop, at the same total rate as the incident at its worst.

DRILL_FAULTS and DRILL_SOURCES say for which faults and from which sources beside the capture it is done:
``queries,lock``, ``access log``.

What did not come out as it has to is told in the first line. Nothing is timed but the shop's own answers, and it breaks
and holds by factors, so other work on the machine changes little.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from captures.reader import Capture
from replayer.reporting.figures import share, time
from tests.benchmarks.measuring import Bench
from tests.benchmarks.tables import markdown
from tests.support.incident import mix
from tests.support.incident.drilling import Drilled, deviation, drill, logged, rates, sources, taken
from tests.support.incident.setting import FAULTS, PRODUCTION, SMALL, Fault
from tests.support.incident.site import Recorded, Stocks, record, shop
from tests.support.incident.users import Figures, figures, send

PEERS: tuple[str, ...] = ()

GRAIN = 10
"""Seconds of a step of Upsun's JSON, and of the windows in which rates are compared."""
TOLERATED = 0.05
"""Most that the rate of a route may differ in one of them."""


class Lengths(NamedTuple):
    """How long an incident is, in seconds, and how loud."""

    before: float
    during: float
    after: float
    times: float
    grain: int
    rest: str
    rules: tuple[str, ...]
    """What so many requests are enough to show of every page."""


FULL = Lengths(10, 40, 5, 1.0, GRAIN, "2s", ("--slo", "error_ratio<5%", "--slo", "p(95)<1s"))
QUICK = Lengths(0.5, 5, 0, 3.0, 1, "0.5s", ("--slo", "error_ratio<10%", "--slo", "p(90)<1s"))


class Row(NamedTuple):
    """A test, what it found, and whether it should have."""

    fault: Fault
    test: str
    rate: float
    p95: float | None
    failed: float | None
    says: str
    right: bool
    names: str = ""
    room: str = ""

    def cells(self) -> list[str]:
        """Write it into a table."""
        figured = [f"{self.rate:.1f}", time(self.p95), share(self.failed)]
        return [f"{self.fault}: {self.test}", *figured, self.says, self.names, self.room]


def run(bench: Bench) -> str:
    """Run all of it, and give the tables."""
    lengths, stocks = (QUICK if bench.quick else FULL), Stocks(bench.folder)
    rows: list[Row] = []
    compared: list[list[str]] = []
    wrong: list[str] = []
    for fault in _chosen("DRILL_FAULTS", FAULTS[:1] if bench.quick else FAULTS):
        scene = _recorded(bench, stocks, fault, lengths)
        for row in _tests(bench, scene):
            bench.say("  " + ", ".join(cell for cell in row.cells() if cell))
            rows.append(row)
        for name, windows, largest in _rates(scene):
            compared.append([f"{fault}: {name}", f"{windows:,}", share(largest)])
            if largest > (0 if name == "capture" else TOLERATED):
                wrong.append(f"{fault}: the rates of {name}")
    wrong = [*(f"{row.fault}: {row.test}" for row in rows if not row.right), *wrong]
    said = "\n".join(f"- {what}" for what in wrong)
    verdict = (
        f"Not as it has to be:\n\n{said}" if wrong else f"All {len(rows) + len(compared)} came out as they have to."
    )
    head = ["shop: test", "requests/s", "p95", "failed", "says", "gave way first", "room"]
    rates_head = [f"incident from, windows of {lengths.grain} s", "windows of routes", "largest difference"]
    return f"{verdict}\n\n{markdown(head, [row.cells() for row in rows])}\n\n{markdown(rates_head, compared)}"


def _chosen[T: str](variable: str, there: tuple[T, ...]) -> list[T]:
    """Give what the environment asks for of what is there: all of it, if it asks for nothing."""
    asked = [each.strip() for each in os.environ.get(variable, "").split(",") if each.strip()]
    if unknown := set(asked) - set(there):
        raise SystemExit(f"{variable}: {', '.join(unknown)}: there is only {', '.join(there)}")
    return [each for each in there if not asked or each in asked]


class Scene(NamedTuple):
    """A recorded incident, and what is needed to drill it."""

    folder: Path
    stocks: Stocks
    fault: Fault
    lengths: Lengths
    phases: list[mix.Phase]
    recorded: Recorded
    incidents: dict[str, Path]


def _recorded(bench: Bench, stocks: Stocks, fault: Fault, lengths: Lengths) -> Scene:
    folder = bench.folder / fault
    folder.mkdir()
    phases = mix.incident(fault, lengths.during, lengths.before, lengths.after, lengths.times)
    bench.say(f"{fault}: the shop goes down")
    recorded = record(folder, stocks, fault, phases)
    every = sources(recorded, folder, lengths.grain)
    left = {name: every[name] for name in {"capture", *_chosen("DRILL_SOURCES", tuple(every))}}
    names = [name.replace(" ", "-") for name in left]
    incidents = {
        name: taken(source, folder / f"{file}.reamp") for (name, source), file in zip(left.items(), names, strict=True)
    }
    return Scene(folder, stocks, fault, lengths, phases, recorded, incidents)


def _tests(bench: Bench, scene: Scene) -> Iterator[Row]:
    fault, lengths = scene.fault, scene.lengths
    begun, ended = lengths.before, lengths.before + lengths.during
    ordinary = figures([visit for visit in scene.recorded.visits if visit.at < begun * 0.9])
    yield _sent(fault, "users, before", ordinary, begun * 0.9, passes=True)
    down = figures([visit for visit in scene.recorded.visits if begun <= visit.at < ended])
    yield _sent(fault, "users, in the incident", down, lengths.during, passes=False)
    pages = {"home page": ("/", mix.peak(scene.phases))}
    if len(mix.AT_ONCE[fault]) > 1:  # each of them alone does no harm
        pages |= {f"{page} alone": (page, rate * lengths.times) for page, rate in mix.AT_ONCE[fault].items()}
    with shop(scene.folder / "loaded", scene.stocks, fault) as clone:
        for name, (page, rate) in pages.items():
            found = figures(send(clone.url, mix.arrivals(mix.uniform(rate, lengths.during, page))))
            yield _sent(fault, f"load test of the broken one, {name}", found, lengths.during, passes=True)
    bench.say(f"{fault}: the drills")
    yield from _drills(scene)


def _drills(scene: Scene) -> Iterator[Row]:
    down, up = ["--sweep", "0.25x:1x:0.25x"], ["--sweep", "1x:3x:0.5x"]
    before = _drilled(scene, "broken", "capture", *down)
    yield _told(scene, "drill of the broken one", before, "DOES NOT HOLD")
    fixed = _drilled(scene, "fixed", "capture", *up, "--against", str(before.folder), fixed=True)
    yield _told(scene, "drill of the fixed one", fixed, "HOLDS")
    small = _drilled(scene, "small", "capture", "--sweep", "off", fixed=True, products=SMALL)
    yield _told(scene, f"drill of the fixed one, {SMALL} products", small, "NOT PROVEN")
    for source in scene.incidents:
        if source != "capture":
            yield _told(
                scene, f"the broken one, from {source}", _drilled(scene, "broken", source, *_OFF), "DOES NOT HOLD"
            )
            yield _told(
                scene, f"the fixed one, from {source}", _drilled(scene, "fixed", source, *_OFF, fixed=True), "HOLDS"
            )


_OFF = ("--sweep", "off")


def _drilled(
    scene: Scene, name: str, source: str, *options: str, fixed: bool = False, products: int = PRODUCTION
) -> Drilled:
    folder = scene.folder / f"{name}-{source.replace(' ', '-')}"
    with shop(folder, scene.stocks, scene.fault, fixed=fixed, products=products) as clone:
        more = [*("--repeat", "3", "--step", "20s", "--cool-down", scene.lengths.rest), *scene.lengths.rules]
        return drill(
            scene.incidents[source], clone.url, folder, scene.folder / "load.key", *more, *options, seconds=1800
        )


def _sent(fault: Fault, test: str, found: Figures, seconds: float, *, passes: bool) -> Row:
    said = "passes" if found.well else "fails"
    return Row(fault, test, found.requests / seconds, found.p95, found.failed, said, found.well == passes)


def _told(scene: Scene, test: str, drilled: Drilled, outcome: str) -> Row:
    verdict = drilled.verdict
    seen, room = verdict.overall.replay, verdict.headroom
    right = verdict.outcome == outcome
    if outcome == "DOES NOT HOLD":
        right = right and drilled.named in mix.GUILTY[scene.fault]
    return Row(
        scene.fault,
        test,
        verdict.overall.reached,
        None if seen is None else seen.p95.value,
        None if seen is None else seen.failed.value,
        verdict.outcome,
        right,
        drilled.named or "",
        room.text if room is not None else "",
    )


def _rates(scene: Scene) -> Iterator[tuple[str, int, float]]:
    window = scene.lengths.grain
    recorded = rates(Capture(scene.recorded.captures).records(), window)
    for name, incident in scene.incidents.items():
        # The log is by another clock, at another place: what it tells is what its incident has to be.
        original = logged(scene.recorded.log, window) if name == "access log" else recorded
        found = deviation(original, rates(Capture(incident).records(), window))
        yield name, found.compared, found.largest
