"""What real users get at the moment: a sliding window over the last seconds. Pure: time comes in."""

from hdrh.histogram import HdrHistogram

from rules.wire import Signal

_UNIT = 1e-5  # seconds to one count of the histograms
_LONGEST = 600 * 100_000  # ten minutes, in that unit


class _Second:
    """One second of the window."""

    __slots__ = ("arrived", "errors", "finished", "latency", "number")

    def __init__(self) -> None:
        self.number = -1
        self.latency = HdrHistogram(1, _LONGEST, 2)
        self.arrived = self.finished = self.errors = 0

    def restart(self, number: int) -> None:
        self.number = number
        self.latency.reset()
        self.arrived = self.finished = self.errors = 0


class SlidingSignal:
    """Rate, errors and latency over the last `seconds` whole seconds and the one that is running.

    Times are monotonic seconds. Latency percentiles have two significant digits (HdrHistogram).
    """

    def __init__(self, seconds: int, now: float) -> None:
        self.seconds = seconds
        self._began = now
        self._ring = [_Second() for _ in range(seconds + 1)]
        self._cached: tuple[float, Signal] | None = None

    def arrived(self, now: float) -> None:
        """Count one request that came in."""
        self._at(now).arrived += 1

    def finished(self, now: float, latency: float | None, error: bool) -> None:
        """Count one request that ended; `latency` in seconds, None if it was never answered."""
        second = self._at(now)
        second.finished += 1
        second.errors += error
        if latency is not None:
            second.latency.record_value(min(max(1, round(latency / _UNIT)), _LONGEST))

    def signal(self, now: float) -> Signal:
        """Sum the window up. Percentiles cost about 0.2 ms, so an answer serves for a tenth of a second."""
        if self._cached and 0 <= now - self._cached[0] < 0.1:
            return self._cached[1]
        oldest = int(now) - self.seconds
        seconds = [second for second in self._ring if oldest <= second.number <= int(now)]
        latency = HdrHistogram(1, _LONGEST, 2)
        for second in seconds:
            if second.finished:
                latency.add(second.latency)
        finished = sum(second.finished for second in seconds)
        looked_back = min(self.seconds + now - int(now), max(now - self._began, 1e-3))
        percentiles = latency.get_percentile_to_value_dict([50, 95, 99]) if latency.get_total_count() else {}
        signal = Signal(
            window=round(looked_back, 3),
            rate=sum(second.arrived for second in seconds) / looked_back,
            error_ratio=sum(second.errors for second in seconds) / finished if finished else None,
            **{f"p{point}": value * _UNIT for point, value in percentiles.items()},
        )
        self._cached = (now, signal)
        return signal

    def _at(self, now: float) -> _Second:
        number = int(now)
        second = self._ring[number % len(self._ring)]
        if second.number != number:
            second.restart(number)
        return second
