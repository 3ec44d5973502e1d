"""The load tag of what is being served, for whoever asks.

A context variable: each asyncio task and each thread sees the tag of its own request. Middleware sets it, and whatever
takes work out of a queue: ``with serve(extract(message.headers)):``.
"""

from __future__ import annotations

from contextvars import ContextVar

TYPE_CHECKING = False  # see `loadtag`
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token

    from loadtag.tag import LoadTag


class Served:
    """A synthetic request, message or task is being served."""

    __slots__ = ("tag", "token")

    def __init__(self, tag: LoadTag, token: str) -> None:
        """`tag` is what the load tag says, `token` the tag as it came and as it has to be passed on."""
        self.tag = tag
        self.token = token

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Served) and self.token == other.token and self.tag == other.tag

    def __hash__(self) -> int:
        return hash(self.token)

    def __repr__(self) -> str:
        return f"Served(run={self.tag.run_id!r})"


class Dark:
    """A dark copy is being served: a copy of a real request, sent to a service that users don't see."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        """`name` is what the sidecar that sent the copy calls it."""
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dark) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Dark({self.name!r})"


serving: ContextVar[Served | Dark | None] = ContextVar("loadtag")
"""What is being served. None: something real. Not set at all: nothing that anybody told us of."""

elsewhere: list[Callable[[], Served | Dark | None]] = []
"""Who is asked where `serving` was not set: other libraries that carry the tag with them (`loadtag.opentelemetry`)."""


def current() -> Served | Dark | None:
    """Return what is being served if it is synthetic or a dark copy, otherwise None."""
    try:
        return serving.get()
    except LookupError:
        pass
    for ask in elsewhere:
        found = ask()
        if found is not None:
            return found
    return None


def current_tag() -> LoadTag | None:
    """Return the tag of the request being served, or None for a real request and outside of any request."""
    served = current()
    return served.tag if isinstance(served, Served) else None


def current_token() -> str | None:
    """Return the token of the request being served, as it has to be passed on, or None."""
    served = current()
    return served.token if isinstance(served, Served) else None


def current_run() -> str | None:
    """Return the id of the run that sent the request being served, or None."""
    served = current()
    return served.tag.run_id if isinstance(served, Served) else None


def is_load_test() -> bool:
    """Tell whether the request being served is synthetic: then don't charge, mail, ship or count it."""
    return isinstance(current(), Served)


def is_dark() -> bool:
    """Tell whether the request being served is a dark copy: somebody real was or will be served by the original."""
    return isinstance(current(), Dark)


class serve:  # noqa: N801 - used like a function: ``with serve(extract(headers)):``
    """While the block runs, this is being served: what `loadtag.propagation.extract` returned, None for something real.

    None counts: work that is real stays real, whatever the thread that does it did before.
    """

    __slots__ = ("_entered", "_served")

    def __init__(self, served: Served | Dark | None) -> None:
        self._served = served
        self._entered: list[Token[Served | Dark | None]] = []  # more than one where a block is used within itself

    def __enter__(self) -> None:
        self._entered.append(serving.set(self._served))

    def __exit__(self, *_: object) -> None:
        if not self._entered:
            return
        before = self._entered.pop()
        try:
            serving.reset(before)
        except ValueError:
            # Some frameworks leave a block in another context than they entered it in (generators run in thread
            # pools). What was set there is not for us to change; but nothing of this block may be left here.
            if serving.get(None) is self._served:
                old = before.old_value
                serving.set(old if isinstance(old, (Served, Dark)) else None)
