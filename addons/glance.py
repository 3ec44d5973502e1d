"""What of a message's headers the add-ons care about, found in one pass over the raw fields. Pure.

mitmproxy's own look-up costs microseconds for each name, for it decodes and compares all of them anew. Here each
spelling of a name is judged once and remembered: from then on a header costs a look into a dictionary. And since
add-ons come one after the other, the answer for the fields that were last looked at is kept: they are a tuple, which
nobody can change, so the same tuple means the same answer.
"""

from addons.dark.mark import HEADER as DARK_HEADER
from addons.traceheaders import NAMES as TRACE_NAMES
from loadtag.headers import RUN_HEADER
from rules.wire import WITHHELD_HEADER

Fields = tuple[tuple[bytes, bytes], ...]
Glance = tuple[int, bytes | None, bytes | None]
"""The marks of all the names, and the values of ``content-length`` and ``host``: empty if there are several, None if
there is none."""

TRACE = 1
"""A header that a load tag can be in."""
UPGRADE = 2
LENGTH = 4
CODING = 8
"""``transfer-encoding``."""
WITHHELD = 16
HOST = 32
TRACED = 64
"""A header that the id of a trace can be in."""
DARK = 128
"""The mark of a dark copy, see `dark.mark`."""

FRAMING = LENGTH | CODING

REMEMBERED = 256 << 10
"""Bytes of names after which all are forgotten: a client that makes up names must not be able to fill the memory."""

_NAMES = {
    b"baggage": TRACE,
    b"upgrade": UPGRADE,
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
    WITHHELD_HEADER.encode(): WITHHELD,
    b"host": HOST,
}
_RUN = RUN_HEADER.encode()


def mark(name: bytes) -> int:
    """Judge one name."""
    lower = name.lower()
    # A name that some gateway makes the same variable of as the run's header is as good as that.
    spelled = lower.replace(b"_", b"-")
    if spelled in TRACE_NAMES:
        return TRACED
    return TRACE if spelled == _RUN else DARK if spelled == DARK_HEADER else _NAMES.get(lower, 0)


def _look(fields: Fields, marks: dict[bytes, int]) -> Glance:
    """Look up all names. Raises KeyError if one is not known yet."""
    found, length, host = 0, None, None
    for name, value in fields:
        if kind := marks[name]:
            # Of two values neither is right.
            if kind == LENGTH:
                length = b"" if found & LENGTH else value
            elif kind == HOST:
                host = b"" if found & HOST else value
            found |= kind
    return found, length, host


class _Memory:
    """The names seen so far, and the last answer."""

    __slots__ = ("_answer", "_last", "_marks", "_size")

    def __init__(self) -> None:
        self._marks: dict[bytes, int] = {}
        self._size = 0
        self._last: Fields = ()
        self._answer: Glance = (0, None, None)

    def glance(self, fields: Fields) -> Glance:
        """Look at a message's fields."""
        if fields is self._last:
            return self._answer
        try:
            answer = _look(fields, self._marks)
        except KeyError:
            self._learn(fields)
            answer = _look(fields, self._marks)
        self._last, self._answer = fields, answer
        return answer

    def _learn(self, fields: Fields) -> None:
        if self._size > REMEMBERED:
            self._marks.clear()
            self._size = 0
        for name, _ in fields:
            self._marks[name] = mark(name)
            self._size += len(name)


glance = _Memory().glance
"""Look at a message's fields."""
