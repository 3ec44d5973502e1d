"""The two ways through a sidecar, as far as this version has them."""

import functools
import re
from typing import Literal

from tests.support.processes import run

Lane = Literal["fast", "full"]


@functools.cache
def lanes() -> tuple[Lane, ...]:
    """Both lanes, if a sidecar can be told to use the full one only."""
    told = re.sub(r"\x1b\[[0-9;]*m", "", run("sidecar", "--help").stdout)
    return ("fast", "full") if "--no-fast-lane" in told else ("fast",)


def flags(lane: Lane) -> list[str]:
    """Flags of `reamp sidecar` that send everything through `lane` (the fast one hands over what it does not take)."""
    return ["--no-fast-lane"] if lane == "full" else []
