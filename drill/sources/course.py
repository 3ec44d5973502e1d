"""Counts of requests and of failures over time, as one pass over records in bounded memory. Pure."""

from captures.records import Record

MOST = 100_000
"""Intervals at most, whatever the time."""

FINEST_NS = 10_000_000
"""An interval is at least so long."""


def failed(record: Record) -> bool:
    """Whether a request got no answer, or one of 5xx. Of one whose end nobody knows that cannot be said."""
    return record.status >= 500 or not (record.status or record.unknown)


class Course:
    """Counts in equal intervals from `begin_ns` on; the last one ends at `end_ns` or after it."""

    def __init__(self, begin_ns: int, end_ns: int, width_ns: int) -> None:
        span = max(1, end_ns - begin_ns)
        self.begin_ns = begin_ns
        self.width_ns = max(width_ns, FINEST_NS, -(-span // MOST))
        self.requests = [0] * -(-span // self.width_ns)
        self.failed = [0] * len(self.requests)

    def add(self, record: Record) -> None:
        """Count a record; one from outside of the time does not count."""
        at = (record.arrival_ns - self.begin_ns) // self.width_ns
        if 0 <= at < len(self.requests):
            self.requests[at] += 1
            self.failed[at] += failed(record)

    def middle(self, number: int) -> int:
        """Give the moment in the middle of an interval."""
        return self.begin_ns + number * self.width_ns + self.width_ns // 2
