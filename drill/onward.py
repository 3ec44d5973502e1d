"""Onward: what a load script for another tool has to know of an incident, or of a drill. Edge: reads their files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from captures.exchange.options import WriteOptions
from captures.keyring import NOBODY, Identities
from captures.records import Record
from drill.incident import Incident, read_incident
from drill.running.folder import read_record
from drill.running.record import DrillRecord
from drill.story import Story
from replayer.requests.writes import SAFE_METHODS, Writes
from rules.exits import UserError
from rules.units import MILLION, Factor

_CHANGES = ("set_header", "remove_header", "keep_header", "renew_header", "rewrite", "token_from", "plugin")
"""What a drill may do to requests on their way, which a script that holds them as they were recorded does not."""


class Onward(NamedTuple):
    """An incident, and what its drill adds if there was one."""

    incident: Incident
    name: str
    to: str
    """URL of the clone; empty: there was no drill."""
    amplify: Factor
    unsent: Callable[[Record], str]
    """Says why the drill did not send a request, by its method and route; empty if it did."""
    only: str | None = None
    """What it chose to send, in mitmproxy's filter language."""
    but: str | None = None
    """And not to send."""
    notes: tuple[str, ...] = ()

    def options(self, target: str, amplify: Factor | None) -> WriteOptions:
        """Give what a script's writer has to be told."""
        story = self.incident.story
        return WriteOptions(
            target=target or self.to,
            first_ns=story.begin_ns,
            last_ns=story.end_ns - 1,
            source=self.name,
            end_ns=story.end_ns,
            grain=story.grain or 0,
            mean_seconds=mean_seconds(story),
            amplify=self.amplify if amplify is None else amplify,
            mark=self.name,
            nowhere=True,
        )


def onward(path: Path, identities: Identities = NOBODY) -> Onward:
    """Open the file of an incident, a capture, or the folder of a drill. Raises UserError."""
    if not (path / "drill.json").exists():
        incident = read_incident(path, identities)
        return Onward(incident, path.resolve().stem, "", Factor(MILLION), lambda _: "")
    record = read_record(path)
    incident = read_incident(path / "incident.reamp", identities)
    changed, sending = _changed(record), _sending(record)
    notes = [f"the clone of the drill is where it is sent: {record.to}"]
    if changed:
        notes.append(f"the drill changed requests ({changed}); here they are as they were recorded")
    only, but = (str(sending[name]) if sending.get(name) else None for name in ("only", "except"))
    return Onward(incident, record.drill, record.to, record.amplify, _unsent(record), only, but, tuple(notes))


def mean_seconds(story: Story) -> float:
    """Give how long an answer took, where that is known by route; 0 if not."""
    timed = [(route.count, route.mean) for route in story.routes if route.mean]
    requests = sum(count for count, _ in timed)
    return sum(count * mean for count, mean in timed) / requests if requests else 0.0


def _unsent(record: DrillRecord) -> Callable[[Record], str]:
    sending = _sending(record)
    methods = sending.get("methods") or SAFE_METHODS
    try:
        writes = Writes(sending.get("allow") or ())
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"drill.json does not read: plan.sending.allow: {error}") from None

    def why(one: Record) -> str:
        if one.method in methods or writes.allow(one.method, one.path):
            return ""
        return "requests that the drill did not send: their methods were not allowed"

    return why


def _changed(record: DrillRecord) -> str:
    sending = _sending(record)
    names = [name for name in _CHANGES if sending.get(name)]
    if sending.get("host", "target") != "target":
        names.append("host")
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def _sending(record: DrillRecord) -> dict[str, Any]:
    found = record.plan.get("sending")
    return found if isinstance(found, dict) else {}
