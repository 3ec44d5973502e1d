"""What a shop is told when it starts."""

import json
import os
from typing import Literal, NamedTuple, get_args

VARIABLE = "INCIDENT"

Fault = Literal["index", "queries", "lock"]
"""
- `index`: one page of many looks for something in a large table that has no index for it.
- `queries`: a page asks the database once for its list, and then again for each thing on it (N+1).
- `lock`: three pages write into the same row first, and hold its lock while they ask somebody else.
"""

FAULTS: tuple[Fault, ...] = get_args(Fault)

PRODUCTION, SMALL = 50_000, 12
"""Products that production has, and those of a clone that somebody filled by hand."""


class Setting(NamedTuple):
    """Comes as JSON in the environment."""

    database: str
    log: str
    """Where the access log goes."""
    fault: Fault
    fixed: bool

    def written(self) -> dict[str, str]:
        """The environment of a shop."""
        return {VARIABLE: json.dumps(self._asdict())}

    @classmethod
    def read(cls) -> "Setting":
        """Read it from the environment."""
        return cls(**json.loads(os.environ[VARIABLE]))
