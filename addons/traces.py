"""Which traces are synthetic: learnt by the workers as requests come in, and asked by whoever sees the app's calls.

It is memory of a fixed size that several processes share, and nobody waits for a lock in it but whoever meets a run for
the first time. There are two tables, for the two mistakes that can be made are not alike:

- *Synthetic* traces, each with the run that it belongs to. If one is forgotten, a call of it is left alone. It is a
  hash table of sets with four places each; in a full set the oldest gives way. An entry is two words that belong
  together only if they were written together: the first one is the key XOR the second one, so that whatever two
  writers leave behind between them is an entry of a key that nobody has (Hyatt and Mann: A lock-less transposition
  table implementation for parallel search, ICGA Journal 25(1), 2002).
- *Real* traces. To forget one may one day take a real user's call for a synthetic one, so none is forgotten before its
  time, however many there are. It is a Bloom filter (Bloom, CACM 13(7), 1970) whose cells hold, instead of a bit, when
  they were last set: they need no clearing, and since a cell is written whole, nobody can undo what another has noted.
  The more traces there are, the more often it takes one for real that never was: a synthetic request then gets another
  trace, and no harm is done.

A trace that both kinds of requests bear is real: `learn` does not take one that is known as real, and `meet_real`
turns one that was learnt. Both write before they look at what the other has written, so that one of them sees it.

Keys are spread by a secret drawn when the memory is made: nobody outside can choose traces that fall into one place.
Times are whole seconds of `time.monotonic`, one clock for all processes of a machine.
"""

import ctypes
import mmap
import os
import secrets
import struct
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple, Self

from addons.books import Lock
from addons.shared import Inherited, anonymous
from loadtag.tag import MAX_LENGTH

WAYS = 4
"""Places of a set: 64 bytes, what a processor fetches at once."""

SETS = 1 << 16
"""262,144 synthetic traces, 4 MiB."""

CELLS = 1 << 23
"""Of the filter, one byte each. 600,000 real traces at a time are mistaken for one another in less than 1%."""

SLOTS = 256
"""Runs whose tokens are kept."""

AGE = 600
"""Seconds for which a trace is remembered after the last request that bore it: the time that its calls may come in."""

COUNTERS = ("learnt", "renewed", "displaced", "contested", "doubted", "missed", "real")
"""What is counted: traces learnt, met again, pushed out by others before their time, borne by a real request too,
not taken because a real request may have borne them, not taken because the run could not be noted; real ones met."""

WRITERS = 512
"""Rows of counters: each process has its own."""

_EPOCHS = 8
"""Steps of the filter's clock within an age."""

_MAGIC = 0x72656D70_54524331  # "rempTRC1"
_LOW = (1 << 64) - 1
_SLOT_SIZE = 1024
_SLOT_WORDS = _SLOT_SIZE // 8
_TEXTS = struct.Struct("<HH")

_ENDS = (1 << 32) - 1
_CONTESTED = 1 << 63
_SLOT_AT, _GENERATION_AT = 32, 40
_GENERATIONS = 1 << 22


_DARK = "dark:"
"""What the token of dark copies begins with: no load tag begins so."""


class Run(NamedTuple):
    """Whose requests bear a trace."""

    token: str
    run_id: str

    @classmethod
    def of_copies(cls, name: str) -> "Run":
        """Make that of dark copies, of the name that their mark says: they have no load tag."""
        return cls(f"{_DARK}{name}", name)

    @property
    def dark(self) -> bool:
        """Whether it is that of dark copies."""
        return self.token.startswith(_DARK)


class Learnt(Enum):
    """What `Traces.learn` has done."""

    LEARNT = "learnt"
    DOUBTED = "doubted"
    """Not learnt: a real request may bear this trace. The synthetic one needs another."""
    MISSED = "missed"
    """Not learnt, for this time: the run could not be noted. Nothing is wrong with the trace."""


class Found(Enum):
    """What is known of a trace that belongs to no run."""

    CONTESTED = "contested"
    """Synthetic and real requests bear it: it counts as real."""
    REAL = "real"
    UNKNOWN = "unknown"


