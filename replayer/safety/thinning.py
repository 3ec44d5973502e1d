"""Which of the due requests go on under a gain: a share of them, spread evenly and by chance. Pure.

Each request is drawn for by its number and a seed, so that the same run thinned the same way leaves out the same
requests, a rhythm in the recording meets no rhythm here, and whoever passed under a gain passes under any that is
greater. The hash is SplitMix64 (G. L. Steele, D. Lea and C. H. Flood, "Fast Splittable Pseudorandom Number Generators",
OOPSLA 2014), which is a few instructions; the native lane has the same in C.
"""

from rules.units import MILLION

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


def splitmix64(state: int) -> int:
    """Give the output of SplitMix64 whose state has become `state` (64 bits)."""
    mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)


def seeded(seed: int, part: int = 0) -> int:
    """Give the seed of one of the processes of a run: they number their requests alike, and must not draw alike."""
    return splitmix64((seed + (part + 1) * _GAMMA) & _MASK)


def passes(seed: int, number: int, gain: int) -> bool:
    """Tell whether the request with this number goes on, under a gain in millionths (a million: all of them)."""
    return gain >= MILLION or (splitmix64((seed + (number + 1) * _GAMMA) & _MASK) >> 32) * MILLION >> 32 < gain
