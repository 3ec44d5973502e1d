"""Whose call it is: a synthetic request's, a dark copy's, or one to be left alone. Pure.

A call's own tag, or mark, decides before its trace does: the app, or the library in it, knows better than we do.
Whatever is not known to be synthetic or dark is left alone: it may be a real user's.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from addons.traces import Found, Run

CallKind = Literal["synthetic", "dark", "real", "unattributed"]
"""Of what sort of request a call is part. Real ones are only those that are known to be."""

By = Literal["tag", "trace", "contested", "unknown", "nothing", "tunnel", "fault"]
"""By what that was told: its own load tag, or mark of a dark copy; its trace; a trace that requests of both kinds bear;
a trace of which nothing is known; no trace at all; a tunnel that is not looked into; a fault of ours, by which it was
not found out."""

JUDGEMENTS: tuple[tuple[CallKind, By], ...] = (
    ("synthetic", "tag"),
    ("synthetic", "trace"),
    ("dark", "tag"),
    ("dark", "trace"),
    ("real", "trace"),
    ("real", "contested"),
    ("unattributed", "unknown"),
    ("unattributed", "nothing"),
    ("unattributed", "tunnel"),
    ("unattributed", "fault"),
)
"""All that can be said of a call."""


class Attribution(NamedTuple):
    """What is known of a call."""

    kind: CallKind
    by: By
    run: Run | None = None
    """Of a synthetic one; of a dark one that of the copies."""


def attribute(own: Run | None, traces: Iterable[Run | Found]) -> Attribution:
    """Say whose call it is.

    `own`: what its own tag says, if that was made with a key that is known, or its mark, if that is believed.
    `traces`: what is known of each trace that it bears, mostly one.
    """
    if own is not None:
        return Attribution(_kind(own), "tag", own)
    found = list(traces)
    if Found.CONTESTED in found:
        return Attribution("real", "contested")
    if Found.REAL in found:
        return Attribution("real", "trace")
    # Of two runs neither is right, but whoever bears both their traces is no user.
    run = min((one for one in found if isinstance(one, Run)), default=None)
    return Attribution(_kind(run), "trace", run) if run else Attribution("unattributed", _why(found))


def _kind(run: Run) -> CallKind:
    return "dark" if run.dark else "synthetic"


def _why(found: list[Run | Found]) -> By:
    return "unknown" if found else "nothing"
