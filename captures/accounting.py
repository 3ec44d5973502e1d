"""Where every request went: the counters that the sidecar and the writer share."""

from dataclasses import asdict, dataclass

from rules.wire import Accounting


@dataclass(slots=True)
class Counts:
    """Counters since the sidecar started. Only ever touched on the event loop, so a snapshot is always consistent.

    Whoever sees a request counts `seen` and `in_flight`; when it ends, `in_flight` goes down and exactly one other
    counter goes up. A real request goes through `CaptureWriter.offer`, which counts `queued`, `written` and `dropped`.
    """

    seen: int = 0
    written: int = 0
    synthetic: int = 0
    untrusted: int = 0
    filtered: int = 0
    sampled_out: int = 0
    dropped: int = 0
    in_flight: int = 0
    queued: int = 0

    def snapshot(self) -> Accounting:
        """Give the counters as they stand, as the control port and the segments carry them."""
        fields = asdict(self)
        pending = fields.pop("in_flight") + fields.pop("queued")
        return Accounting(**fields, pending=pending)
