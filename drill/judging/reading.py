"""Reads a drill's folder for the judgement: its record, the incident, what the check found, and every run. Edge."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from hdrh.histogram import HdrHistogram
from pydantic import BaseModel, ValidationError

from captures.errors import CaptureError
from captures.keyring import NOBODY, Identities
from drill.fairness.fairness import Fairness
from drill.incident import read_incident
from drill.judging.evidence import BLOCKS, Blocks, Evidence, Instant, Played, Point, interval_of
from drill.judging.figures import past
from drill.running.outcome import ASTRAY, answered, lost, unreached
from drill.running.record import DrillRecord, Step
from replayer.comparing.comparison import Block
from replayer.comparing.routes import Name
from replayer.counting.latency import histogram, quantiles
from replayer.counting.series import Second, Stretch
from replayer.reporting.findings import seconds, stretches
from replayer.reporting.histograms import read as histograms
from replayer.reporting.recovery import report_of
from replayer.requests.rewriting import PathRule, Rewriting
from rules.exits import UserError
from rules.files import read_small

LONGEST = 1 << 26
"""Bytes of drill.json, check.json or verdict.json that are read."""

_FEWEST = 3
"""Requests in a stretch that its median is taken of."""


def read(folder: Path, identities: Identities = NOBODY) -> Evidence:
    """Read a drill, whole or not. Raises UserError."""
    record = _model(folder / "drill.json", DrillRecord, "the record of a drill")
    incident = read_incident(folder / "incident.reamp", identities)
    story = incident.story
    try:
        found, points = past(story, incident.capture.records(), _rewriting(record))
    except CaptureError as error:
        raise UserError(str(error)) from None
    interval = interval_of(story.seconds)
    check = folder / "check.json"
    fairness = _model(check, Fairness, "what a check found") if check.exists() else None
    played = tuple(
        each
        for step in record.steps
        if step.over and (each := _played(folder / "runs", step, story.begin_ns, interval, len(points))) is not None
    )
    return Evidence(record, story, found, played, interval, points, fairness)


def _rewriting(record: DrillRecord) -> Rewriting:
    """Give the rules for paths by which a drill was sent. Raises UserError."""
    sending = record.plan.get("sending")
    texts = sending.get("rewrite") if isinstance(sending, dict) else None
    try:
        return Rewriting(paths=tuple(map(PathRule.parse, texts or ())))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"drill.json is not the record of a drill: its plan's rewrite: {error}") from None


def _model[M: BaseModel](path: Path, model: type[M], what: str) -> M:
    try:
        return model.model_validate_json(read_small(path, LONGEST, f"too large for {what}"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} holds no {path.name}: is it the folder of a drill?") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        raise UserError(f"{path} is not {what}: {error.errors()[0]['msg']}") from None


def _played(runs: Path, step: Step, begin_ns: int, interval: float, points: int) -> Played | None:
    """Read one run; None if it proves nothing: it wrote nothing that can be read, or never reached the clone."""
    folder = runs / Path(step.run).name
    try:
        report = report_of(folder)
    except UserError:
        return None
    if unreached(report):
        return None
    asked = (step.end_ns - step.begin_ns) / 1e9
    begin = (step.zero_ns - begin_ns) / 1e9
    stop = step.stop or report.stop
    lasted = asked if stop == "ended" else min(asked, report.seconds)
    course = tuple(seconds(folder))
    reason, cut = step.reason or report.reason, None
    if step.silence in ASTRAY:
        cut = max((second.end for second in course if second.statuses), default=None)
        if cut is None:
            return None
        lasted, stop, reason = min(lasted, cut), "failed", f"there was no way to the clone any more ({step.silence})"
    gathered = _Gathered(max(lasted, 1e-3), cut)
    for stretch in stretches(folder):
        gathered.add(stretch)
    return Played(
        run=step.run,
        kind=step.kind,
        factor=step.factor,
        begin=begin,
        seconds=lasted,
        stop=stop,
        reason=reason,
        valid=report.valid if step.valid is None else step.valid,
        invalid_because=tuple(report.invalid_because),
        lag=report.lag.max or 0.0,
        unanswered=report.accounts.unanswered if cut is None else 0,
        calm=step.calm,
        silence=step.silence,
        cut=cut,
        latency=gathered.blocks(gathered.latency),
        service=gathered.blocks(gathered.service),
        sent=dict(gathered.sent),
        left_out=dict(gathered.left_out),
        turned=gathered.turned,
        own=gathered.own,
        course=tuple(_instant(second) for second in course if cut is None or second.end <= cut),
        points=_points(folder, course, begin, interval, points),
    )


def _instant(second: Second) -> Instant:
    done = second.answered + sum(second.errors.values())
    backlog = second.in_flight + second.waiting
    return Instant(second.end, second.sent, done, backlog, answered(second), lost(second))


class _Gathered:
    """Counts of one run, while stretches are read."""

    def __init__(self, lasted: float, cut: float | None) -> None:
        """`cut`: seconds after which there was no way to the target."""
        self._lasted = lasted
        self._cut = math.inf if cut is None else cut
        self.latency: dict[Name, list[Counter[int]]] = {}
        self.service: dict[Name, list[Counter[int]]] = {}
        self.requests: dict[Name, list[int]] = {}
        self.failed: dict[Name, list[int]] = {}
        self.sent: Counter[Name] = Counter()
        self.left_out: Counter[Name] = Counter()
        self.turned: dict[Name, Counter[int]] = {}
        self.own: dict[Name, float] = {}

    def add(self, stretch: Stretch) -> None:
        """Count what came back in a stretch of time. What is answered after the end belongs to the last interval."""
        if stretch.start >= self._cut:
            return
        name = (stretch.method, stretch.template)
        if stretch.left_out:
            self.left_out[name] += stretch.left_out
            return
        if name not in self.requests:
            self.latency[name] = [Counter() for _ in range(BLOCKS)]
            self.service[name] = [Counter() for _ in range(BLOCKS)]
            self.requests[name], self.failed[name] = [0] * BLOCKS, [0] * BLOCKS
        place = min(BLOCKS - 1, max(0, int((stretch.start + stretch.end) / 2 / self._lasted * BLOCKS)))
        # Who was on the way when it was cut failed by that, too.
        errors = sum(stretch.errors.values()) if stretch.end < self._cut else 0
        self.latency[name][place].update(stretch.latency)
        self.service[name][place].update(stretch.service)
        self.requests[name][place] += sum(stretch.statuses.values()) + errors
        self.failed[name][place] += errors + sum(n for status, n in stretch.statuses.items() if status >= 500)
        self.sent[name] += stretch.sent
        turned = {status: count for status, count in stretch.statuses.items() if 400 <= status < 500}
        self.turned.setdefault(name, Counter()).update(turned)
        middle = _median(stretch.service)
        if middle is not None:
            self.own[name] = min(middle, self.own.get(name, middle))

    def blocks(self, times: Mapping[Name, Sequence[Counter[int]]]) -> dict[Name, Blocks]:
        """Give what came back by route."""
        return {
            name: tuple(
                Block(times_, requests, failed)
                for times_, requests, failed in zip(each, self.requests[name], self.failed[name], strict=True)
            )
            for name, each in times.items()
        }


def _median(times: Mapping[int, int]) -> float | None:
    left = sum(times.values())
    if left < _FEWEST:
        return None
    left = (left + 1) // 2
    for value in sorted(times):
        left -= times[value]
        if left <= 0:
            return value / 1e6
    return None


def _points(folder: Path, course: Sequence[Second], begin: float, interval: float, count: int) -> tuple[Point, ...]:
    """Put a run into the points of the incident's timeline."""
    requests, failed, done = ([0] * count for _ in range(3))
    covered = [0.0] * count
    slow: list[HdrHistogram | None] = [None] * count

    def place(at: float) -> int | None:
        found = int((begin + at) // interval)
        return found if 0 <= found < count else None

    for second in course:
        into = place((second.start + second.end) / 2)
        if into is None:
            continue
        errors = sum(second.errors.values())
        covered[into] += max(0.0, second.end - second.start)
        requests[into] += second.sent
        done[into] += second.answered + errors
        failed[into] += errors + sum(n for status, n in second.statuses.items() if status >= 500)
    for tag, start, values in histograms(folder):
        into = place(start)
        if tag == "latency" and into is not None:
            merged = slow[into] = slow[into] or histogram()
            merged.add(values)
    found = []
    for each in range(count):
        merged = slow[each]
        p95 = quantiles(merged).p95 if merged is not None else None
        # A point of which a sliver was played has no rate.
        seconds_ = covered[each] if covered[each] >= interval / 4 else 0.0
        found.append(Point(requests[each], failed[each], done[each], p95, seconds_))
    return tuple(found)
