"""Whether amplified traffic comes as that of more users would: burst structure, by the way it was made more.

No wall clock and no target: arrivals are drawn with fixed seeds, made more, and counted. The figures are the same on
any machine, however busy.
"""

import math
from collections.abc import Callable, Sequence
from statistics import mean
from unittest.mock import patch

from replayer.schedule import intensity
from replayer.schedule.amplification import STRETCH
from replayer.schedule.intensity import PENALTY
from rules.units import MILLION, Factor
from tests.benchmarks.measuring import Bench
from tests.benchmarks.tables import markdown
from tests.support.bursts import (
    MS,
    SECOND,
    Path,
    amplified,
    amplified_visits,
    autocorrelation,
    counted,
    dispersion,
    diurnal,
    drawn,
    duplicated,
    expected_autocorrelation,
    expected_dispersion,
    in_theory,
    on_off,
    pages,
    squeezed,
    steady,
    visits,
)

PEERS = ()

WIDTHS = (10 * MS, 100 * MS, SECOND, 10 * SECOND)
SECONDS, QUICK_SECONDS = 900, 60
FACTORS = ("0.25x", "1.25x", "2.5x", "10x")
SEEDS = (1, 2, 3)
"""Of what is random in a way to make it more: means over these."""

PATHS: dict[str, Callable[[float], Path]] = {"Poisson": steady, "on/off": on_off, "diurnal": diurnal}
CLUSTERS = {"pages": (20.0, 9), "small pages": (67.0, 2)}
"""Pages per second, and requests more for each."""

Figures = tuple[tuple[float, float], ...]
"""Index of dispersion and autocorrelation at lag one, by width of the window."""


def run(bench: Bench) -> str:
    """Run it all; give the tables."""
    seconds = QUICK_SECONDS if bench.quick else SECONDS
    seeds = SEEDS[:1] if bench.quick else SEEDS
    parts, summary = [], []
    for name in (*PATHS, *CLUSTERS):
        at = _recorded(name, seconds)
        measured = [_measured(name, at, text, seconds, seeds, bench) for text in FACTORS]
        rows = [["1x", "**recorded**", *map(_cell, _figures(at, seconds))]]
        rows += [[text, way, *map(_cell, found)] for text, ways in measured for way, found in ways.items()]
        head = ["factor", "arrivals", *(_width(width) for width in WIDTHS)]
        parts.append(f"**{name}**: {_TRAFFIC[name]}, {len(at):,} arrivals in {seconds:,} s.\n\n{markdown(head, rows)}")
        summary.append([name, *(_off([ways for _, ways in measured], way) for way in (OURS, SEVERAL, DIVIDED))])
    head = ["recording", OURS, SEVERAL, DIVIDED]
    bench.say("bursts: sessions")
    parts.append(f"**sessions**: {_TRAFFIC['sessions']}\n\n{_sessions(seconds, seeds)}")
    bench.say("bursts: the constants")
    parts.append(f"The constants of the method, at 10x:\n\n{_choices(seconds)}")
    return "\n\n".join([f"Off by, at worst: in windows up to 1 s / of 10 s.\n\n{markdown(head, summary)}", *parts])


OURS, SEVERAL, DIVIDED = "**reamp**", "each sent k times at once", "times divided (squeeze)"
USERS = "as many more users (theory)"

_TRAFFIC = {
    "Poisson": "200 requests/s at random",
    "on/off": "600/s for 300 ms on average, then 20/s for 700 ms on average (both exponential)",
    "diurnal": "a sine of five minutes between 20/s and 380/s",
    "pages": "20 pages/s at random, each with nine requests more within 100 ms",
    "sessions": "30 begin a second for 300 ms on average, then 1 a second for 700 ms; each of eight requests in 2 s",
    "small pages": "67 pages/s at random, each with two requests more within 100 ms",
}


CHOICES = [(penalty, STRETCH) for penalty in (1.2, 1.6, 2.0, 3.0)] + [(PENALTY, stretch) for stretch in (1024, 32768)]
"""What was tried for the two constants of the method, at 10x, where it matters most."""


