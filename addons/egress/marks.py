"""What the egress's add-ons know of one call on its way, kept in the flow's metadata.

An add-on between `calls.Calls` and `calls.Passage` may read all of it, answer the call itself (``flow.response``) and
then say with what `OUTCOME`, and say by `PARTY` that the call leaves the trust boundary.
"""

from typing import cast

from mitmproxy import http

from addons import passage
from addons.egress.attribution import Attribution, By, CallKind
from addons.passage import RUN
from addons.traces import Run

CALL = passage.CALL
"""`attribution.CallKind`. Only those in `HELD_BACK` may be touched."""

HELD_BACK = passage.HELD_BACK

BY = "reamp_call_by"
"""`attribution.By`."""

TOKEN = "reamp_call_token"  # noqa: S105 - its name
"""Of a synthetic call: the token of its load tag. Its run is `addons.passage.RUN`, a dark one's what its mark says."""

PARTY = "reamp_call_party"
"""``third``: the call leaves the trust boundary, and no tag goes with it. Anything else: it stays inside."""

OUTCOME = "reamp_call_outcome"
"""What became of a call that was answered here: ``blocked`` or ``stubbed``; ``refused``: it may go nowhere."""


def mark(flow: http.HTTPFlow, found: Attribution) -> None:
    """Note whose call it is."""
    flow.metadata[CALL], flow.metadata[BY] = found.kind, found.by
    if found.run is not None:
        flow.metadata[TOKEN], flow.metadata[RUN] = found.run


def attribution_of(flow: http.HTTPFlow) -> Attribution:
    """Tell whose call it is. One that nobody has looked at is to be left alone."""
    metadata = flow.metadata
    run = Run(metadata[TOKEN], metadata[RUN]) if TOKEN in metadata else None
    return Attribution(cast("CallKind", metadata.get(CALL, "unattributed")), cast("By", metadata.get(BY, "fault")), run)
