"""What a reader or writer of files has to be told. Pure."""

from collections.abc import Iterator
from itertools import count
from typing import NamedTuple


class ReadOptions(NamedTuple):
    """For what a file does not say by itself."""

    times: Iterator[int]
    """Arrivals for requests without a time, Unix nanoseconds."""
    authority: str = ""
    """Host and port of requests that name none."""
    scheme: str = "http"
    log_format: str = ""
    """Of access logs: `combined`, `common`, `json`, a format string or a mapping. Empty: guessed."""


class WriteOptions(NamedTuple):
    """For what a capture does not say by itself."""

    target: str = ""
    """Where requests are to go instead: ``http://127.0.0.1:8000``, without a path."""
    first_ns: int = 0
    last_ns: int = 0
    """Arrivals that the records lie between."""
    records: int = 0
    """How many there are; 0 if that is not known before."""
    source: str = ""
    """What the records come from, for people."""


def evenly(start_ns: int, per_second: float) -> Iterator[int]:
    """Give arrivals at an even rate, each computed from the start so that nothing adds up."""
    return (start_ns + round(number * 1e9 / per_second) for number in count())
