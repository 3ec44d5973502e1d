"""The JSON schemas of what reamp writes for programs. `python -m replayer.reporting.schema docs` writes them."""

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from replayer.books.journal import Entry
from replayer.books.report import Report
from replayer.plan import Plan
from replayer.reporting.versus import Comparison

SCHEMAS: dict[str, tuple[type[BaseModel], str]] = {
    "report.schema.json": (Report, "report.json of a run of reamp replay"),
    "plan.schema.json": (Plan, "plan.json of a run, and what its report says of the plan"),
    "journal.schema.json": (Entry, "a line of a run's journal.jsonl"),
    "comparison.schema.json": (Comparison, "what reamp report RUN --against RUN2 --json prints"),
}


def schema(name: str) -> str:
    """Give one as text."""
    return schema_of(*SCHEMAS[name])


def schema_of(model: type[BaseModel], title: str) -> str:
    """Give a model's as text: what it writes, not what it reads."""
    made = model.model_json_schema(mode="serialization")
    made["title"] = title
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **made}, indent=1) + "\n"


if __name__ == "__main__":
    for each in SCHEMAS:
        (Path(sys.argv[1]) / each).write_text(schema(each))
