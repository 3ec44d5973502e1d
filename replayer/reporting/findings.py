"""What came back by route, beside what the recording tells of the very same requests. Reads `routes.msgpack`.

Sums are the run's own. The stretches are needed for what sums do not show: how things went over time, without which
nobody can say whether a change is more than noise (`replayer.comparing.comparison`).
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
from pydantic import ValidationError

from replayer.books.report import LeftOut, RecordedRoute, RouteReport
from replayer.comparing.comparison import MOST_BLOCKS, Block, compare, judged
from replayer.comparing.routes import MOST, OTHERS, Name, Route, Routes, final_names, settled
from replayer.counting.latency import quantiles_of
from replayer.counting.series import Second, Stretch, parsed
from replayer.plan import Plan
from replayer.requests.writes import leave
from rules.units import MILLION

LONGEST = 1 << 24
"""Characters of a line, and bytes of a stretch, that are read at most. A run's own are a hundredth of it."""

_BITS = 7
"""Of times in blocks: 1.6% of a value, which is less than any change worth a word."""

BETWEEN = (
    "The recording was timed at the sidecar before the recorded app, the replay at this sender: another network lies "
    "between them, and other hardware and other data if the target is not that app."
)
SAME = (
    "Of the recording only what was sent again counts, each record as often as it was sent. Its times run from a "
    "request's arrival to the last byte of its answer, and are set beside those from the actual send."
)
LONG = 60.0
SHORT = "It lasted less than a minute, so a slow spell of some seconds may pass for a change."
LOUDER = "The load was another one than when it was recorded, so a change may be the load's."


@dataclass(slots=True)
class Part:
    """A tenth of the run, on one route."""

    times: Counter[int] = field(default_factory=Counter)
    requests: int = 0
    failed: int = 0

    def add(self, times: dict[int, int], requests: int, failed: int) -> None:
        """Count what falls into it."""
        for value, count in times.items():
            spare = max(0, value.bit_length() - _BITS)
            self.times[value >> spare << spare] += count
        self.requests += requests
        self.failed += failed

    def block(self) -> Block:
        """Give it for comparison."""
        return Block(self.times, self.requests, self.failed)


@dataclass(slots=True)
class Course:
    """How one route went over time: the replay, and the recording beside it."""

    service: list[Part] = field(default_factory=lambda: [Part() for _ in range(MOST_BLOCKS)])
    latency: list[Part] = field(default_factory=lambda: [Part() for _ in range(MOST_BLOCKS)])
    recorded: list[Part] = field(default_factory=lambda: [Part() for _ in range(MOST_BLOCKS)])


def blocks(parts: Sequence[Part]) -> list[Block]:
    """Give a course for comparison."""
    return [part.block() for part in parts]


