"""An incident from captures: the requests of a time, as they were recorded. Edge.

An incident that was taken before is a capture, too: a part of it, or all of it, can be taken once more.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from captures.errors import CaptureError
from captures.gaps import Coverage
from captures.lineage import joined, left_out
from captures.reader import Capture
from captures.records import Record
from drill.incident import read_incident, story_of, write_incident
from drill.sources.course import FINEST_NS, Course
from drill.sources.missing import missing
from drill.sources.peak import Peak, around, described, find
from drill.sources.wanted import Wanted
from drill.sources.window import Window, asked
from drill.story import Story
from loadtag.headers import find as find_tag
from rules.exits import UserError

_PARTS = 60
"""Parts of the time around the peak that are told apart when it is looked for..."""
_REACH = 3
"""...and parts on both sides of a moment that are looked at with it: a tenth of the time in all."""

_AT_ONCE = 4096
"""Arrivals that are looked at together."""

_NAMES = 5
"""Captures that are named."""


def take(files: Sequence[Path], wanted: Wanted, output: Path) -> Story:
    """Write the incident of captures, which count as one. Raises UserError."""
    if len(files) == 1 and is_incident((before := read_incident(files[0], wanted.identities)).capture):
        return part(before.capture, before.story, wanted, output)
    try:
        captures = [Capture(file, wanted.identities) for file in files]
        if one := next((file for file, each in zip(files, captures, strict=True) if is_incident(each)), None):
            raise UserError(
                f"{one} is an incident, and what is told of it holds for it alone: take one incident of all that "
                "the others were taken from"
            )
        capture, twice = joined(captures)
        capture.unlock()
    except CaptureError as error:
        raise UserError(str(error), error.code) from None
    told = f"the capture {_named(files)}"
    story = story_of(capture, ", ".join(map(str, files)), told, (*twice, *_not_all(capture)))
    return part(capture, story, wanted, output)


def part(capture: Capture, whole: Story, wanted: Wanted, output: Path) -> Story:
    """Write the incident of the time that is wanted of a capture; `whole` is the story of all of it.

    Raises UserError.
    """
    window = _window(capture, whole, wanted)
    tally = _Tally(wanted.matches)
    for _ in tally.fitting(_records(capture, window, wanted, "counting")):
        pass
    if not tally.kept:
        raise UserError("no request of the incident is left: nothing that is wanted lies in the time asked for")
    lacking = missing(capture.segments, tally.coverage, tally.kept, window.begin_ns, window.end_ns)
    damage = [f"damaged, and so left out: {what}" for what in capture.damage]
    notes = (
        *whole.notes,
        *window.notes,
        *_but(whole, window),
        *chosen(wanted),
        *tally.notes(whole),
        *lacking,
        *damage,
        *_opened(capture, wanted),
    )
    told = {
        "begin_ns": window.begin_ns,
        "end_ns": window.end_ns,
        "notes": tuple(dict.fromkeys(notes)),
        "outcomes": "none" if whole.outcomes == "records" and tally.unknown == tally.kept else whole.outcomes,
    }
    story = whole.model_copy(update=told)
    records = _Tally(wanted.matches).fitting(_records(capture, window, wanted, "writing"))
    write_incident(output, story, records, source=capture, recipients=wanted.recipients, force=wanted.force)
    return story


def _records(capture: Capture, window: Window, wanted: Wanted, doing: str) -> Iterator[Record]:
    """Give the requests of a time, and show how far it has come."""
    begin, length = window.begin_ns, window.end_ns - window.begin_ns
    with wanted.telling(doing, length) as reached:
        for number, record in enumerate(capture.records(begin, window.end_ns)):
            if not number % _AT_ONCE:
                reached(record.arrival_ns - begin)
            yield record


def _window(capture: Capture, whole: Story, wanted: Wanted) -> Window:
    """Find the incident's time. Raises UserError."""
    window = asked(wanted.from_, wanted.to, whole.begin_ns, whole.end_ns - 1)
    if wanted.around_peak is None:
        return window
    length_ns = round(wanted.around_peak * 1e9)
    if length_ns <= 0:
        raise UserError("--around-peak: in no time there is no request: give it like 10m")
    peak, course = _peak(capture, window, wanted, length_ns)
    at_ns = min(course.middle(peak.at), window.end_ns)
    begin, end = around(at_ns, length_ns, window.begin_ns, window.end_ns)
    if whole.grain is not None:  # half a second of which only the count is known would be no part of it
        grain_ns = round(whole.grain * 1e9)
        begin = max(window.begin_ns, begin - (begin - whole.begin_ns) % grain_ns)
        end = min(window.end_ns, end + (whole.begin_ns - end) % grain_ns)
    span = window.end_ns - window.begin_ns  # a source may be shorter than the intervals that it is counted in
    seconds = min(course.width_ns * min(2 * _REACH + 1, len(course.requests)), span) / 1e9
    return Window(begin, end, (*window.notes, described(peak, at_ns, seconds, course.width_ns / 1e9)))


