"""The cells in which times are counted, the same at both ends so that counts can be added. Pure.

They are the cells of an HdrHistogram (hdrhistogram.org) with two significant digits, in steps of 10 us, up to ten
minutes: steps of 10 us up to 2.55 ms, from there on 128 cells to each doubling. A time is known to its cell, so to
0.8 % of itself, and is told as the longest that the cell holds: never as shorter than it was.
"""

UNIT = 1e-5
"""Seconds to one step of the histogram."""

LONGEST = 600 * 100_000
"""Ten minutes, in that unit; what takes longer counts as this long."""

CELLS = 2560
"""Cells of a histogram: enough for `LONGEST`."""


def index(steps: int) -> int:
    """Give the histogram cell for a time of that many `UNIT`s: exact up to 255, then 128 cells to each doubling."""
    if steps < 256:
        return steps
    steps = min(steps, LONGEST)
    shift = steps.bit_length() - 8
    return (shift << 7) + (steps >> shift)


def value(cell: int) -> int:
    """Give the least time, in `UNIT`s, that belongs to a histogram cell."""
    if cell < 256:
        return cell
    shift = (cell >> 7) - 1
    return (cell - (shift << 7)) << shift


def place(seconds: float) -> int:
    """Give the cell that a time in seconds is counted in. None is counted as no time at all."""
    return index(max(1, int(min(seconds / UNIT, LONGEST) + 0.5)))


def longest(cell: int) -> float:
    """Give the longest time, in seconds, that belongs to a cell."""
    return (value(cell + 1) - 1) * UNIT
