"""What a connection waits for, and how long it may."""

from enum import Enum


class Phase(Enum):
    """What a connection waits for at the moment."""

    IDLE = "the next request"
    HEAD = "the rest of a request's head"
    CLIENT = "the client: the rest of a body, or room for an answer"
    APP = "the app"
    TASK = "an add-on, or a connection to the app: they end by themselves"
    LINGER = "the client's end of the connection, after the last answer"


HEAD_TIMEOUT = 60.0
"""Seconds from the first byte of a request's head to its last."""

LINGER_TIMEOUT = 2.0
"""Seconds for which a client that is still sending is listened to after its last answer. Closing at once would reset
the connection, and the answer could be lost with it (RFC 9112, 9.6)."""


def limit(phase: Phase, client: float, upstream: float) -> float:
    """Give the seconds that a phase may last, `client` and `upstream` being the configured ones."""
    return {
        Phase.IDLE: client,
        Phase.HEAD: min(client, HEAD_TIMEOUT),
        Phase.CLIENT: client,
        Phase.APP: upstream,
        Phase.TASK: float("inf"),
        Phase.LINGER: LINGER_TIMEOUT,
    }[phase]
