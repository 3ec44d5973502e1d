"""Keeping posts manned: when a worker that died is replaced, and who accepts in its place meanwhile. Pure."""

from collections.abc import Sequence

FIRST_DELAY = 0.25
LONGEST_DELAY = 15.0
FORGIVEN_AFTER = 60.0
"""Seconds: the pauses before the second, third, ... replacement double from the first to the longest, and begin anew
after a worker that ran this long."""


class Restarts:
    """When to start the next worker at one post. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.count = 0
        self._delay = 0.0

    def died(self, began: float, now: float) -> float:
        """Give the seconds to wait, after the death of a worker that was started at `began`.

        The first death is an accident, and real users wait: the replacement starts at once. A worker that dies
        again and again would only take the processor from the others.
        """
        self.count += 1
        if now - began >= FORGIVEN_AFTER:
            self._delay = 0.0
        delay = self._delay
        self._delay = min(max(FIRST_DELAY, 2 * delay), LONGEST_DELAY)
        return delay


def cover(well: Sequence[bool]) -> list[set[int]]:
    """Say at which posts each worker accepts, by which of the workers are `well`.

    Each accepts at its own. What comes in at the post of one that is not well is not left waiting there: the others
    take those posts in turn. If none is well, there is nobody to ask.
    """
    posts = [{post} for post in range(len(well))]
    able = [post for post, is_well in enumerate(well) if is_well]
    for number, post in enumerate(post for post, is_well in enumerate(well) if not is_well):
        if able:
            posts[able[number % len(able)]].add(post)
    return posts
