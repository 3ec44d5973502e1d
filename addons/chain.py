"""The add-ons in the order in which a request meets them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from addons.books import Books, Row
from addons.capture import Capture
from addons.dark.accounts import Accounts
from addons.dark.handover import HandOver
from addons.forwarded import Forwarded
from addons.guard import Guard
from addons.internals.mending import mend
from addons.learning import Learning
from addons.meter import Meter
from addons.tag import Tag
from addons.tap import Tap
from addons.traces import Traces

TRACES = "traces"
"""The share in which workers and the egress know traces."""

if TYPE_CHECKING:
    from addons.control import Control

    AddOn = Tag | Meter | Guard | Tap | Capture | HandOver | Learning | Forwarded | Control


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
    tap: Tap | None = None
    """Only where what comes are copies."""
    dark: HandOver | None = None
    """None where no dark copies are made."""
    learning: Learning | None = None
    """None where there is no egress."""

    def addons(self) -> "list[AddOn]":
        """List them in order: whatever is classified is counted, then let through or refused, then recorded.

        Only then is something added to it: records hold what came.
        """
        ours: list[AddOn | None] = [
            self.tag,
            self.meter,
            self.guard,
            self.tap,
            self.capture,
            self.dark,
            self.learning,
            self.forwarded,
            self.control,
        ]
        return [one for one in ours if one is not None]


def chain() -> Chain:
    """Put a sidecar of one process together: its books are its own, and it serves the control port itself.

    For stock mitmproxy, which is mended where the app would get to see what no add-on has.
    """
    from addons.control import Control  # noqa: PLC0415 - a web server, which a worker has no use for

    mend()

    books = Books.alone()
    made = worker_chain(books, books.rows[0])
    return Chain(made.tag, made.meter, made.guard, made.capture, made.forwarded, Control(books, made.tag))


def worker_chain(books: Books, row: Row, shares: Mapping[str, int] | None = None, number: int = 0) -> Chain:
    """Put together what one worker of several needs. It counts in `row`, which is the `number`-th.

    `shares`: see `orders.Assignment`.
    """
    tap, given = books.shared.tap, shares or {}
    dark = learning = None
    if TRACES in given:
        learning = Learning(Traces(given[TRACES], number))
    if "dark-outlet" in given:
        dark = HandOver(books.shared, Accounts(given["dark-accounts"]), number, given["dark-outlet"], learning)
    return Chain(
        Tag(supervised=not books.exclusive, tap=bool(tap)),
        Meter(row),
        Guard(books, row),
        Capture(row, tap),
        Forwarded(),
        control=None,
        tap=Tap() if tap else None,
        dark=dark,
        learning=learning,
    )
