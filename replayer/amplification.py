"""Amplification that keeps the time axis. Pure and streaming.

Squeezing time stamps makes a recording louder and distorts it: bursts get shorter, pauses too, and caches, timers and
auto-scalers see a faster world (TraceUpscaler, EuroSys 2024). Here the original requests stay at their own instants
and more are added between them, as densely as they already are at that place.

An arrival may be None: the source has none at hand yet and wants to be asked again. It is passed on at once, so that
whoever reads can turn to something else in between.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from replayer.stages import Loudness
from rules.units import MILLION, Factor

NEIGHBOURS = 16
"""How many arrivals to either side an added one may fall between: near enough to share its burst or its pause."""

PATIENCE = 32
"""Arrivals left out in a row before the reader is told that there is none at hand yet."""


def amplify[T](
    arrivals: Iterable[tuple[int, T] | None],
    loudness: Loudness,
    seed: int,
    begin_ns: int = 0,
    neighbours: int = NEIGHBOURS,
    another: Callable[[T], T] = lambda item: item,
) -> Iterator[tuple[int, T] | None]:
    """Multiply sorted `arrivals` (ns, whatever arrives) by `factor`; sorted again, the same for the same seed.

    At 1x and above each arrival stays where it is, ``floor(factor) - 1`` more are added for each and one more with the
    probability of the fraction. An added one is placed at a position drawn evenly from ``[i - neighbours, i +
    neighbours]`` among the arrivals, and in time linearly between the two it falls between: the inverse of the local
    arrival intensity. Below 1x each is kept with that probability. Holds at most ``2 * neighbours`` arrivals.
    `another` makes what is added of the one that it is a copy of.
    """
    draw = random.Random(seed)
    if loudness.most <= MILLION:
        return _thin(arrivals, loudness, begin_ns, draw)
    return _add(arrivals, _Adding[T](loudness, begin_ns, draw, neighbours, another))


def squeeze[T](
    arrivals: Iterable[tuple[int, T] | None], factor: Factor, start_ns: int
) -> Iterator[tuple[int, T] | None]:
    """Divide times since `start_ns` by `factor`: the named alternative, for whoever wants time itself to run faster."""
    return (arrival and (start_ns + (arrival[0] - start_ns) * MILLION // factor, arrival[1]) for arrival in arrivals)


def _thin[T](
    arrivals: Iterable[tuple[int, T] | None], loudness: Loudness, begin_ns: int, draw: random.Random
) -> Iterator[tuple[int, T] | None]:
    left_out = 0
    for arrival in arrivals:
        if arrival is None or draw.random() * MILLION < loudness.at(arrival[0] - begin_ns):
            left_out = 0
            yield arrival
        else:
            left_out += 1
            if left_out % PATIENCE == 0:
                yield None


def _add[T](arrivals: Iterable[tuple[int, T] | None], adding: "_Adding[T]") -> Iterator[tuple[int, T] | None]:
    for arrival in arrivals:
        if arrival is None:
            yield None
        else:
            yield from adding.take(arrival)
    yield from adding.rest()


class _Adding[T]:
    """The arrivals around the one in hand, and those that are ready to go on."""

    def __init__(
        self, loudness: Loudness, begin_ns: int, draw: random.Random, neighbours: int, another: Callable[[T], T]
    ) -> None:
        self._loudness, self._begin_ns = loudness, begin_ns
        self._another = another
        self._draw = draw
        self._neighbours = neighbours
        self._window: deque[tuple[int, T]] = deque()  # in order
        self._here = 0  # where in the window the one in hand stands
        self._ready: list[tuple[int, int, T]] = []  # a heap; the number keeps equal times in order, items uncompared
        self._number = 0

    def take(self, arrival: tuple[int, T]) -> Iterator[tuple[int, T]]:
        """Take the next one of the source; give those that nothing can come before any more."""
        self._window.append(arrival)
        if len(self._window) > self._here + self._neighbours:
            yield from self._step()

    def rest(self) -> Iterator[tuple[int, T]]:
        """Give what is left at the end."""
        while self._here < len(self._window):
            yield from self._step()
        while self._ready:
            at, _, item = heapq.heappop(self._ready)
            yield at, item

    def _step(self) -> Iterator[tuple[int, T]]:
        window, here, ready = self._window, self._here, self._ready
        at, item = window[here]
        copies, fraction = divmod(self._loudness.at(at - self._begin_ns), MILLION)
        copies += self._draw.random() * MILLION < fraction
        if copies:
            self._push(at, item)
        for _ in range(copies - 1):
            self._push(_place(window, here, self._neighbours, self._draw), self._another(item))
        # Whatever is added from now on falls on the first arrival still in reach of the next one, or later.
        if here == self._neighbours:
            window.popleft()
        else:
            self._here += 1
        while window and ready and ready[0][0] <= window[0][0]:
            at, _, item = heapq.heappop(ready)
            yield at, item

    def _push(self, at: int, item: T) -> None:
        heapq.heappush(self._ready, (at, self._number, item))
        self._number += 1


def _place[T](window: deque[tuple[int, T]], here: int, neighbours: int, draw: random.Random) -> int:
    position = draw.uniform(max(0, here - neighbours), min(len(window) - 1, here + neighbours))
    left = min(int(position), len(window) - 1)
    right = min(left + 1, len(window) - 1)
    before, after = window[left][0], window[right][0]
    return before + int((after - before) * (position - left))
