"""Where every request went. Nothing is missing and nothing is counted twice, whenever they are drawn up. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from replayer.permission.ceiling import Refusal
from replayer.transport import Shortage, Withdrawal

Shed = Literal[Refusal, Shortage, Withdrawal, "late", "stopped"]
"""Why a wanted request was not sent: the ceiling (credit, signal, lever), no connection for it (connections: all are
in use; backoff: the target accepts none; connecting: it took too long to), a sender that was held up (late), a rule
about what users get (backed-off), or the end of the run (stopped)."""


@dataclass(slots=True)
class Accounts:
    """Counts of requests. `reconciles` ties them together. A plain dataclass: several change for every request."""

    read: int = 0
    """Records read from the recording, each time it was read."""
    rounds: int = 0
    """Times that the whole recording was read and begun anew."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Records that can't be replayed, by reason."""
    wanted: int = 0
    """Requests that the demand asked for."""
    shed: Counter[str] = field(default_factory=Counter)
    """Wanted and not sent, by reason."""
    waiting: int = 0
    """Wanted, and due soon or waiting for their connection now; none at the end."""
    sent: int = 0
    """Written to a connection, or a connection for it was tried in vain (which is an error)."""
    answered: int = 0
    """Whole answers of the target, whatever their status."""
    withheld: Counter[str] = field(default_factory=Counter)
    """Answers of the guard: credit, lever."""
    errors: Counter[str] = field(default_factory=Counter)
    """Sent and not answered, by kind."""
    unanswered: int = 0
    """On their way when the run was stopped."""
    in_flight: int = 0
    """On their way now; none at the end."""
    statuses: Counter[int] = field(default_factory=Counter)
    """Answers of the target, by status."""
    retried: int = 0
    """Sent once more, because a stale connection had lost them; not counted in `sent`."""
    bytes_sent: int = 0
    bytes_received: int = 0

    def reconciles(self) -> bool:
        """Whether nothing is missing and nothing counted twice."""
        settled = self.answered + self.withheld.total() + self.errors.total() + self.unanswered
        return (
            self.wanted == self.sent + self.shed.total() + self.waiting
            and self.sent == settled + self.in_flight
            and self.answered == self.statuses.total()
        )


def outcomes(accounts: Accounts) -> dict[str, int]:
    """Sum up by outcome, for the metric `reamp_replay_requests_total`."""
    return {
        "answered": accounts.answered,
        "withheld": accounts.withheld.total(),
        "error": accounts.errors.total(),
        "unanswered": accounts.unanswered,
    }
