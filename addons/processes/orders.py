"""What the supervisor and its processes say to each other: one JSON line each, down on stdin, up on stdout."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

DRAIN = 5.0
"""Seconds that requests under way are given to finish when a worker is told to end."""

RETIRE = 30.0
"""Seconds that open connections are given to ask once more, so that they can be told that it is the last time."""


MAX_LINE = 1 << 20
"""Bytes that a line may have."""


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def line(self) -> bytes:
        """Give it as it is sent: what says nothing is left out, as the other end may be of another version."""
        return self.model_dump_json(exclude_defaults=True).encode() + b"\n"


class Assignment(_Line):
    """The first line down: everything that a worker has to know. Nothing here is a secret."""

    post: int
    posts: list[list[int]]
    """The descriptors of each post's sockets. A worker accepts at its own post, at others when it is told to."""
    books: int
    """The descriptor of the books, and the row to count in."""
    row: int
    options: dict[str, Any]
    """mitmproxy's options, ours included."""
    shares: dict[str, int] = {}
    """Descriptors of what workers have in common with aides, by name."""
    holding: str = ""
    """File that says who is in charge, see `holding`."""
    in_charge: str = ""
    """What it says as long as this worker's supervisor is."""


class Errand(_Line):
    """The first line down to an aide: its settings, and descriptors by name. Nothing here is a secret."""

    settings: dict[str, Any]
    shares: dict[str, int] = {}
    row: int = 0
    """Where to count, see `tallies`."""


class Order(_Line):
    """Every further line down. No line any more means that the supervisor is gone."""

    do: Literal["attend", "retire"]
    at: list[int] = []
    """For ``attend``: the posts to accept at."""


class Report(_Line):
    """A line up: the process serves, or says why it can't."""

    ready: bool = False
    error: str = ""
    writer: str = ""
    """Id of the capture writer, which names the segments."""
    unread: str = ""
    """Why this process can't read public keys, so that no load tag counts with it. Empty: it can."""
