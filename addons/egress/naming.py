"""Names that the egress and the supervisor have in common: what is counted, and what is inherited. Pure."""

from addons.egress.attribution import JUDGEMENTS

OUTCOMES = ("1xx", "2xx", "3xx", "4xx", "5xx", "error", "blocked", "stubbed", "refused")
"""What can become of a call: answered by whom it was for (status class), never answered; answered here by a rule for
third parties, or refused here."""

ANSWERED = ("blocked", "stubbed")
"""Outcomes of synthetic calls to third parties that did not go out."""

COUNTED = (
    *(f"{kind}/{by}/{outcome}" for kind, by in JUDGEMENTS for outcome in OUTCOMES),
    "forged",
    "refused",
)
"""What the egress counts, see `addons.processes.tallies`: calls by kind, by what that was told, and by outcome; forged
tags that were taken away; connections that would have come back to the sidecar."""

DOORS = "egress-door-"
"""What is inherited by this name and a number are the sockets to accept on."""

MEMORY = "traces"
"""File that says where the memory of traces can be had for as long as the egress lives: its process, and a descriptor
there."""
