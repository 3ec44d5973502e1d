"""What a run asks of its lane, and a lane of its run. Pure."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from replayer.counting.ledger import Ledger
from replayer.permission.ceiling import Ceiling, Source, Unbounded
from replayer.stock import Supply
from replayer.stopping import Stop


class Lane(Protocol):
    """Sends what is due and allowed. Belongs to the event loop's thread, whatever threads of its own it has."""

    name: str
    """For people: ``python``."""

    @property
    def in_flight(self) -> int:
        """Requests that were sent and have no outcome yet."""

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection of their own."""

    @property
    def reasons(self) -> Mapping[str, str]:
        """Of each kind of connection that failed, the first error in words."""

    @property
    def damage(self) -> Sequence[str]:
        """What of the recording was found unreadable by others than the run's own process."""

    def begin(self, supply: Supply, deadline_ns: int) -> None:
        """Send what `supply` holds as it falls due, but nothing after `deadline_ns` (0: no such time)."""

    def wake(self) -> None:
        """Look again: more may be wanted. Called after every grant and on each beat."""

    def heard(self, source: Source) -> None:
        """Take in that a sidecar granted something, or that it pulled its lever: after each `Source.take`."""

    def beat(self, now_ns: int) -> None:
        """Look after what takes no part in sending: time-outs, and the ledger's histograms."""

    def set_gain(self, gain: int) -> None:
        """Let this share of what falls due go on, in millionths; all of it at the beginning. The rest is `backed-off`.

        With 0 nothing is sent any more, not even what waits for its connection, and nothing again that one lost.
        """

    def look(self) -> None:
        """Bring the ledger's accounts up to date, all at one moment: they reconcile."""

    def halt(self) -> int:
        """Begin no request any more, from this moment on. Give the number of those that were wanted and not begun.

        What waits for its own connection may still be sent, and what a connection lost be sent again, until `withdraw`:
        it was due before.
        """

    def withdraw(self) -> int:
        """Send nothing any more: give up what waits for a connection. Tell how many of them were never sent."""

    def close(self) -> int:
        """Close every connection at once; give the number of requests that stay without an outcome."""


class Host(Protocol):
    """A run, as its lane sees it."""

    ledger: Ledger
    ceiling: Ceiling | Unbounded

    def token(self) -> bytes:
        """Give the load tag's token, valid now."""

    def token_until(self) -> tuple[bytes, int]:
        """Give a token that is valid for the next moments, and until when it may be sent (monotonic ns)."""

    def stop(self, why: Stop, reason: str) -> None:
        """End the run; `Lane.halt` is called before this returns, unless it was before."""

    def refused_by_lever(self) -> None:
        """Take the news that a guard refused a request because its lever is pulled: the run stops."""

    def settled(self) -> None:
        """Take the news that a request has its outcome."""