def _peak(capture: Capture, window: Window, wanted: Wanted, length_ns: int) -> tuple[Peak, Course]:
    """Find the peak, with the counts that it was found by. Raises UserError.

    Where one request of 1970 among those of today makes the time too long to count it in fine parts, what it was found
    in is looked at more closely.
    """
    width_ns, within = length_ns // _PARTS, window
    while True:
        course = Course(within.begin_ns, within.end_ns, width_ns)
        for record in _Tally(wanted.matches).fitting(_records(capture, within, wanted, "looking for the peak")):
            course.add(record)
        peak = find(course.requests, course.failed, _REACH)
        if peak is None:
            raise UserError("--around-peak: there is no request in the time that was asked for")
        if course.width_ns <= max(width_ns, FINEST_NS):
            return peak, course
        reach_ns = (2 * _REACH + 2) * course.width_ns
        within = Window(*around(course.middle(peak.at), reach_ns, window.begin_ns, window.end_ns))


def _but(whole: Story, window: Window) -> list[str]:
    """Say what is known of all of an incident only, if a part of it is taken."""
    if (window.begin_ns, window.end_ns) == (whole.begin_ns, whole.end_ns) or not (whole.routes or whole.statuses):
        return []
    return ["figures by route and statuses are those of the whole incident that this is a part of"]


def chosen(wanted: Wanted) -> list[str]:
    """Say what was asked to be left out."""
    asked_for = (("--only", wanted.only), ("--except", wanted.but))
    return [f"{option} {words!r}" for option, words in asked_for if words is not None]


def _opened(capture: Capture, wanted: Wanted) -> list[str]:
    """Say if what was under lock and key is so no more."""
    if wanted.recipients or not any(one.lock is not None for one in capture.segments):
        return []
    return ["what this is from is encrypted, and this is not (--encrypt-to)"]


def is_incident(capture: Capture) -> bool:
    """Whether it is the file of an incident, and not what a sidecar recorded."""
    return any(one.header is not None and "incident" in one.header.extra for one in capture.segments)


def _not_all(capture: Capture) -> list[str]:
    """Say if what was recorded was not all of the traffic."""
    return [f"{words}: rates are those of what was recorded, and users sent more" for words in left_out(capture)]


def _named(files: Sequence[Path]) -> str:
    names = [file.resolve().name for file in files]
    return ", ".join(names[:_NAMES]) + (f" and {len(names) - _NAMES} more" if len(names) > _NAMES else "")


class _Tally:
    """Lets the requests through that belong to the incident, and counts."""

    def __init__(self, matches: Callable[[Record], bool] | None) -> None:
        self._matches = matches
        self.kept = 0
        self.unknown = 0
        """Of those kept, how many have an end that nobody knows."""
        self._timed = 0
        self._answered = 0
        self._tagged = 0
        self._unwanted = 0
        self.coverage = Coverage()
        """When any request came, of the incident or not: so what is silent was not recorded."""

    def fitting(self, records: Iterable[Record]) -> Iterator[Record]:
        """Give on what belongs to the incident: what users sent, and what is wanted of it."""
        arrivals: list[int] = []
        for record in records:
            arrivals.append(record.arrival_ns)
            if len(arrivals) >= _AT_ONCE:
                self.coverage.add(arrivals)
                del arrivals[:-1]
            if find_tag(record.headers) is not None:
                self._tagged += 1
                continue
            if self._matches is not None and not self._matches(record):
                self._unwanted += 1
                continue
            self.kept += 1
            self.unknown += record.unknown
            self._answered += record.status != 0
            self._timed += record.duration_ns > 0
            yield record
        self.coverage.add(arrivals)

    def notes(self, whole: Story) -> Iterator[str]:
        """Say what was left out, and what is not known."""
        if self._tagged:
            yield f"left out are {self._tagged:,} requests that bear a load tag: they are no users'"
        if self._unwanted:
            yield f"left out are {self._unwanted:,} requests by --only and --except"
        if whole.outcomes != "records":
            return
        if self.unknown:
            yield f"what came back is not known of {self.unknown:,} requests in {self.kept:,}"
        if self._answered and not self._timed:
            late = "; if times are those of the ends, as in a log of nginx, slow requests count later than they came"
            yield f"how long answers took is not known{late if whole.source == 'log' else ''}"
