"""Where the intensity of arrivals changes, and where it only seems to. Pure and streaming.

A stretch of arrivals is cut into pieces, each of which looks like a Poisson process of one rate: pauses, bursts, the
slopes of a day. What is left as one piece scatters no more than chance does. This is the penalised maximum-likelihood
estimate over recursive dyadic partitions (Kolaczyk and Nowak, Multiscale likelihood analysis and complexity penalized
estimation, Annals of Statistics 32, 2004), on gaps between arrivals: a piece of n gaps that last d in all has the
negative log-likelihood ``n ln(d / n)`` (and what is the same for every partition), and each further piece costs
`PENALTY`. It is found bottom-up while arrivals come, in a few steps for each, and adapts to bursts of any length
without being told one.
"""

import math
from array import array
from typing import NamedTuple

PENALTY = 2.0
"""What one more piece has to gain in log-likelihood. By chance a cut gains 0.6 on average, so that no piece is cut for
nothing; real changes of rate, and arrivals that come in clusters, gain more. Found by measuring, see the benchmark
`bursts`: with 1.6 chance begins to be taken for bursts, with 3 small clusters begin to be taken for chance."""

_FINEST_NS = 1000
"""Shorter spans count as this long: clocks are no finer, and the logarithm of nothing is not a number."""

Piece = tuple[int, int]
"""Numbers of the arrivals at its two ends."""


class _Node(NamedTuple):
    cost: float
    pieces: list[Piece]
    begin: int
    end: int
    size: int


class Partition:
    """Takes arrivals one after the other and gives the pieces between the first and the last."""

    def __init__(self) -> None:
        self._times = array("q")
        self._nodes: list[_Node] = []  # whole dyadic parts, ever smaller

    def add(self, at_ns: int) -> None:
        """Take the next arrival, not earlier than the one before."""
        times = self._times
        times.append(at_ns)
        end = len(times) - 1
        if end:
            node = _Node(self._cost(end - 1, end), [(end - 1, end)], end - 1, end, 1)
            while self._nodes and self._nodes[-1].size == node.size:
                node = self._merged(self._nodes.pop(), node)
            self._nodes.append(node)

    def pieces(self) -> list[Piece]:
        """Give the pieces, in order; none between fewer than two arrivals. Nothing may be added afterwards."""
        nodes = self._nodes
        while len(nodes) > 1:
            right = nodes.pop()
            nodes.append(self._merged(nodes.pop(), right))
        return nodes[0].pieces if nodes else []

    def _merged(self, left: _Node, right: _Node) -> _Node:
        begin, end, size = left.begin, right.end, left.size + right.size
        whole, parts = self._cost(begin, end), left.cost + right.cost + PENALTY
        if whole <= parts:
            return _Node(whole, [(begin, end)], begin, end, size)
        return _Node(parts, left.pieces + right.pieces, begin, end, size)

    def _cost(self, begin: int, end: int) -> float:
        count = end - begin
        return count * math.log(max(self._times[end] - self._times[begin], _FINEST_NS) / count)
