"""Amplification that keeps the time axis and the bursts. Pure and streaming.

Squeezing time stamps makes a recording louder and distorts it: bursts get shorter, pauses too, and caches, timers and
auto-scalers see a faster world (TraceUpscaler, EuroSys 2024). Sending each request several times at once makes bursts
where there were none. Here the original requests stay at their own instants, and more are added in between as they
would have come if there had been more users at that moment: at random, as densely as the original ones are there.

How dense that is, `intensity` finds out: pieces of time within which arrivals scatter as by chance. Those that are
added for the requests of a piece fall anywhere in it, with equal probability. So chance is not amplified (it would be
if they fell close to the requests that they are copies of), and bursts, pauses and slopes are. Only from windows wider
than `STRETCH` arrivals on is what was recorded simply multiplied: no more than that is looked at together.

An arrival may be None: the source has none at hand yet and wants to be asked again. It is passed on at once, so that
whoever reads can turn to something else in between. None also comes after much work that gave nothing.
"""

import random
from array import array
from collections.abc import Callable, Iterable, Iterator

from replayer.schedule.intensity import Partition
from replayer.schedule.stages import Loudness
from rules.units import MILLION, Factor

STRETCH = 8192
"""Arrivals among which pieces are found, and which are held for it; and those of one stretch more, read meanwhile."""

STRETCH_BYTES = 8 << 20
"""Bytes of them, which end a stretch before its time."""

PATIENCE = 32
"""Arrivals read in a row without giving any, before the reader is told that there is none at hand yet."""


def amplify[T](
    arrivals: Iterable[tuple[int, T] | None],
    loudness: Loudness,
    seed: int,
    begin_ns: int = 0,
    size: Callable[[T], int] = lambda _: 0,
    another: Callable[[T], T] = lambda item: item,
    stretch: int = STRETCH,
) -> Iterator[tuple[int, T] | None]:
    """Multiply sorted `arrivals` (ns, whatever arrives); sorted again, the same for the same seed.

    `loudness` gives the factor so long after `begin_ns`. Each arrival comes ``floor(factor)`` times and once more with
    the probability of the fraction, decided for each by itself: the factor is exact in expectation, and a count of n
    scatters about it by ``sqrt(n * fraction * (1 - fraction))``. The first copy stays where it is. However large the
    factor, at most two stretches of arrivals are held, bounded by number (`stretch`) and by `size` (`STRETCH_BYTES`).
    `another` makes what is added of the one that it is a copy of.
    """
    draw = random.Random(seed)
    if loudness.most == loudness.least == MILLION:
        return iter(arrivals)
    if loudness.most <= MILLION:
        return _thinned(arrivals, loudness, begin_ns, draw)
    return _added(arrivals, _Adding(loudness, begin_ns, draw, size, another, stretch))


