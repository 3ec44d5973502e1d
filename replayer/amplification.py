"""Amplification that keeps the time axis. Pure and streaming.

Squeezing time stamps makes a recording louder and distorts it: bursts get shorter, pauses too, and caches, timers and
auto-scalers see a faster world (TraceUpscaler, EuroSys 2024). Here the original requests stay at their own instants
and more are added between them, as densely as they already are at that place.
"""

import heapq
import random
from collections import deque
from collections.abc import Iterable, Iterator

from rules.units import MILLION, Factor

NEIGHBOURS = 16
"""How many arrivals to either side an added one may fall between: near enough to share its burst or its pause."""


def amplify[T](
    arrivals: Iterable[tuple[int, T]], factor: Factor, seed: int, neighbours: int = NEIGHBOURS
) -> Iterator[tuple[int, T]]:
    """Multiply sorted `arrivals` (ns, whatever arrives) by `factor`; sorted again, the same for the same seed.

    At 1x and above each arrival stays where it is, ``floor(factor) - 1`` more are added for each and one more with the
    probability of the fraction. An added one is placed at a position drawn evenly from ``[i - neighbours, i +
    neighbours]`` among the arrivals, and in time linearly between the two it falls between: the inverse of the local
    arrival intensity. Below 1x each is kept with that probability. Holds at most ``2 * neighbours`` arrivals.
    """
    draw = random.Random(seed)
    if factor < MILLION:
        return (arrival for arrival in arrivals if draw.random() * MILLION < factor)
    return _add(arrivals, factor, draw, neighbours)


def squeeze[T](arrivals: Iterable[tuple[int, T]], factor: Factor, start_ns: int) -> Iterator[tuple[int, T]]:
    """Divide times since `start_ns` by `factor`: the named alternative, for whoever wants time itself to run faster."""
    return ((start_ns + (at - start_ns) * MILLION // factor, item) for at, item in arrivals)


def _add[T](
    arrivals: Iterable[tuple[int, T]], factor: Factor, draw: random.Random, neighbours: int
) -> Iterator[tuple[int, T]]:
    copies, fraction = divmod(factor - MILLION, MILLION)
    if not copies and not fraction:
        yield from arrivals
        return
    source = iter(arrivals)
    window: deque[tuple[int, T]] = deque()  # the arrivals around the one in hand, in order
    here = 0  # where in the window that one stands
    ready: list[tuple[int, int, T]] = []  # a heap; the number keeps equal times in order and items uncompared
    number = 0
    while True:
        while len(window) <= here + neighbours and (arrival := next(source, None)) is not None:
            window.append(arrival)
        if here == len(window):
            break
        at, item = window[here]
        heapq.heappush(ready, (at, number, item))
        number += 1
        for _ in range(copies + (draw.random() * MILLION < fraction)):
            heapq.heappush(ready, (_place(window, here, neighbours, draw), number, item))
            number += 1
        # Whatever is added from now on falls on the first arrival still in reach of the next one, or later.
        if here == neighbours:
            window.popleft()
        else:
            here += 1
        while window and ready and ready[0][0] <= window[0][0]:
            at, _, item = heapq.heappop(ready)
            yield at, item
    while ready:
        at, _, item = heapq.heappop(ready)
        yield at, item


def _place[T](window: deque[tuple[int, T]], here: int, neighbours: int, draw: random.Random) -> int:
    position = draw.uniform(max(0, here - neighbours), min(len(window) - 1, here + neighbours))
    left = min(int(position), len(window) - 1)
    right = min(left + 1, len(window) - 1)
    before, after = window[left][0], window[right][0]
    return before + int((after - before) * (position - left))
