"""How many rows a list in an answer has, and how large one is: a difference of sizes in words. Pure.

It is a guess and decides nothing. Of HTML the rows are the elements of lists and tables, those of which there are most;
of JSON, the elements of the longest array.
"""

import json
import re
from collections import Counter
from typing import Any, NamedTuple

FEWEST = 3
"""Rows of which there are fewer are no list."""

_TAGS = re.compile(rb"<(li|tr|article|option|dt|figure)[\s>]", re.IGNORECASE)
_NODES = 20_000
"""Parts of a document that are looked at."""


class Rows(NamedTuple):
    """A list."""

    number: int
    size: float
    """Bytes of one, in the mean."""

    def filling(self, size: float, other: int) -> int | None:
        """Say how many rows an answer of `other` bytes would have, of which one of `size` bytes has these. None: none.

        Two digits of it: it is not known better.
        """
        rows = self.number + (other - size) / self.size
        return int(float(f"{rows:.2g}")) if rows >= 1 else None


def rows(body: bytes) -> Rows | None:
    """Find the list that an answer consists of for the most part; None: there is none."""
    start = body.lstrip()[:1]
    if start in (b"{", b"["):
        return _of_json(body)
    return _of_html(body) if start == b"<" else None


def _of_html(body: bytes) -> Rows | None:
    found = [(match[1].lower(), match.start()) for match in _TAGS.finditer(body)]
    counts = Counter(tag for tag, _ in found)
    if not counts:
        return None
    ((tag, count),) = counts.most_common(1)
    places = [place for each, place in found if each == tag]
    # From the first one's begin to the last one's there is one fewer of them.
    return Rows(count, (places[-1] - places[0]) / (count - 1)) if count >= FEWEST else None


def _of_json(body: bytes) -> Rows | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    longest: list[Any] = []
    waiting, seen = [document], 0
    while waiting and seen < _NODES:
        node = waiting.pop()
        seen += 1
        if isinstance(node, list) and len(node) > len(longest):
            longest = node
        if isinstance(node, list | dict):
            waiting += list(node.values() if isinstance(node, dict) else node)[:_NODES]
    if len(longest) < FEWEST:
        return None
    return Rows(len(longest), max(1.0, len(json.dumps(longest, separators=(",", ":"))) / len(longest)))
