"""The add-ons in the order in which a request meets them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from addons.books import Books, Row
from addons.capture import Capture
from addons.forwarded import Forwarded
from addons.guard import Guard
from addons.meter import Meter
from addons.tag import Tag

if TYPE_CHECKING:
    from addons.control import Control

    AddOn = Tag | Meter | Guard | Capture | Forwarded | Control


@dataclass(frozen=True, slots=True)
class Chain:
    """One process's add-ons."""

    tag: Tag
    meter: Meter
    guard: Guard
    capture: Capture
    forwarded: Forwarded
    control: "Control | None"
    """None where a supervisor serves the control port."""

    def addons(self) -> "list[AddOn]":
        """List them in order: whatever is classified is counted, then let through or refused, then recorded.

        Only then is something added to it: records hold what came.
        """
        ours: list[AddOn] = [self.tag, self.meter, self.guard, self.capture, self.forwarded]
        return [*ours, self.control] if self.control else ours


def chain() -> Chain:
    """Put a sidecar of one process together: its books are its own, and it serves the control port itself."""
    from addons.control import Control  # noqa: PLC0415 - a web server, which a worker has no use for

    books = Books.alone()
    made = worker_chain(books, books.rows[0])
    return Chain(made.tag, made.meter, made.guard, made.capture, made.forwarded, Control(books, made.tag))


def worker_chain(books: Books, row: Row) -> Chain:
    """Put together what one worker of several needs. It counts in `row`."""
    return Chain(Tag(), Meter(row), Guard(books, row), Capture(row), Forwarded(), None)
