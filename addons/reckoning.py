"""The sums over all rows of the books. Pure: the only thing read is the memory that is given."""

import sys
from array import array
from collections.abc import Iterable, Sequence

from addons.books import BOUNDS, KINDS, OUTCOMES, Row, cell
from addons.window import Totals
from captures.accounting import observed
from rules.credit import estimated
from rules.latency import CELLS
from rules.units import MILLION
from rules.wire import Accounting, Worker

_LATENCY = cell("latency")
_ERRORS = [OUTCOMES.index(outcome) for outcome in ("5xx", "error")]
_OURS = [OUTCOMES.index(outcome) for outcome in ("withheld", "denied")]
_UNKNOWN = [OUTCOMES.index(outcome) for outcome in ("copied", "excess")]


def requests(rows: Iterable[Row]) -> dict[str, dict[str, int]]:
    """Count requests by kind and outcome."""
    rows = list(rows)
    return {kind: dict(zip(OUTCOMES, _tally(rows, at), strict=True)) for at, kind in enumerate(KINDS)}


def in_flight(rows: Iterable[Row]) -> dict[str, int]:
    """Count the requests that are being answered, by kind."""
    rows = list(rows)
    return {kind: sum(row.in_flight(at) for row in rows) for at, kind in enumerate(KINDS)}


def durations(rows: Iterable[Row]) -> dict[str, tuple[list[int], float]]:
    """Give, by kind, how many requests took up to each of `BOUNDS` (and longer), and the seconds of all together."""
    rows, cells = list(rows), len(BOUNDS) + 1
    return {
        kind: (
            [sum(row.durations[at * cells + bound] for row in rows) for bound in range(cells)],
            sum(row.total_ns[at] for row in rows) / 1e9,
        )
        for at, kind in enumerate(KINDS)
    }


def arrived(rows: Iterable[Row], kind: str) -> int:
    """Count the requests of a kind that came."""
    at = KINDS.index(kind)
    return sum(row.arrived[at] for row in rows)


def real(rows: Iterable[Row], share: int = MILLION) -> int:
    """Count the real requests that have earned credit. `share`: how many millionths of them came by here."""
    return estimated(sum(row.real for row in rows), share)


def totals(rows: Iterable[Row], kind: str = "real", share: int = MILLION) -> Totals:
    """Give what the experience of a kind is made of: of requests that the sidecar did not refuse.

    `share`: how many millionths of the real requests came by here. What came as a copy has arrived, and nobody knows
    how it ended.
    """
    rows, at = list(rows), KINDS.index(kind)
    tally = _tally(rows, at)  # before the arrivals, so that no more have ended than have come
    refused, unknown = sum(tally[at] for at in _OURS), sum(tally[at] for at in _UNKNOWN)
    begin = _LATENCY + at * CELLS
    # All cells of two rows are added at once, as the digits of one large number: no sum comes near 64 bits.
    latency = sum(int.from_bytes(row.cells[begin : begin + CELLS].tobytes(), sys.byteorder) for row in rows)
    came = arrived(rows, kind) - refused
    return Totals(
        arrived=estimated(came, share) if kind == "real" else came,
        finished=sum(tally) - refused - unknown,
        errors=sum(tally[at] for at in _ERRORS),
        latency=array("q", latency.to_bytes(8 * CELLS, sys.byteorder)),
        unknown=unknown,
    )


def accounting(rows: Iterable[Row]) -> Accounting:
    """Sum the capture accounts up. They reconcile, whatever is going on meanwhile."""
    summed: dict[str, int] = {}
    for row in rows:
        for name, count in observed(row.counts).model_dump().items():
            summed[name] = summed.get(name, 0) + count
    return Accounting(**summed)


def capturing(rows: Iterable[Row], now_ns: int) -> bool:
    """Whether all workers there are have their records reach the disk."""
    live = [row for row in rows if row.pid]
    return bool(live) and all(row.counts.healthy(now_ns) for row in live)


def bytes_written(rows: Iterable[Row]) -> int:
    """Sum up what went into the capture log."""
    return sum(row.counts.bytes_written for row in rows)


def removed(rows: Iterable[Row]) -> tuple[int, int]:
    """Sum up the old segments that were removed, and their bytes."""
    counts = [row.counts for row in rows]
    return sum(one.removed_segments for one in counts), sum(one.removed_bytes for one in counts)


def withheld_bodies(rows: Iterable[Row]) -> int:
    """Sum up the bodies that were not kept because nobody could search them for secrets."""
    return sum(row.counts.withheld_bodies for row in rows)


def workers(rows: Iterable[Row]) -> list[Worker]:
    """List who carries traffic."""
    return [Worker(pid=row.pid, since=row.since_ns / 1e9, restarts=row.restarts) for row in rows if row.pid]


def _tally(rows: Sequence[Row], kind: int) -> list[int]:
    return [sum(column) for column in zip(*(row.tally(kind) for row in rows), strict=True)]
