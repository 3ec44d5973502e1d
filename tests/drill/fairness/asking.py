"""Incidents and the answers of clones, made up for tests of what is concluded from them."""

from collections.abc import Iterable, Sequence
from typing import Any

from captures.records import Record
from drill.fairness.comparing import Finished, compare
from drill.fairness.fairness import Finding
from drill.fairness.population import Population, population
from drill.fairness.replies import Purpose, Reply
from drill.story import Story
from tests.support.recording import START_NS, record

STORY = Story(source="capture", told="", begin_ns=START_NS, end_ns=START_NS + 10**12, times="kept", outcomes="records")


def known(records: Iterable[Record], story: Story = STORY) -> Population:
    return population(records, story)


def reply(asked: Record, status: int = 200, size: int | None = None, purpose: Purpose = "drawn", **more: Any) -> Reply:
    """An answer to a request, as large as it was in the incident unless told otherwise."""
    told = asked.response_size if size is None else size
    return Reply(asked, purpose, status=status, size=told, **more)


def requests(path: str, count: int, **fields: Any) -> list[Record]:
    return [record(n / 10, path.format(n), **fields) for n in range(count)]


def compared(
    records: Sequence[Record], replies: Sequence[Reply], story: Story = STORY, changed: Sequence[str] = ()
) -> Finished:
    """Compare; replies go to the routes of what they asked for."""
    whole = known(records, story)
    by_route: dict[int, list[Reply]] = {}
    for each in replies:
        for number, route in enumerate(whole.routes):
            held = [*route.examples, *route.others, *([route.largest] if route.largest else [])]
            if any(each.record.path == mine.path and each.record.method == mine.method for mine in held):
                by_route.setdefault(number, []).append(each)
                break
        else:
            raise AssertionError(f"{each.record.path} is not kept")
    return compare(whole, by_route, {}, changed)


def about(found: Finished, kind: str) -> list[Finding]:
    return [finding for finding in found.findings if finding.kind == kind]
