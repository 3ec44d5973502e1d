"""What a check finds, and the list of all findings: the model behind `preflight.json`. Pure."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field

from rules.exits import Exit

if TYPE_CHECKING:
    from replayer.preflight.scene import Scene

Outcome = Literal["ok", "failed", "warned", "skipped"]
"""warned: nothing speaks against a run, but somebody should know. skipped: it could not be tried, and why."""

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


class Found(NamedTuple):
    """What came of a check."""

    outcome: Outcome
    evidence: str
    """What was seen, with figures; of a check that was skipped, why."""
    advice: str = ""
    """What to do about it; empty if there is nothing to do."""


def ok(evidence: str) -> Found:
    """Say that it is as it should be."""
    return Found("ok", evidence)


def failed(evidence: str, advice: str) -> Found:
    """Say that it is not, and that no load may be sent before it is."""
    return Found("failed", evidence, advice)


def warned(evidence: str, advice: str) -> Found:
    """Say that it may be as it should be."""
    return Found("warned", evidence, advice)


def skipped(why: str, advice: str = "") -> Found:
    """Say that nobody knows, and why."""
    return Found("skipped", why, advice)


Look = Callable[["Scene"], Awaitable[Found]]


class Check(NamedTuple):
    """A question that is put to the live system."""

    name: str
    question: str
    look: Look
    needs: tuple[str, ...] = ()
    """Checks without whose success this one makes no sense."""


def check(name: str, question: str, *needs: str) -> Callable[[Look], Check]:
    """Make a check of a function."""
    return lambda look: Check(name, question, look, needs)


class Finding(BaseModel):
    """A check and what it found."""

    model_config = ConfigDict(frozen=True)

    check: str
    question: str
    outcome: Outcome
    evidence: str = Field(description="what was seen; of a check that was skipped, why")
    advice: str = Field("", description="what to do about it")
    seconds: float = Field(description="how long it took")


class Checklist(BaseModel):
    """All findings of one preflight."""

    model_config = ConfigDict(frozen=True)

    version: int = 1
    run: str
    target: str
    sidecars: tuple[str, ...]
    canary: str = Field(description="path that was asked for")
    started: float = Field(description="unix time")
    seconds: float
    requests: int = Field(description="requests that were sent to the target for it, each with a load tag")
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> Counter[Outcome]:
        """How many checks came out how."""
        return Counter(finding.outcome for finding in self.findings)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """Those that forbid a run."""
        return tuple(finding for finding in self.findings if finding.outcome == "failed")

    @property
    def exit_code(self) -> Exit:
        """How the command ends."""
        return Exit.PREFLIGHT if self.failures else Exit.DONE
