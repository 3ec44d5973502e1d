"""Code of documents, run as it is printed."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE, README = ROOT / "docs" / "tag.md", ROOT / "loadtag" / "README.md"


def recipe(page: Path, heading: str, number: int = 0) -> dict[str, Any]:
    """Run one of the examples under a heading, and return what it defines."""
    section = re.split(r"^#{2,3} ", page.read_text().partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    names: dict[str, Any] = {"__name__": __name__}  # Flask looks for its files beside it
    exec(re.findall(r"```python\n(.*?)```", section, re.DOTALL)[number], names)  # the project's own text
    return names
