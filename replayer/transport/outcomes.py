"""What a pool tells of each request. Pure."""

from typing import Literal, NamedTuple, Protocol

from replayer.requests.encoding import Request
from replayer.transport.failures import Failure
from rules.wire import Withheld

Shortage = Literal["connections", "backoff"]
Withdrawal = Literal["signal", "lever", "backed-off", "connecting", Shortage]


class Body(NamedTuple):
    """An answer where bodies are kept: its body as it was sent, but for chunks, which are put together; its fields."""

    size: int
    """Bytes of all of it."""
    start: bytes
    """The first `Target.kept` of them."""
    coding: bytes
    """What the answer says that it is packed by (Content-Encoding)."""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """The fields of the answer's head, as they came; names in lower case."""


class Answer(NamedTuple):
    """A request that was answered. Times are those of the pool's clock."""

    request: Request
    due_ns: int
    sent_ns: int
    first_ns: int
    """When the first bytes of the answer came, be it an interim one (1xx)."""
    ended_ns: int
    status: int
    size: int
    """Bytes of the whole answer, head and 1xx too. Fields of HTTP/2 count as if they were not compressed."""
    withheld: Withheld | None
    """Set if the answer is the guard's and not the target's."""
    body: Body | None = None
    """None where none are kept."""


class Outcomes(Protocol):
    """Whom the pool tells what became of a request."""

    def answered(self, answer: Answer) -> None:
        """Take a whole answer."""

    def sent(self, due_ns: int, ready_ns: int, sent_ns: int) -> None:
        """Take the news that a request is written now, `sent_ns`, before the system call.

        From `due_ns` to `ready_ns` is what the sender took for itself, from then on it waited for a connection.
        """

    def withdrawal(self, since_ns: int, *, again: bool) -> Withdrawal | None:
        """Tell why a request that waited for its connection must not be sent any more.

        `since_ns`: when it was due, or when another connection lost it (`again`).
        """

    def withdrawn(self, request: Request, why: Withdrawal) -> None:
        """Take the news that a request was not sent."""

    def failed(self, request: Request, sent_ns: int | None, failure: Failure) -> None:
        """Take the news that `request` gets no answer; `sent_ns` is None if there was not even a connection."""

    def token(self) -> bytes:
        """Give the token that is put into a request at the moment of sending."""

    def may_retry(self) -> bool:
        """Tell whether a request that a stale connection lost may be sent once more (it spends credit again)."""

    def ready(self) -> None:
        """Take the news that a connection is free again, or may be opened again."""
