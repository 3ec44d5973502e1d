"""Which kinds of sources there are, and of which one a file is."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from captures import codec
from drill.sources import captured, counts, foreign, prometheus, rated, upsun
from drill.sources.wanted import Wanted
from drill.story import Story


class Kind(NamedTuple):
    """A kind of source."""

    name: str
    title: str
    looks_like: Callable[[str, bytes], bool]
    """Tells by a file's name and its first bytes, unpacked, whether it is one: `taking.GLANCE` bytes, or all of it."""
    take: Callable[[Sequence[Path], Wanted, Path], Story]
    """Write the incident of these files, all of this kind. Raises UserError."""


FOREIGN = Kind("requests", "requests", foreign.looks_like, foreign.take)
"""What is named with --format and --log-format, and what is left."""

RATED = (
    Kind("upsun", "Upsun's JSON", lambda _, start: upsun.looks_like(start), rated.take_upsun),
    Kind("prometheus", "a range query's result", lambda _, start: prometheus.looks_like(start), rated.take_prometheus),
    Kind("counts", "a table of counts", counts.looks_like, rated.take_counts),
)
"""Those that know rates only."""

KINDS: tuple[Kind, ...] = (
    Kind("capture", "capture", lambda _, start: codec.looks_like_ours(start), captured.take),
    *RATED,
    FOREIGN,
)
"""In the order in which a file is held against them."""
