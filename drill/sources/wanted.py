"""What was asked for when an incident is taken from what is left of it, whatever that is."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal, NamedTuple

from captures.exchange.intake import Asked
from captures.exchange.options import ReadOptions
from captures.keyring import NOBODY, Identities, Recipients
from captures.records import Record
from captures.redaction import Redactor
from rules.units import Duration

Telling = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""Shows people what is being done, and how far it has come of how much (None: nobody knows)."""


def silently(_what: str, _of: int | None) -> AbstractContextManager[Callable[[int], None]]:
    """Tell nobody."""
    return nullcontext(lambda _: None)


class Drawing(NamedTuple):
    """What is said of a source that knows rates only, and of how that which it does not know is filled in."""

    fill_from: tuple[Path, ...] = ()
    """Captures, or files of real requests, from which paths, headers, bodies and what is outside are filled."""
    values: tuple[str, ...] = ()
    """Tables of values for parameters of paths: ``ids.csv``, or for one route ``/product/{id}=ids.csv``."""
    leave_out_unfilled: bool = False
    """Leave out routes with parameters that nothing fills, instead of refusing."""
    scale_to_total: bool = False
    """Scale the known routes up to all traffic."""
    smooth: bool = False
    """Let the rate change within a grain as its neighbours suggest."""
    duration: Duration | None = None
    """How long a table counted that tells no times."""
    route_label: str = ""
    """Which label of Prometheus names the route; empty: the one of the usual names that there is."""
    method_label: str = ""
    status_label: str = ""
    series: Literal["counter", "rate", "increase"] | None = None
    """What the values of Prometheus mean; None: told by the name."""


class Wanted(NamedTuple):
    """What was asked for. Each kind of source takes what concerns it, and refuses what makes no sense for it."""

    from_: str | None = None
    """When the incident begins, as people write moments (`captures.moments.moment`); None: where the source does."""
    to: str | None = None
    """When it ends, exclusive."""
    around_peak: Duration | None = None
    """How much time around the worst moment, of what lies between `from_` and `to`."""
    only: str | None = None
    """What was given to leave requests out (in the words of mitmproxy's filters), for people..."""
    but: str | None = None
    matches: Callable[[Record], bool] | None = None
    """...and as a predicate; None: all stay."""
    identities: Identities = NOBODY
    """Who opens captures that are encrypted."""
    recipients: Recipients | None = None
    """Who may read the incident; None: all who have the file."""
    asked: Asked = Asked(ReadOptions(iter(()), seed=1), times_needed=True)
    """How files of other tools are read..."""
    redactor: Callable[[], Redactor | None] = lambda: None
    """...and what makes that which replaces secrets in them; None: nothing is replaced."""
    drawing: Drawing = Drawing()
    """For sources that know rates only."""
    seed: int = 1
    """What is drawn is drawn with it: same seed, same incident."""
    force: bool = False
    """Write over an incident that is there."""
    telling: Telling = silently
