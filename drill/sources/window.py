"""Which time of a capture is the incident. Pure. Moments are Unix time in nanoseconds."""

from typing import NamedTuple

from captures.moments import iso, span
from rules.exits import UserError

OPTIONS = ("--from", "--until")


class Window(NamedTuple):
    """The incident's time, and what is to be said of it."""

    begin_ns: int
    end_ns: int
    """Exclusive."""
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end_ns - self.begin_ns) / 1e9


def asked(from_: str | None, to: str | None, first_ns: int, last_ns: int) -> Window:
    """Understand which time was asked for of a source whose requests arrived from `first_ns` to `last_ns`.

    What lies outside of that is cut off, and told: nobody knows what came then. Raises UserError.
    """
    try:
        begin, end = span(from_, to, first_ns, last_ns, OPTIONS)
    except ValueError as error:
        raise UserError(str(error)) from None
    known = f"there are requests from {iso(first_ns)} to {iso(last_ns)}"
    if begin is not None and begin > last_ns:
        raise UserError(f"--from: nothing is known of {iso(begin)} and later: {known}")
    if end is not None and end <= first_ns:
        raise UserError(f"--until: nothing is known of the time before {iso(end)}: {known}")
    notes = []
    if begin is not None and begin < first_ns:
        notes.append(f"the source begins at {iso(first_ns)}, {_seconds(first_ns - begin)} after the time asked for")
    if end is not None and end > last_ns + 1:
        notes.append(f"the source ends at {iso(last_ns)}, {_seconds(end - last_ns)} before the time asked for")
    return Window(
        first_ns if begin is None else max(begin, first_ns),
        last_ns + 1 if end is None else min(end, last_ns + 1),
        tuple(notes),
    )


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e9:,.0f} s" if nanoseconds >= 1e10 else f"{nanoseconds / 1e9:.3g} s"
