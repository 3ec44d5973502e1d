"""Where every request went. Nothing is missing and nothing is counted twice, at every moment. Pure."""

from collections import Counter
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from replayer.ceiling import Refusal
from replayer.transport import Failure, Shortage

Shed = Literal[Refusal, Shortage, "late", "stopped"]
"""Why a wanted request was not sent: the ceiling (credit, signal, lever), no connection for it (connections, backoff),
a sender that was held up (late), or the end of the run (stopped)."""


class Accounts(BaseModel):
    """Counts of requests. `reconciles` ties them together."""

    model_config = ConfigDict(validate_assignment=False)

    read: int = Field(0, description="records read from the recording, each time it was read")
    skipped: Counter[str] = Field(default_factory=Counter, description="records that can't be replayed, by reason")
    wanted: int = Field(0, description="requests that the demand asked for")
    shed: Counter[str] = Field(default_factory=Counter, description="wanted and not sent, by reason")
    sent: int = 0
    answered: int = Field(0, description="whole answers of the target, whatever their status")
    withheld: Counter[str] = Field(default_factory=Counter, description="answers of the guard: credit, lever")
    errors: Counter[str] = Field(default_factory=Counter, description="sent and not answered, by kind")
    unanswered: int = Field(0, description="on their way when the run was stopped")
    in_flight: int = Field(0, description="on their way now; none at the end")
    statuses: Counter[int] = Field(default_factory=Counter, description="answers of the target, by status")
    retried: int = Field(0, description="sent once more, because a stale connection had lost them; not in `sent`")
    bytes_sent: int = 0
    bytes_received: int = 0

    def reconciles(self) -> bool:
        """Whether nothing is missing and nothing counted twice."""
        settled = self.answered + self.withheld.total() + self.errors.total() + self.unanswered
        return (
            self.wanted == self.sent + self.shed.total()
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


__all__ = ["Accounts", "Failure", "Shed", "outcomes"]
