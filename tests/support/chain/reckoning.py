"""Whether it came out even: each order at each station once, load known for load everywhere, users' orders nowhere."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.chain.setting import NOBODY

STATIONS = ("front", "warehouse", "courier", "queue", "callback", "ledger")
"""Every place where an order arrives, in their order."""

KINDS = ("synthetic", "real")


class Sighting(NamedTuple):
    """What a station saw of an order."""

    station: str
    order: str
    wire: str
    """The run that its headers name."""
    told: str
    """The run that the library tells of."""

    @property
    def sender(self) -> str:
        """Who sent it: the name without the number that the front gave it."""
        return self.order.rpartition(".")[0]


def sightings(folder: Path) -> list[Sighting]:
    """Read all diaries; a line that is just being written is left out."""
    found = []
    for diary in sorted(folder.iterdir()):
        whole = diary.read_text().rpartition("\n")[0]
        found += [Sighting(*line.split(" ")) for line in whole.splitlines()]
    return found


class Share(NamedTuple):
    """Of one kind, at one station."""

    station: str
    kind: str
    arrived: int
    right: int


class Reckoning(NamedTuple):
    """What came of it."""

    shares: Sequence[Share]
    wrong: Sequence[str]
    """Everything that is not as it should be, in words."""


def reckon(
    seen: Iterable[Sighting], users: Iterable[str], replayed: str, requests: int, run: str, *, library: bool
) -> Reckoning:
    """Hold what was seen against what was sent.

    `users`: the name of each order that real users sent, once each. `replayed`: how the names of orders begin that the
    replay sent: `requests` of them, by the run with the id `run`. `library`: whether the services could ask one; if
    not, what the queue holds bears only the trace.
    """
    wrong: list[str] = []
    arrived: Counter[tuple[str, str]] = Counter()
    right: Counter[tuple[str, str]] = Counter()
    stations: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sighting in seen:
        kind = "synthetic" if sighting.sender.startswith(replayed) else "real"
        mine = run if kind == "synthetic" else NOBODY
        wire = NOBODY if sighting.station == "queue" and not library else mine
        told = mine if library else NOBODY
        arrived[sighting.station, kind] += 1
        stations[sighting.order][sighting.station] += 1
        if (sighting.wire, sighting.told) == (wire, told):
            right[sighting.station, kind] += 1
        else:
            wrong.append(f"{sighting} should have been {wire}, {told}")
    wrong += [f"{order} was seen at {dict(at)}" for order, at in stations.items() if at != Counter(STATIONS)]
    sent = Counter(users)
    came = Counter(order.rpartition(".")[0] for order in stations)
    replays = sum(count for name, count in came.items() if name.startswith(replayed))
    if replays != requests:
        wrong.append(f"{replays} orders came from the replay, which sent {requests}")
    came = Counter({name: count for name, count in came.items() if not name.startswith(replayed)})
    wrong += [
        f"{name} was sent {sent[name]} times and came {came[name]} times" for name in (sent - came) | (came - sent)
    ]
    shares = [Share(s, kind, arrived[s, kind], right[s, kind]) for s in STATIONS for kind in KINDS]
    return Reckoning(shares, wrong)
