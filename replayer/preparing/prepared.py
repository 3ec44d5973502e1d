"""All that a run needs, once everything that can be checked beforehand was found good. Pure."""

import ssl
from typing import NamedTuple

from loadtag import Signer
from replayer.announcing.receivers import Receiver
from replayer.lanes.choice import Choice
from replayer.preparing.targets import Allowed
from replayer.preparing.terms import Terms
from replayer.requests.encoding import Encoder
from replayer.schedule.calendar import Calendar
from replayer.selection import Selection
from rules.wire import State


class Prepared(NamedTuple):
    """All that a run needs."""

    run_id: str
    capture: Selection
    """What is replayed of the recording."""
    encoder: Encoder
    signer: Signer
    tls: ssl.SSLContext | None
    states: dict[str, State]
    terms: Terms
    seconds: float
    """How long that lasts."""
    lane: Choice
    """How requests will leave."""
    share: float
    """Which share of the first records can be sent."""
    skipped: str
    """What was skipped of the first records, for people."""
    preview: list[tuple[str, str]]
    """What else was seen of them: (what, finding)."""
    targets: tuple[Allowed, ...]
    """The lists that allow the target."""
    calendar: Calendar
    """When it may run."""
    receivers: tuple[Receiver, ...]
    """Who is told of it."""
