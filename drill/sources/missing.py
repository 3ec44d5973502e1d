"""What a capture lacks of an incident's time, in words: spans without a request, and requests that were dropped. Pure.

An incident may well be silent for a while: nobody gets through to a site that is down. What matters is whether nothing
came or nothing was recorded.
"""

from collections.abc import Iterator, Sequence
from heapq import nlargest

from captures.gaps import Cause, Coverage, Watch, gaps
from captures.moments import iso
from captures.reader import Segment

_NAMED = 3
"""Gaps that are named, the longest ones; of the rest the number is enough."""

_CAUSES: dict[Cause, str] = {
    "stopped": "the sidecar was not running",
    "dropped": "the sidecar ran, and dropped requests meanwhile",
    "quiet": "the sidecar ran, and nothing came through",
    "unknown": "",
}


def missing(segments: Sequence[Segment], coverage: Coverage, records: int, begin_ns: int, end_ns: int) -> Iterator[str]:
    """Say what is missing between `begin_ns` and `end_ns`, in which `records` arrived, as `coverage` knows."""
    coverage.add_span(begin_ns, begin_ns)
    coverage.add_span(end_ns, end_ns)
    watches = [watch for segment in segments if (watch := _watch(segment)) is not None]
    found = gaps(coverage, records, end_ns - begin_ns, watches)
    for gap in sorted(nlargest(_NAMED, found, key=lambda gap: gap.last_ns - gap.first_ns)):
        why = f": {_CAUSES[gap.cause]}" if _CAUSES[gap.cause] else ""
        length = (gap.last_ns - gap.first_ns) / 1e9
        yield f"there is no request from {iso(gap.first_ns)} to {iso(gap.last_ns)} ({length:,.1f} s){why}"
    if len(found) > _NAMED:
        yield f"there are {len(found) - _NAMED:,} shorter gaps without any request"
    recording = [watch for watch in watches if watch.last_ns is None or watch.last_ns >= watch.opened_ns]
    dropped = sum(watch.dropped for watch in recording if watch.opened_ns < end_ns and watch.closed_ns > begin_ns)
    if dropped > 0:
        yield f"up to {dropped:,} requests of this time are missing: the sidecar had to drop them while it recorded"
    for segment in segments:
        last = segment.last_ns
        if segment.state == "open" and last is not None and begin_ns <= last < end_ns:
            yield "the capture is being written at this moment: requests that have no answer yet are not in it"
        elif segment.state == "torn" and last is not None and begin_ns <= last < end_ns:
            yield f"{segment.path.name} was torn off at {iso(last)}: what was not on the disk then is missing"


def _watch(segment: Segment) -> Watch | None:
    """Say when a segment was open, and what was dropped meanwhile."""
    if segment.header is None:
        return None
    last = segment.last_ns
    footer = segment.footer
    return Watch(
        opened_ns=segment.header.created_ns,
        closed_ns=footer.closed_ns if footer else last or segment.header.created_ns,
        last_ns=last,
        dropped=footer.accounting.dropped - segment.header.accounting.dropped if footer else 0,
    )
