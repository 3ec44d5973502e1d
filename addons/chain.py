"""The add-ons in the order in which a request meets them."""

from dataclasses import dataclass

from addons.books import Books, Row
from addons.capture import Capture
from addons.control import Control
from addons.guard import Guard
from addons.meter import Meter
from addons.tag import Tag


@dataclass(frozen=True, slots=True)
class Chain:
    """One process's add-ons."""

    tag: Tag
    meter: Meter
    guard: Guard
    capture: Capture
    control: Control | None
    """None where a supervisor serves the control port."""

    def addons(self) -> list[Tag | Meter | Guard | Capture | Control]:
        """List them in order: whatever is classified is counted, then let through or refused, then recorded."""
        ours: list[Tag | Meter | Guard | Capture | Control] = [self.tag, self.meter, self.guard, self.capture]
        return [*ours, self.control] if self.control else ours


def chain() -> Chain:
    """Put a sidecar of one process together: its books are its own, and it serves the control port itself."""
    books = Books.alone()
    made = worker_chain(books, books.rows[0])
    return Chain(made.tag, made.meter, made.guard, made.capture, Control(books, made.tag))


def worker_chain(books: Books, row: Row) -> Chain:
    """Put together what one worker of several needs. It counts in `row`."""
    return Chain(Tag(), Meter(row), Guard(books, row), Capture(row.counts), None)
