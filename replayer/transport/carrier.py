"""What a connection and its pool are to each other, whatever the connection speaks. Pure."""

from typing import Protocol

from replayer.requests.encoding import Request
from replayer.transport.failures import Failure
from replayer.transport.outcomes import Outcomes
from replayer.transport.target import Target

NEVER = 1 << 63
"""When the oldest request was sent on a connection that has none: after every limit."""


class Carrier(Protocol):
    """A connection."""

    room: bool
    """Whether it takes another request now."""

    @property
    def sent_ns(self) -> int:
        """When the oldest request was sent that is on its way; `NEVER` if none is."""

    def send(self, request: Request, due_ns: int, ready_ns: int, now_ns: int) -> None:
        """Send a request; only while there is `room`."""

    def send_again(self, request: Request, due_ns: int, sent_ns: int) -> None:
        """Send what another connection lost; it was counted then."""

    def expire(self, whole_ns: int, first_ns: int) -> None:
        """Give up what was sent before `whole_ns`, or before `first_ns` and has brought no byte yet."""

    def drop(self) -> None:
        """Close at once, and say nothing of the requests."""


class Owner(Protocol):
    """A pool, as its connections see it."""

    target: Target
    outcomes: Outcomes
    sent_bytes: int
    in_flight: int
    idle: dict[Carrier, None]
    """Those with room."""

    def clock(self) -> int:
        """Give the time, in monotonic nanoseconds."""

    def connected(self, connection: Carrier) -> None:
        """Take a connection that is there."""

    def release(self, connection: Carrier) -> None:
        """Take a connection back into service, if it has room."""

    def forget(self, connection: Carrier) -> None:
        """Drop a connection that can't serve any more."""

    def retry(self, request: Request, due_ns: int, sent_ns: int) -> bool:
        """Send again, over another connection, what one lost; False if that must not be."""

    def explain(self, failure: Failure, why: object) -> None:
        """Keep the first reason of each kind of failure, in words."""

    def hold_off(self, failure: Failure, why: object) -> None:
        """Wait before the next connection is tried: this one came to nothing."""

    def turned_down(self, failure: Failure, why: object) -> None:
        """Take note that a connection was given up by the other end, and nothing was answered on it."""

    def served(self) -> None:
        """Take note that a connection brought an answer."""
