"""What becomes of faults of ours: they are told once, and never raised into the app."""

from __future__ import annotations

_told: set[str] = set()


def tell(what: str) -> None:
    """Log a warning as ``loadtag``; the same one only once, for it may come with every request. Never raises."""
    if what in _told or len(_told) >= 100:
        return
    _told.add(what)
    import contextlib  # noqa: PLC0415 - cost time, and are needed where something is wrong only
    import logging  # noqa: PLC0415

    with contextlib.suppress(Exception):  # of the app's own handlers and filters
        logging.getLogger("loadtag").warning("%s", what)