class _Head(ctypes.Structure):
    magic: int
    sets: int
    cells: int
    age: int
    factors: ctypes.Array[ctypes.c_uint64]

    _fields_ = [
        ("magic", ctypes.c_uint64),
        ("sets", ctypes.c_uint64),
        ("cells", ctypes.c_uint64),
        ("age", ctypes.c_uint64),
        ("factors", ctypes.c_uint64 * 3),
    ]


_COUNTS_AT = 4096
_SLOTS_AT = _COUNTS_AT + WRITERS * 64
_ENTRIES_AT = _SLOTS_AT + SLOTS * _SLOT_SIZE


class Traces(Inherited):
    """All that one sidecar knows of traces. Not thread-safe: one event loop of each process asks."""

    def __init__(self, fd: int, writer: int = 0) -> None:
        """Open memory that `create` has made; count in the row of `writer`. Raises ValueError if it is no such memory.

        No two processes that live at the same time may have the same `writer`, a number from 0 to `WRITERS` - 1.
        """
        size = os.fstat(fd).st_size
        memory = mmap.mmap(fd, size) if size > _ENTRIES_AT else None
        head = _Head.from_buffer(memory) if memory is not None else None
        if memory is None or head is None or head.magic != _MAGIC or size != _size(head.sets, head.cells):
            raise ValueError("this is no memory of traces")
        super().__init__(fd)
        self._memory = memory
        self.age = head.age
        self._set_mask, self._cell_mask = head.sets - 1, head.cells - 1
        self._factors: tuple[int, ...] = tuple(head.factors)
        view = memoryview(memory)
        ends = _ENTRIES_AT + head.sets * WAYS * 16
        self._words = view[_ENTRIES_AT:ends].cast("Q")
        self._cells = view[ends : ends + head.cells]
        self._heads = view[_SLOTS_AT:_ENTRIES_AT].cast("Q")
        counts = view[_COUNTS_AT:_SLOTS_AT].cast("q")
        self._all_counts, self._counts = counts, counts[writer % WRITERS * 8 : (writer % WRITERS + 1) * 8]
        self._lasting = self.age - self.age // 16 - 1
        self._epoch_length = max(1, self.age // _EPOCHS)
        self._epochs = -(-self.age // self._epoch_length) + 1
        self._lock = Lock(fd)
        self._slots: dict[str, int] = {}
        """Tokens that were noted, to slot and generation as they stand in an entry."""
        self._runs: dict[int, Run] = {}
        """The other way around."""

    @classmethod
    def create(cls, age: int = AGE, sets: int = SETS, cells: int = CELLS) -> Self:
        """Make memory that knows nothing. It goes when the last process that uses it ends.

        `sets` and `cells` have to be powers of two.
        """
        if sets & (sets - 1) or cells & (cells - 1) or not 1 <= age < 1 << 24:
            raise ValueError("sets and cells have to be powers of two, and an age between a second and half a year")
        fd = anonymous("reamp-traces")
        os.ftruncate(fd, _size(sets, cells))
        head = _Head(_MAGIC, sets, cells, age)
        for at in range(3):
            head.factors[at] = secrets.randbits(64) | 1
        os.pwrite(fd, bytes(head), 0)
        return cls(fd)

    # --- learning

    def learn(self, key: int, run: Run, now: int) -> Learnt:
        """Note that a synthetic request of `run` bears the trace `key`."""
        spread = self._spread(key)
        if self._is_real(spread, now):
            self._contest(spread, now)
            self._counts[_DOUBTED] += 1
            return Learnt.DOUBTED
        slot = self._slot(run, now)
        if slot is None:
            self._counts[_MISSED] += 1
            return Learnt.MISSED
        at = self._place(spread, now)
        before = 0 if at is None else self._words[at + 1]
        if at is None or before & _CONTESTED:
            self._counts[_DOUBTED] += 1
            return Learnt.DOUBTED
        if before ^ self._words[at] == spread and before & ~_ENDS == slot and before & _ENDS > now + self._lasting:
            return Learnt.LEARNT  # what need not be written need not be found half written
        self._write(at, spread, (now + self.age) | slot)
        if self._is_real(spread, now):  # a real one has come in the meantime, and may have found nothing to turn
            self._contest(spread, now)
            self._counts[_DOUBTED] += 1
            return Learnt.DOUBTED
        return Learnt.LEARNT

    def meet_real(self, key: int, now: int) -> bool:
        """Note that a real request bears the trace `key`. Tells whether synthetic ones did."""
        spread = self._spread(key)
        epoch = self._epoch(now)
        cells, mask = self._cells, self._cell_mask
        cells[spread & mask] = epoch
        cells[(spread >> 24) & mask] = epoch
        cells[(spread * 0x9E3779B97F4A7C15 & _LOW) >> 40 & mask] = epoch
        self._counts[_REAL] += 1
        return self._contest(spread, now)

    # --- asking

    def find(self, key: int, now: int) -> Run | Found:
        """Tell what is known of the trace `key`."""
        spread = self._spread(key)
        at = self._find(spread, now)
        if at is not None:
            meta = self._words[at + 1]
            # It may have been written anew in between: then it is as if it had never been there.
            if self._words[at] ^ meta == spread:
                if meta & _CONTESTED:
                    return Found.CONTESTED
                if run := self._run(meta):
                    return run
        return Found.REAL if self._is_real(spread, now) else Found.UNKNOWN

    def counted(self) -> dict[str, int]:
        """Give the counts of all processes, by name (`COUNTERS`)."""
        counts = self._all_counts
        return {name: sum(counts[row * 8 + at] for row in range(WRITERS)) for at, name in enumerate(COUNTERS)}

    @property
    def room(self) -> int:
        """How many synthetic traces there is room for."""
        return (self._set_mask + 1) * WAYS

    def held(self, now: int, looked_at: int = 1 << 14) -> int:
        """Estimate how many synthetic traces are remembered, from some of the places: which those are, is chance."""
        some = min(self.room, looked_at)
        live = sum(self._words[at * 2 + 1] & _ENDS > now for at in range(some))
        return live * self.room // some

    # --- the synthetic ones

    def _spread(self, key: int) -> int:
        """Make a number of the key that looks drawn at random; no two keys have the same one."""
        first, second, third = self._factors
        spread = (key ^ third) * first & _LOW
        spread = (spread ^ (spread >> 32)) * second & _LOW
        return spread ^ (spread >> 29)

    def _ways(self, spread: int) -> Iterator[int]:
        first = (spread & self._set_mask) * WAYS * 2
        return iter(range(first, first + WAYS * 2, 2))

    def _find(self, spread: int, now: int) -> int | None:
        words = self._words
        for at in self._ways(spread):
            meta = words[at + 1]
            if words[at] ^ meta == spread and meta & _ENDS > now:
                return at
        return None

    def _place(self, spread: int, now: int) -> int | None:
        """Find where an entry can be written: its own place, a free one, or the one that is nearest to its end.

        One that is contested stays: for its real requests' sake. None: there is no other.
        """
        words = self._words
        best, soonest = None, 1 << 32
        for at in self._ways(spread):
            meta = words[at + 1]
            ends = meta & _ENDS
            if ends <= now:
                ends = 0
            elif words[at] ^ meta == spread:
                self._counts[_RENEWED] += 1
                return at
            elif meta & _CONTESTED:
                continue
            if ends < soonest:
                best, soonest = at, ends
        if best is not None:
            self._counts[_DISPLACED if soonest else _LEARNT] += 1
            if soonest:
                self._counts[_LEARNT] += 1
        return best

    def _write(self, at: int, spread: int, meta: int) -> None:
        self._words[at + 1] = meta
        self._words[at] = spread ^ meta

    def _contest(self, spread: int, now: int) -> bool:
        words, found = self._words, False
        for at in self._ways(spread):  # all of them: two workers may have learnt it in two places
            meta = words[at + 1]
            if words[at] ^ meta == spread and meta & _ENDS > now:
                if not meta & _CONTESTED:
                    self._counts[_CONTESTED_AT] += 1
                self._write(at, spread, (now + self.age) | _CONTESTED)
                found = True
        return found

    # --- the real ones

    def _epoch(self, now: int) -> int:
        return now // self._epoch_length % 255 + 1

    def _is_real(self, spread: int, now: int) -> bool:
        cells, mask = self._cells, self._cell_mask
        epoch, lasting = self._epoch(now), self._epochs
        for at in (spread, spread >> 24, (spread * 0x9E3779B97F4A7C15 & _LOW) >> 40):
            cell = cells[at & mask]
            if not cell or (epoch - cell) % 255 > lasting:
                return False
        return True

    # --- runs

    def _slot(self, run: Run, now: int) -> int | None:
        """Give slot and generation of a run as they stand in an entry, and note the run if it is new."""
        known = self._slots.get(run.token)
        if known is not None:
            slot = known >> _SLOT_AT & 0xFF
            generation, used = self._slot_head(slot)
            if generation == known >> _GENERATION_AT:
                if used != now:
                    self._heads[slot * _SLOT_WORDS + 1] = now
                return known
        if len(run.token) > MAX_LENGTH or not self._lock.acquire():
            return None
        try:
            return self._note(run, now)
        finally:
            self._lock.release()

    def _note(self, run: Run, now: int) -> int:
        """Write a run down, in its own slot if another process has done so, or else in the one unused for longest."""
        texts = run.token.encode(), run.run_id.encode()
        oldest, longest = 0, 1 << 62
        for slot in range(SLOTS):
            generation, used = self._slot_head(slot)
            if generation % 2 == 0 and generation and self._slot_texts(slot) == texts:
                break
            if used < longest:
                oldest, longest = slot, used
        else:
            slot = oldest
            generation, _ = self._slot_head(slot)
            # Odd while it is written: whoever reads it then has nothing.
            self._set_slot_head(slot, generation + 1 if generation % 2 == 0 else generation, now)
            at = _SLOTS_AT + slot * _SLOT_SIZE + 16
            packed = _TEXTS.pack(*map(len, texts)) + b"".join(texts)
            self._memory[at : at + len(packed)] = packed
            generation = (generation | 1) + 1
            if generation >= _GENERATIONS:
                generation = 2
            self._set_slot_head(slot, generation, now)
        if len(self._slots) > SLOTS:
            self._slots.clear()
        self._slots[run.token] = found = slot << _SLOT_AT | generation << _GENERATION_AT
        return found

    def _run(self, meta: int) -> Run | None:
        """Give the run of an entry; None if its slot has been given to another one since."""
        named = meta & ~_ENDS
        slot, generation = named >> _SLOT_AT & 0xFF, named >> _GENERATION_AT
        if self._slot_head(slot)[0] != generation:
            return None
        run = self._runs.get(named)
        if run is None:
            token, run_id = self._slot_texts(slot)
            if self._slot_head(slot)[0] != generation:
                return None
            if len(self._runs) > SLOTS:
                self._runs.clear()
            run = self._runs[named] = Run(token.decode(), run_id.decode())
        return run

    def _slot_head(self, slot: int) -> tuple[int, int]:
        """Give generation and when it was last used. A generation that is odd is being written; 0: never was."""
        at = slot * _SLOT_WORDS
        return self._heads[at], self._heads[at + 1]

    def _set_slot_head(self, slot: int, generation: int, used: int) -> None:
        at = slot * _SLOT_WORDS
        self._heads[at + 1] = used
        self._heads[at] = generation

    def _slot_texts(self, slot: int) -> tuple[bytes, bytes]:
        at = _SLOTS_AT + slot * _SLOT_SIZE + 16
        first, second = _TEXTS.unpack_from(self._memory, at)
        at += _TEXTS.size
        token = self._memory[at : at + first]
        return token, self._memory[at + first : at + first + second]


_LEARNT, _RENEWED, _DISPLACED, _CONTESTED_AT, _DOUBTED, _MISSED, _REAL = range(len(COUNTERS))


def _size(sets: int, cells: int) -> int:
    return _ENTRIES_AT + sets * WAYS * 16 + cells
