"""What stands in a run's journal: one JSON object a line, in the order in which it happened. Pure.

Every line has `at` (unix time, by the wall clock), `elapsed` (seconds since the run's folder was made, by the same
clock) and `event`, and for each event the fields named here; more may follow in later versions, none will go away.
"""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

EVENTS: Mapping[str, tuple[str, ...]] = {
    # what was planned, and by whom
    "plan": ("run", "to", "ceiling", "audience", "key", "operator", "host", "sends", "plan"),
    "damage": ("found",),
    "lane": ("taken", "because"),
    # before the load
    "preflight": ("requests", "seconds", "failed", "unwritten"),
    "ahead": ("ahead", "starts"),
    "warm-up": ("seconds",),
    "baseline": ("rule", "value", "number"),
    "start": ("of", "amplify", "top_up", "rate", "lane"),
    # what changed the load
    "stage": ("stage", "number"),
    "ceiling": ("sidecar", "ratio"),
    "signal lost": ("sidecar",),
    "signal found": ("sidecar",),
    "experience lost": ("sidecar", "because"),
    "experience found": ("sidecar",),
    "slo breached": ("rule", "value", "limit", "samples", "number", "because"),
    "slo held": ("rule", "value", "limit", "samples", "number", "because"),
    "gain": ("before", "after", "because"),
    # what ends a run
    "slo abort": ("rule", "value", "limit", "samples", "number", "because"),
    "lever": ("sidecar", "by", "reason"),
    "outside window": ("because",),
    "longest time": ("seconds",),
    "key over": ("key", "because"),
    # what ails it
    "stalled": ("seconds",),
    "recording loops": (),
    "plugin failed": ("how",),
    "diff ended": ("error",),
    "output ended": ("error",),
    # people
    "announced": ("what", "to"),
    "not announced": ("what", "to", "because"),
    # and its outcome
    "slo not judged": ("rule", "number", "because"),
    "stopped": ("why", "reason", "exit_code", "sent"),
}
"""Every event there is, and the fields that its line has at least."""


class Entry(BaseModel):
    """A line of the journal."""

    model_config = ConfigDict(extra="allow")

    at: float = Field(description="unix time, by the wall clock")
    elapsed: float = Field(description="seconds since the run's folder was made, by the same clock")
    event: str = Field(description="what happened", json_schema_extra={"enum": list(EVENTS)})
