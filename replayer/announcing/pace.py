"""What repeats itself is told once a minute at most; the newest of what was held back follows. Pure."""

from replayer.announcing.wording import Words

EVERY_NS = 60_000_000_000

REPEATED = frozenset({"stage", "gain", "slo breached", "slo held", "signal lost", "signal found"})
"""All the others happen once, and are told at once."""


class Pace:
    """Holds back what would be too much, by kind of event."""

    def __init__(self, every_ns: int = EVERY_NS) -> None:
        self._every_ns = every_ns
        self._told_ns: dict[str, int] = {}
        self._held: dict[str, tuple[Words, int]] = {}

    def offer(self, words: Words, now_ns: int) -> Words | None:
        """Give it back if it may be said now; else keep it, in the place of one of its kind that was kept before."""
        if words.event not in REPEATED:
            return words
        said = self._told_ns.get(words.event)
        if said is not None and now_ns - said < self._every_ns:
            self._held[words.event] = words, self._held[words.event][1] + 1 if words.event in self._held else 1
            return None
        return self._say(words, now_ns)

    def due(self, now_ns: int) -> list[Words]:
        """Give what was held back for long enough."""
        ripe = [event for event in self._held if now_ns - self._told_ns[event] >= self._every_ns]
        return [self._say(self._held[event][0], now_ns) for event in ripe]

    def _say(self, words: Words, now_ns: int) -> Words:
        self._told_ns[words.event] = now_ns
        _, count = self._held.pop(words.event, (words, 0))
        if count <= 1:
            return words
        more = f"({count} changes of this kind since it was last told; this is the newest.)"
        return words._replace(body=f"{words.body}\n{more}")
