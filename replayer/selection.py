"""The part of a recording that is replayed: a span of its time, and of that what a predicate chooses. Edge: reads it.

What lies outside the span is not read: blocks are found by the index. The predicate is handed in, because the filter
language is mitmproxy's, which this room does not know.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

from captures.codec import Frame
from captures.moments import Span
from captures.moments import span as between
from captures.reader import Capture
from captures.records import Record
from rules.exits import UserError

Chosen = Callable[[Record], bool]

EVERYTHING = Span(None, None)


class Selection:
    """A part of a recording, read like the whole of it."""

    def __init__(
        self, capture: Capture, span: Span = EVERYTHING, chosen: Chosen | None = None, begin_ns: int | None = None
    ) -> None:
        """`begin_ns`: when the first record arrived that can be replayed, if known. Nobody waits for what is before."""
        self.capture = capture
        self.span = span
        self.chosen = chosen
        self._begin_ns = begin_ns

    @property
    def path(self) -> Path:
        """Where the recording is."""
        return self.capture.path

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return self.span == EVERYTHING and self.chosen is None

    @property
    def damage(self) -> list[str]:
        """What of it was found unreadable so far, in words."""
        return self.capture.damage

    @cached_property
    def count(self) -> int:
        """Records, by the index: of a block that lies partly in the span, in proportion. Chosen or not."""
        if self.span == EVERYTHING:
            return self.capture.count
        return round(sum(self._within(frame) for segment in self.capture.segments for frame in segment.frames()))

    def _within(self, frame: Frame) -> float:
        low = frame.first_ns if self.span.start_ns is None else max(self.span.start_ns, frame.first_ns)
        high = frame.last_ns + 1 if self.span.end_ns is None else min(self.span.end_ns, frame.last_ns + 1)
        return max(0, high - low) / (frame.last_ns + 1 - frame.first_ns) * frame.records

    @property
    def first_ns(self) -> int | None:
        """When its time begins; None without records."""
        if self._begin_ns is not None:
            return self._begin_ns
        first = self.capture.first_ns
        return first if first is None or self.span.start_ns is None else max(first, self.span.start_ns)

    @property
    def last_ns(self) -> int | None:
        """When its time ends."""
        last = self.capture.last_ns
        return last if last is None or self.span.end_ns is None else min(last, self.span.end_ns)

    def records(self) -> Iterator[Record]:
        """All of its records, sorted by arrival."""
        records = self.capture.records(*self.span)
        return records if self.chosen is None else filter(self.chosen, records)

    def sifted(self) -> Iterator[Record | None]:
        """Give the same with None for each record that was not chosen, so that whoever reads is never kept long."""
        records = self.capture.records(*self.span)
        chosen = self.chosen
        if chosen is None:
            return records
        return (record if chosen(record) else None for record in records)


def span(capture: Capture, since: str | None, until: str | None) -> Span:
    """Understand ``--from`` and ``--until``, as in the commands on captures. Raises UserError."""
    try:
        return between(since, until, capture.first_ns or 0, capture.last_ns or 0, ("--from", "--until"))
    except ValueError as error:
        raise UserError(str(error)) from None