def squeeze[T](
    arrivals: Iterable[tuple[int, T] | None], factor: Factor, start_ns: int
) -> Iterator[tuple[int, T] | None]:
    """Divide times since `start_ns` by `factor`: the named alternative, for whoever wants time itself to run faster."""
    return (arrival and (start_ns + (arrival[0] - start_ns) * MILLION // factor, arrival[1]) for arrival in arrivals)


def _thinned[T](
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


_LET_GO = 2
"""Arrivals of a stretch that was played which are let go of for each that is read: sooner than the next is played."""


class _Stretch[T]:
    """Arrivals among which pieces are found, with how often each is to come.

    What a piece needs to know of its arrivals is summed up as they come: to begin a piece costs next to nothing.
    """

    def __init__(self, most: int, factor: Factor, another: Callable[[T], T]) -> None:
        # Arrays, since what is numbers goes away in one piece: thousands of objects at once would take a millisecond.
        self.times = array("q")
        self.items: list[T] = []
        self.total = 0
        """How often all of them come."""
        self._most = most
        self._factor = factor
        self._another = another
        self._bytes = 0
        self._copies = array("q")
        self._left = array("q")  # of each, copies beside the first that are still to come
        self._added = array("q")  # how many of those all before it have
        self._several = array("q")  # the numbers of those that have any
        self._before = array("q")  # for each number, how many such are before it
        self._partition = Partition()

    def add(self, at: int, item: T, copies: int, size: int) -> None:
        """Take the next arrival."""
        left = max(0, copies - 1)
        self._added.append(self._added[-1] + self._left[-1] if self._left else 0)
        self._before.append(len(self._several))
        if left:
            self._several.append(len(self.items))
        self._left.append(left)
        self._copies.append(copies)
        self.times.append(at)
        self.items.append(item)
        self.total += copies
        self._bytes += size
        self._partition.add(at)

    def over(self, factor: Factor) -> bool:
        """Whether the next arrival is one of the next stretch: this one is full, or louder or softer by a hundredth.

        Copies must not fall into a time in which there are to be fewer.
        """
        full = len(self.items) >= self._most or self._bytes >= STRETCH_BYTES
        return full or abs(factor - self._factor) * 100 > self._factor

    def end(self, at: int) -> None:
        """Take note of when the next stretch begins."""
        self.times.append(at)
        self._partition.add(at)

    def play(self, draw: random.Random) -> Iterator[tuple[int, T]]:
        """Give all of them, and their copies, sorted."""
        times, last = self.times, len(self.items)
        pieces = self._partition.pieces()
        begin = 0
        for number, (_, end) in enumerate(pieces):
            if end <= begin:
                continue  # it went with the piece before
            stop = end
            if number + 1 == len(pieces):
                stop = last  # without a next stretch the last arrival has no gap of its own
            elif pieces[number + 1][1] == end + 1 and self._longer(end, begin):
                stop = end + 1
            yield from self._piece(begin, stop, times[end], draw)
            begin = stop
        if begin < last:
            yield from self._piece(begin, last, times[last - 1], draw)

    def _longer(self, gap: int, begin: int) -> bool:
        """Tell whether a gap is a pause after the piece before it: then what arrived at its beginning belongs there."""
        times = self.times
        return (times[gap + 1] - times[gap]) * (gap - begin) > times[gap] - times[begin]

    def _piece(self, begin: int, stop: int, until: int, draw: random.Random) -> Iterator[tuple[int, T]]:
        """Give the arrivals from `begin` to before `stop`, and their copies at random times up to `until`."""
        times, items, copies, left, random_ = self.times, self.items, self._copies, self._left, draw.random
        since = times[begin]
        span = until - since
        if stop < len(items):
            extra = self._added[stop] - self._added[begin]
            waiting = self._several[self._before[begin] : self._before[stop]]
        else:
            extra = self._added[-1] + left[-1] - self._added[begin]
            waiting = self._several[self._before[begin] :]
        # The times of those that are added, from early to late, as if drawn all at once and sorted: the least of n
        # numbers drawn evenly from what is left. And whose copies they are: everybody's once, in random order, again.
        past, position = 0.0, 0
        following = begin
        while extra:
            past += (1.0 - past) * (1.0 - random_() ** (1.0 / extra))
            extra -= 1
            at = since + int(span * past)
            while following < stop and times[following] <= at:
                if copies[following]:
                    yield times[following], items[following]
                following += 1
            other = position + int(random_() * (len(waiting) - position))
            waiting[position], waiting[other] = waiting[other], waiting[position]
            number = waiting[position]
            left[number] -= 1
            if left[number]:
                position += 1
            else:
                waiting[position] = waiting[-1]
                waiting.pop()
            if position >= len(waiting):
                position = 0
            yield at, self._another(items[number])
        for number in range(following, stop):
            if copies[number]:
                yield times[number], items[number]


class _Adding[T]:
    """One stretch is played while the next one is read."""

    def __init__(
        self,
        loudness: Loudness,
        begin_ns: int,
        draw: random.Random,
        size: Callable[[T], int],
        another: Callable[[T], T],
        most: int,
    ) -> None:
        self._loudness, self._begin_ns = loudness, begin_ns
        self._size, self._another, self._most = size, another, most
        self._decide, self._place = random.Random(draw.random()), random.Random(draw.random())
        self._reading: _Stretch[T] | None = None
        self._playing: Iterator[tuple[int, T]] = iter(())
        self._played: list[T] = []  # let go of a few at a time
        self._items: list[T] = []
        self._total = self._given = 0  # of the stretch that is played

    def take(self, at: int, item: T) -> Iterator[tuple[int, T]]:
        """Take the next arrival; give as large a part of the one stretch as was read of the other."""
        factor = self._loudness.at(at - self._begin_ns)
        copies, fraction = divmod(factor, MILLION)
        copies += self._decide.random() * MILLION < fraction
        reading = self._reading
        if reading is None or reading.over(factor):
            if reading is not None:
                reading.end(at)
                yield from self._playing
                self._play(reading)
            reading = self._reading = _Stretch[T](self._most, factor, self._another)
        reading.add(at, item, copies, self._size(item))
        del self._played[-_LET_GO:]
        while self._given * self._most < self._total * len(reading.items):
            self._given += 1
            yield next(self._playing)

    def rest(self) -> Iterator[tuple[int, T]]:
        """Give what is left at the end."""
        yield from self._playing
        if self._reading is not None:
            yield from self._reading.play(self._place)

    def _play(self, stretch: _Stretch[T]) -> None:
        self._played, self._items = self._items, stretch.items
        self._playing, self._total, self._given = stretch.play(self._place), stretch.total, 0


def _added[T](arrivals: Iterable[tuple[int, T] | None], adding: _Adding[T]) -> Iterator[tuple[int, T] | None]:
    fruitless = 0
    for arrival in arrivals:
        if arrival is None:
            yield None
            continue
        fruitless += 1
        for item in adding.take(*arrival):
            fruitless = 0
            yield item
        if fruitless == PATIENCE:
            fruitless = 0
            yield None
    yield from adding.rest()
