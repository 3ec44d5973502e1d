"""The load tag of the request being served, for whoever asks.

A context variable: each asyncio task and each thread sees the tag of its own request. The middleware sets it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadtag.tag import LoadTag

serving: ContextVar[LoadTag | None] = ContextVar("loadtag", default=None)
"""What the middleware sets. Apps ask the functions below instead."""


def current_tag() -> LoadTag | None:
    """Return the tag of the request being served, or None for a real request and outside of any request."""
    return serving.get()


def current_run() -> str | None:
    """Return the id of the run that sent the request being served, or None."""
    tag = serving.get()
    return None if tag is None else tag.run_id


def is_load_test() -> bool:
    """Tell whether the request being served is synthetic: then don't charge, mail, ship or count it."""
    return serving.get() is not None
