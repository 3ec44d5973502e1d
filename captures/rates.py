"""The shape of traffic over time, from block heads alone. Pure."""

from collections.abc import Iterable, Sequence

from captures.codec import Frame

_BARS = "▁▂▃▄▅▆▇█"


def spread(frames: Iterable[Frame], start_ns: int, end_ns: int, buckets: int) -> list[float]:
    """Give the number of records in each of `buckets` equal parts of [start_ns, end_ns].

    A block's records are taken as spread evenly over its span, which is exact enough for a picture.
    """
    width = max(end_ns - start_ns, 1) / buckets
    counts = [0.0] * buckets
    for frame in frames:
        # A block of one moment gets a width, and at the very end of the span that width lies inside it too.
        low = min((frame.first_ns - start_ns) / width, buckets - 1e-6)
        high = min(max((frame.last_ns - start_ns) / width, low + 1e-6), float(buckets))
        for bucket in range(max(0, int(low)), min(buckets - 1, int(high)) + 1):
            overlap = min(high, bucket + 1) - max(low, bucket)
            counts[bucket] += frame.records * max(0.0, overlap) / (high - low)
    return counts


def resampled(counts: Sequence[float], buckets: int) -> list[float]:
    """Give at most `buckets` sums over equal parts of `counts`; one that lies in two parts is shared out."""
    if len(counts) <= buckets:
        return list(counts)
    sums, width = [0.0] * buckets, len(counts) / buckets
    for number, count in enumerate(counts):
        low, high = number / width, (number + 1) / width
        for bucket in range(int(low), min(buckets - 1, int(high)) + 1):
            sums[bucket] += count * max(0.0, min(high, bucket + 1) - max(low, bucket)) * width
    return sums


def sparkline(counts: Iterable[float]) -> str:
    """Draw counts as bars, the largest one full; nothing is drawn as a blank."""
    counts = list(counts)
    top = max(counts, default=0) or 1
    return "".join(_BARS[min(7, int(8 * count / top))] if count > 0 else " " for count in counts)
