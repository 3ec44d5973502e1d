"""One recorded request with what became of it."""

from typing import NamedTuple

Headers = tuple[tuple[bytes, bytes], ...]


class Record(NamedTuple):
    """One real request and the outline of its answer.

    A named tuple, because it is made on the sidecar's hot path and packs without being taken apart. Text fields hold
    the bytes of the request line decoded as UTF-8 with `surrogateescape`, so they give back exactly what came in.
    """

    arrival_ns: int
    """Unix time, nanoseconds, not negative."""
    method: str
    scheme: str
    authority: str
    """Host and port as the client named them; empty if it named none."""
    path: str
    """Origin-form target with its query: ``/item/7?full=1``."""
    http_version: str
    """``HTTP/1.1``, ``HTTP/2.0``."""
    headers: Headers
    """(name, value) in the order received; repeated names stay repeated."""
    body: bytes
    """The part that was kept, ``b""`` if none."""
    body_size: int
    """Bytes that the client sent; larger than ``len(body)`` if the body was cut."""
    status: int
    """0: there was no answer, or nobody knows (`unknown`)."""
    response_size: int
    """Bytes of the answer's body."""
    ttfb_ns: int
    """From arrival to the first byte of the answer; -1: there was no answer."""
    duration_ns: int
    """From arrival to the last byte of the answer, or to when the request ended without one (which takes its time, if
    only a microsecond)."""

    @property
    def unknown(self) -> bool:
        """Whether nobody knows what became of it: it was recorded where no answers are seen, at a tap or elsewhere."""
        return not self.status and not self.duration_ns
