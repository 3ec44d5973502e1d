"""The JSON schemas of what a drill writes. `python -m drill.reporting.schema docs` writes them."""

import sys
from pathlib import Path

from pydantic import BaseModel

from drill.fairness.fairness import Fairness
from drill.judging.verdict import Verdict
from drill.running.record import DrillRecord
from replayer.reporting.schema import schema_of

SCHEMAS: dict[str, tuple[type[BaseModel], str]] = {
    "verdict.schema.json": (Verdict, "verdict.json of a drill, and what reamp drill verdict --json prints"),
    "drill.schema.json": (DrillRecord, "drill.json of a drill: its steps, and what each was for"),
    "check.schema.json": (Fairness, "check.json of a drill, and what reamp drill check --json prints"),
}


def schema(name: str) -> str:
    """Give one as text."""
    return schema_of(*SCHEMAS[name])


if __name__ == "__main__":
    for each in SCHEMAS:
        (Path(sys.argv[1]) / each).write_text(schema(each))