def _choices(seconds: int) -> str:
    factor = Factor.parse("10x")
    rows = []
    for penalty, stretch in CHOICES:
        row = [f"{penalty:g}", f"{stretch:,}"]
        for name in (*PATHS, *CLUSTERS):
            at, reference = _recorded(name, seconds), _reference(name, seconds, factor / MILLION)
            with patch.object(intensity, "PENALTY", penalty):
                row.append(_off([{"": _figures(amplified(at, factor, 1, stretch), seconds), USERS: reference}], ""))
        rows.append(row)
    return markdown(["penalty", "stretch", *PATHS, *CLUSTERS], rows)


def _sessions(seconds: int, seeds: Sequence[int]) -> str:
    """Measure whole sessions: against sessions drawn anew, for which there is no formula."""
    path = on_off(seconds, high=30.0, low=1.0)
    found = visits(path, seed=11)
    at = [one for one, _ in found]
    rows = [["1x", "**recorded**", *map(_cell, _figures(at, seconds))]]
    for text in ("2.5x", "10x"):
        factor = Factor.parse(text)
        ways = {
            "as many more sessions (drawn anew)": [
                [one for one, _ in visits(path, 100 + seed, factor / MILLION)] for seed in seeds
            ],
            "**reamp**, request by request": [amplified(at, factor, seed) for seed in seeds],
            "**reamp**, `--sessions`": [amplified_visits(found, factor, seed) for seed in seeds],
            SEVERAL: [duplicated(at, factor, seed) for seed in seeds],
        }
        rows += [
            [text, way, *map(_cell, _mean([_figures(one, seconds) for one in made]))] for way, made in ways.items()
        ]
    return markdown(["factor", "arrivals", *(_width(width) for width in WIDTHS)], rows)


def _recorded(name: str, seconds: int) -> list[int]:
    return drawn(PATHS[name](seconds), seed=11) if name in PATHS else pages(seconds, 11, *CLUSTERS[name])


def _reference(name: str, seconds: int, times: float) -> Figures:
    """Tell what to expect of as many users: of a path exactly, of pages from what was recorded."""
    if name in PATHS:
        path = PATHS[name](seconds)
        return tuple(in_theory(path, width, seconds * SECOND, times) for width in WIDTHS)
    before = _figures(_recorded(name, seconds), seconds)
    return tuple((expected_dispersion(i, times), expected_autocorrelation(rho, i, times)) for i, rho in before)


def _measured(
    name: str, at: Sequence[int], text: str, seconds: int, seeds: Sequence[int], bench: Bench
) -> tuple[str, dict[str, Figures]]:
    """Measure one factor, by every way to reach it."""
    bench.say(f"bursts: {name}, {text}")
    factor = Factor.parse(text)
    times = factor / MILLION
    found = {USERS: _reference(name, seconds, times)}
    found[OURS] = _mean([_figures(amplified(at, factor, seed), seconds) for seed in seeds])
    found[SEVERAL] = _mean([_figures(duplicated(at, factor, seed), seconds) for seed in seeds])
    found[DIVIDED] = _figures(squeezed(at, factor), int(seconds * MILLION / factor))
    return text, found


def _off(measured: Sequence[dict[str, Figures]], way: str) -> str:
    """Tell by what factor the index of dispersion is off at worst: in windows up to 1 s, and in the widest."""

    def worst(windows: slice) -> float:
        pairs = [
            (found[0], right[0])
            for ways in measured
            for found, right in zip(ways[way][windows], ways[USERS][windows], strict=True)
        ]
        return max((max(i / right, right / i) for i, right in pairs if not math.isnan(i / right)), default=math.nan)

    return f"{worst(slice(0, 3)):.2f} / {worst(slice(3, 4)):.2f}"


def _figures(at: Sequence[int], seconds: int) -> Figures:
    found = []
    for width in WIDTHS:
        counts = counted(at, width, seconds * SECOND)
        enough = len(counts) >= 10
        found.append((dispersion(counts), autocorrelation(counts)) if enough else (math.nan, math.nan))
    return tuple(found)


def _mean(several: Sequence[Figures]) -> Figures:
    return tuple((mean(one[0] for one in each), mean(one[1] for one in each)) for each in zip(*several, strict=True))


def _cell(figures: tuple[float, float]) -> str:
    index, rho = figures
    if math.isnan(index):
        return "too few"
    return f"{index:,.{0 if index >= 100 else 1 if index >= 10 else 2}f} · {rho:.2f}".replace("-0.00", "0.00")


def _width(width: int) -> str:
    return f"{width // MS} ms" if width < SECOND else f"{width // SECOND} s"