def lines(path: Path) -> Iterator[str]:
    """Read a file's whole lines; nothing if it is not there."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            while line := file.readline(LONGEST):
                if line.endswith("\n"):
                    yield line
    except OSError:
        return


def seconds(folder: Path) -> Iterable[Second]:
    """Read the seconds of a run."""
    return parsed(lines(folder / "seconds.jsonl"), Second)


def stretches(folder: Path) -> Iterator[Stretch]:
    """Read what came back by route, in stretches of time."""
    try:
        with (folder / "routes.msgpack").open("rb") as file:
            for found in msgpack.Unpacker(file, max_buffer_size=LONGEST, strict_map_key=False):
                with suppress(ValidationError):
                    yield Stretch.model_validate(found)
    except (OSError, ValueError, TypeError, msgpack.UnpackException):
        return  # what is torn is the end, as when a process was killed


def journal(folder: Path) -> Iterator[dict[str, Any]]:
    """Read what was decided during a run."""
    for line in lines(folder / "journal.jsonl"):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield entry


def routes_of(folder: Path) -> list[Route]:
    """Add up what a folder holds of each route, by the names under which it was counted."""
    return _added_up(stretch for stretch in stretches(folder) if not stretch.left_out)


def _added_up(parts: Iterable[Stretch]) -> list[Route]:
    found: dict[Name, Route] = {}
    for stretch in parts:
        name = (stretch.method, stretch.template)
        if name not in found and len(found) >= MOST:
            name = OTHERS
        found.setdefault(name, Route(*name)).merge(stretch.route())
    return list(found.values())


def courses(folder: Path, names: dict[Name, Name]) -> dict[Name, Course]:
    """Cut a run into ten parts of the same length, route by route under its final name."""
    length = max((stretch.end for stretch in stretches(folder)), default=0.0)
    found: dict[Name, Course] = {}
    for stretch in stretches(folder):
        name = names.get((stretch.method, stretch.template))
        if name is None or length <= 0:
            continue
        course = found.setdefault(name, Course())
        place = int((stretch.start + stretch.end) / 2 / length * MOST_BLOCKS)
        place = min(MOST_BLOCKS - 1, max(0, place))
        requests, failed = _failures(stretch.statuses, sum(stretch.errors.values()))
        course.service[place].add(stretch.service, requests, failed)
        course.latency[place].add(stretch.latency, requests, failed)
        told = stretch.recorded
        course.recorded[place].add(told.duration, *_failures(told.statuses, 0))
    return found


def by_route(routes: Routes, folder: Path) -> list[RouteReport]:
    """Report the routes of a run that has just ended."""
    whole = routes.settled()
    return report_routes(whole, courses(folder, final_names(routes.totals)))


def recovered_routes(folder: Path) -> list[RouteReport]:
    """Report the routes of a run from its folder alone."""
    routes = routes_of(folder)
    return report_routes(settled(routes), courses(folder, final_names(routes)))


def left_out(routes: Iterable[Route], plan: Plan) -> list[LeftOut]:
    """Report what was left out, by routes with their final names."""
    return [
        LeftOut(
            method=route.method,
            template=route.template,
            count=route.left_out,
            option=leave(route.method, route.template, plan.methods),
        )
        for route in routes
        if route.left_out
    ]


def recovered_left_out(folder: Path, plan: Plan) -> list[LeftOut]:
    """Report it from a run's folder alone."""
    return left_out(settled(_added_up(stretch for stretch in stretches(folder) if stretch.left_out)), plan)


def report_routes(routes: Iterable[Route], going: dict[Name, Course]) -> list[RouteReport]:
    """Report routes with their final names, against the recording."""
    found = [route for route in routes if route.sent or route.shed]
    empty = Course()
    changes = judged(
        compare(blocks(course.recorded), blocks(course.service))
        for course in (going.get((route.method, route.template), empty) for route in found)
    )
    return [
        RouteReport(
            method=route.method,
            template=route.template,
            wanted=route.sent + route.shed.total(),
            allowed=route.sent + route.shed.total() - sum(route.shed[why] for why in ("credit", "signal", "lever")),
            sent=route.sent,
            answered=route.answered,
            withheld=route.withheld,
            shed=dict(route.shed),
            statuses=dict(sorted(route.statuses.items())),
            errors=dict(route.errors),
            failed=_share(*_failures(route.statuses, route.errors.total())),
            bytes_received=route.bytes_received,
            latency=quantiles_of(route.latency),
            service=quantiles_of(route.service),
            recorded=_recorded(route),
            changes=row if route.recorded.count else [],
        )
        for route, row in zip(found, changes, strict=True)
    ]


def _recorded(route: Route) -> RecordedRoute | None:
    seen = route.recorded
    if not seen.count:
        return None
    return RecordedRoute(
        count=seen.count,
        statuses=dict(sorted(seen.statuses.items())),
        failed=_share(*_failures(seen.statuses, 0)),
        bytes=seen.bytes,
        duration=quantiles_of(seen.duration),
        ttfb=quantiles_of(seen.ttfb),
    )


def _failures(statuses: dict[int, int] | Counter[int], errors: int) -> tuple[int, int]:
    """Give the requests, and of them those that failed: no answer (recorded as status 0), or one with 5xx."""
    failed = sum(count for status, count in statuses.items() if status == 0 or status >= 500)
    return sum(statuses.values()) + errors, failed + errors


def _share(requests: int, failed: int) -> float | None:
    return failed / requests if requests else None


def caveats(plan: Plan, lasted: float) -> list[str]:
    """Say what else lies between the recording and the replay."""
    found = [BETWEEN, SAME]
    louder = plan.of == "live" or plan.amplify != MILLION or plan.rate is not None or bool(plan.stage)
    if louder or plan.squeeze:
        found.append(LOUDER)
    if lasted < LONG:
        found.append(SHORT)
    return found
