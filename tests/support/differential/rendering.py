"""The table of explained differences as a page for people."""

from collections.abc import Iterable, Iterator, Sequence

from tests.support.differential.answers import ANSWERS
from tests.support.differential.corpus import CASES
from tests.support.differential.explained import EXPLAINED, EXPOSED, Explained, Exposed
from tests.support.differential.explained_answers import EXPLAINED_ANSWERS

_INTRODUCTION = """\
# HTTP/1 conformance

The same bytes go through nginx (1.22, as a reverse proxy that rewrites nothing) and through both lanes of the sidecar:
{requests} requests that clients may send, and {answers} answers that apps may give; valid, odd and hostile, at once and
cut at random places. What the app sees and what the client gets is compared. Each difference is in these tables, and
`tests/e2e/test_differential.py` holds every row against what happens. It does not count who writes hop-by-hop fields,
the framing and the text of error pages how. Not compared, because it is chance how far a proxy gets: clients that end
before they are answered, and apps that do so before they are asked.

An outcome is the answers that the client gets (`103+200`: a 1xx and the final one; `x2`: two of them; `noise`: bytes
that are no HTTP/1), and then what becomes of its connection: `kept`, `closed`, or `silent` (neither answered nor closed
for two seconds). Where two lines say "the same", it is the reason of the line above.

Apart from nginx, held for every case against RFC 9112 alone: the app never sees a request that the client did not
send, or one twice; each answer belongs to its request; an answer that was cut short never looks whole.
"""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "| " + " | ".join("---" for _ in head) + " |"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def _names(entry: Explained | Exposed) -> str:
    lane = f" (only the {entry.lanes[0]} lane)" if len(entry.lanes) == 1 else ""
    return f"{entry.group}: {', '.join(entry.cases)}{lane}"


def _differences(entries: Iterable[Explained]) -> Iterator[str]:
    rows = ((_names(entry), entry.nginx, entry.ours, " ".join([entry.why, *_seen(entry)])) for entry in entries)
    return _table(("cases", "nginx", "reamp", "why"), rows)


def _seen(entry: Explained) -> Iterator[str]:
    if "requests" not in entry.sees and entry.sees:
        yield f"(The app sees a difference: {', '.join(entry.sees)}.)"


def page() -> str:
    """Make the whole page."""
    exposed = ((_names(entry), ", ".join(entry.hazards), entry.why) for entry in EXPOSED)
    lines = [
        _INTRODUCTION.format(requests=len(CASES), answers=len(ANSWERS)),
        "## Requests",
        "",
        *_differences(EXPLAINED),
        "",
        "## Answers",
        "",
        *_differences(EXPLAINED_ANSWERS),
        "",
        "## What a careless app must know",
        "",
        "The strict reading does not hold here. `ambiguous`: some servers would find something else in what is passed",
        "on; `unreadable`: a strict one refuses it; `smuggled`: a strict proxy would have refused it, and looked at",
        "nothing after it; `mixed up`: so there is an answer for which it would have sent no request.",
        "",
        *_table(("cases", "hazard", "why"), exposed),
    ]
    return "\n".join(lines) + "\n"
