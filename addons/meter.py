"""Add-on: counts and times requests by kind, in the worker's row of the books.

It runs twice for each request, so it only ever counts up: places are looked up and not computed, and sums, windows
and percentiles are left to whoever wants them (`reckoning`, `window`).
"""

from bisect import bisect_left

from mitmproxy import http

from addons.books import BOUNDS, KINDS, OUTCOMES, Row, cell
from addons.passage import COPIED, EXCESS, KIND, REFUSED
from rules.latency import CELLS, UNIT, index

_ARRIVED = {kind: cell("arrived") + at for at, kind in enumerate(KINDS)}
_STEPS_PER_SECOND = 1 / UNIT


def _places(kind: int) -> tuple[int, int, int, int]:
    """Give the cells where a kind's outcomes, its durations, their sum and their histogram begin."""
    return (
        cell("ended") + kind * len(OUTCOMES),
        cell("durations") + kind * (len(BOUNDS) + 1),
        cell("total_ns") + kind,
        cell("latency") + kind * CELLS,
    )


_PLACES = {kind: _places(at) for at, kind in enumerate(KINDS)}
# Whatever a status is, it falls into one of five classes.
_CLASS = [min(max(status // 100, 1), 5) - 1 for status in range(600)]
_FAILED = OUTCOMES.index("error")
_REFUSALS = {
    "tag": OUTCOMES.index("denied"), COPIED: OUTCOMES.index("copied"), EXCESS: OUTCOMES.index("excess")
}  # fmt: skip
_WITHHELD = OUTCOMES.index("withheld")


class Meter:
    """Counts what passes through one process."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self._cells = row.cells

    @property
    def real(self) -> int:
        """Well-formed real requests since the start: those that earn credit."""
        return self.row.real

    @property
    def in_flight(self) -> int:
        """Requests being answered, of all kinds."""
        return sum(self.row.in_flight(kind) for kind in range(len(KINDS)))

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Count the arrival."""
        self._cells[_ARRIVED.get(flow.metadata.get(KIND, ""), _ARRIVED["untrusted"])] += 1

    def response(self, flow: http.HTTPFlow) -> None:
        """Count an answer, by whom it was given."""
        metadata, cells = flow.metadata, self._cells
        kind = metadata.get(KIND, "")
        ended, durations, total, latency = _PLACES.get(kind) or _PLACES["untrusted"]
        if REFUSED in metadata:
            cells[ended + _refusal(metadata[REFUSED])] += 1
            return
        response = flow.response
        if response is None:
            cells[ended + _CLASS[500]] += 1
            return
        answer = response.data
        done = answer.timestamp_end
        if done is not None:
            # A wall clock that is set back between the two must not yield a negative time.
            began = flow.request.data.timestamp_start
            seconds = done - began if done > began else 0.0
            cells[durations + bisect_left(BOUNDS, seconds)] += 1
            cells[total] += int(seconds * 1e9)
            cells[latency + index(int(seconds * _STEPS_PER_SECOND + 0.5) or 1)] += 1
        status = answer.status_code
        # Last, so that a request that has ended has been counted everywhere.
        cells[ended + (_CLASS[status] if 0 <= status < 600 else _CLASS[599])] += 1

    def error(self, flow: http.HTTPFlow) -> None:
        """Count a request that was never (wholly) answered."""
        metadata = flow.metadata
        ended, *_ = _PLACES.get(metadata.get(KIND, "")) or _PLACES["untrusted"]
        # What the sidecar itself refused is not an error, even where it closed the connection instead of answering.
        self._cells[ended + (_refusal(metadata[REFUSED]) if REFUSED in metadata else _FAILED)] += 1


def _refusal(reason: str) -> int:
    return _REFUSALS.get(reason, _WITHHELD)
