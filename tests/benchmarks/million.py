"""A million requests through `reamp sidecar`, of all sizes, from connections that come and go, to an app that is
killed again and again. The figures are a by-product: what counts is that there is no fault, else this fails.
"""

from typing import NamedTuple

from tests.benchmarks.measuring import Bench
from tests.benchmarks.tables import figure, markdown
from tests.support.endurance.course import run as run_course
from tests.support.lanes import Lane

PEERS = ()

REQUESTS = 1_000_000
RESTARTS = 20


class Course(NamedTuple):
    """One row of the table."""

    workers: int
    lane: Lane
    share: float
    """Of the requests: the full lane is not in a hurry."""


COURSES = (Course(1, "fast", 1), Course(2, "fast", 1), Course(1, "full", 0.1))


def run(bench: Bench) -> str:
    """Run every course once. Raises RuntimeError if a request was lost, mixed up or executed twice."""
    rows = []
    for course in COURSES:
        requests = round((REQUESTS // 50 if bench.quick else REQUESTS) * course.share)
        folder = bench.folder / f"{course.workers}-{course.lane}"
        result = run_course(folder, requests, course.workers, course.lane, RESTARTS, limit=3600)
        if faults := result.faults():
            raise RuntimeError("\n".join(faults))
        bench.say(f"  {course.workers} workers, {course.lane} lane: {result.rate:,.0f}/s, {dict(result.ended)}")
        ended = (result.ended[how] for how in ("answered", "aborted", "refused", "cut", "lost", "wrong"))
        rows.append(
            [
                f"{course.workers}, {course.lane} lane",
                f"{result.requests:,}",
                str(result.restarts),
                *(f"{count:,}" for count in ended),
                str(len(result.executed_twice)),
                figure(result.rate),
            ]
        )
    head = ["workers", "requests", "app killed", "answered", "client hung up", "502 or 504", "cut off"]
    return markdown([*head, "lost", "mixed up", "executed twice", "requests/s"], rows)
