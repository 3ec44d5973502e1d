"""What is left of a recorded incident, as three sources; and drills on clones, by the command that people use."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from captures.moments import SECOND
from captures.reader import Capture
from captures.records import Record
from captures.templates import template
from drill.judging.verdict import Verdict
from tests.support import upsun
from tests.support.incident.site import LOG_FORMAT, Recorded
from tests.support.lines import whole_lines
from tests.support.processes import run

Route = tuple[str, str]

AUTHORITY = "shop.example"
"""Host of requests where a source names none."""


def sources(recorded: Recorded, folder: Path, grain: int) -> dict[str, list[str]]:
    """Give what the command is told of each source: a capture, Upsun's JSON (with so many seconds a step), a log."""
    told = folder / "upsun.json"
    told.write_text(json.dumps(upsun.overview(Capture(recorded.captures).records(), grain=grain)))
    return {
        "capture": [str(recorded.captures)],
        "Upsun JSON": [str(told)],
        "access log": [str(recorded.log), "--log-format", LOG_FORMAT, "--authority", AUTHORITY],
    }


def taken(source: list[str], output: Path) -> Path:
    """Have `reamp drill from` take an incident from a source."""
    done = run("drill", "from", *source, "-o", str(output))
    assert done.returncode == 0, done.stderr
    return output


class Drilled(NamedTuple):
    """What a drill came to."""

    verdict: Verdict
    exit_code: int
    folder: Path
    output: str

    @property
    def named(self) -> str | None:
        """The route that is blamed, without its method."""
        gave_way = self.verdict.gave_way
        return None if gave_way is None or gave_way.route is None else gave_way.route.partition(" ")[2]


BUSY = {"REAMP_REPLAY_MAX_LAG": "2s", "REAMP_REPLAY_LAG_BOUND": "1s"}
"""Where other tests have the machine, too: a late request is slow, and a little late is no reason to prove nothing."""


def drill(
    incident: Path,
    url: str,
    folder: Path,
    key: Path,
    *options: str,
    seconds: float = 120,
    env: Mapping[str, str] | None = None,
) -> Drilled:
    """Run a drill, which goes into a folder of its own below this one."""
    drills = folder / "drills"
    done = run(
        *("drill", "run", str(incident), "--to", url, "--idle-target", "--key", str(key), "--drills", str(drills)),
        *options,
        seconds=seconds,
        env=dict(env or {}),
    )
    made = list(drills.glob("*"))
    assert len(made) == 1, f"{done.returncode}: {done.stdout}{done.stderr}"
    verdict = Verdict.model_validate_json((made[0] / "verdict.json").read_bytes())
    return Drilled(verdict, done.returncode, made[0], done.stdout + done.stderr)


def rates(records: Iterable[Record], window: int) -> Counter[tuple[int, Route]]:
    """Count requests by route in each window of so many seconds, which begin at whole multiples of that."""
    return Counter(
        (record.arrival_ns // (window * SECOND), (record.method, template(record.path))) for record in records
    )


_LINE = re.compile(r'"([A-Z]+) (\S+) [^"]*" .* ([0-9.]+) ([0-9.]+)')


def logged(log: Path, window: int) -> Counter[tuple[int, Route]]:
    """Count the same in a log as it stands: each line tells when its request ended, and how long it took."""
    found: Counter[tuple[int, Route]] = Counter()
    for line in whole_lines(log):
        told = _LINE.search(line)
        assert told is not None, line
        method, target, took, ended = told.groups()
        found[int((Decimal(ended) - Decimal(took)) // window), (method, template(target))] += 1
    return found


class Deviation(NamedTuple):
    """How much the rates of an incident differ from the original's."""

    largest: float
    """In any window of any route, as a share of the original's."""
    compared: int
    """Windows of routes."""


def deviation(original: Mapping[tuple[int, Route], int], other: Mapping[tuple[int, Route], int]) -> Deviation:
    """Compare rates, window by window."""
    keys = original.keys() | other.keys()
    apart = (abs(original.get(key, 0) - other.get(key, 0)) / max(1, original.get(key, 0)) for key in keys)
    return Deviation(max(apart, default=0.0), len(keys))
