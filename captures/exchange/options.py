"""What a reader or writer of files has to be told. Pure."""

from collections.abc import Iterator
from itertools import count
from random import Random
from typing import NamedTuple

from rules.units import MILLION, Factor


class ReadOptions(NamedTuple):
    """For what a file does not say by itself."""

    times: Iterator[int]
    """Arrivals for requests without a time, Unix nanoseconds."""
    authority: str = ""
    """Host and port of requests that name none."""
    scheme: str = "http"
    log_format: str = ""
    """Of access logs: `combined`, `common`, `json`, a format string or a mapping. Empty: guessed."""
    seed: int | None = None
    """Of files that count time in steps (as a log does in seconds): draw times within a step with this seed, all of it
    equally likely, as independent requests arrive. None: spread them evenly."""


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
    end_ns: int = 0
    """When the time that they were recorded in ends, exclusive; 0: the last one tells."""
    grain: float = 0
    """Seconds over which their rates are known; 0: each one's time is."""
    mean_seconds: float = 0
    """How long their answers took, for records that do not know; 0: nobody knows."""
    amplify: Factor = Factor(MILLION)
    """How much more than was recorded a script sends."""
    mark: str = ""
    """What the runs of a script are named after, in the header that marks each request; empty: none is marked."""
    nowhere: bool = False
    """Without a target a script sends nothing, rather than to where the records were recorded."""


def at_random(start_ns: int, per_second: float, seed: int) -> Iterator[int]:
    """Give arrivals at a mean rate that come independently of each other, as from many users (a Poisson process)."""
    drawn, seconds = Random(seed), 0.0
    while True:
        seconds += drawn.expovariate(per_second)
        yield start_ns + round(seconds * 1e9)


def evenly(start_ns: int, per_second: float) -> Iterator[int]:
    """Give arrivals at an even rate, each computed from the start so that nothing adds up."""
    return (start_ns + round(number * 1e9 / per_second) for number in count())
