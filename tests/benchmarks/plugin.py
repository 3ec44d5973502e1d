"""What changing requests costs: CPU time to encode a record as it is, by the plan's rules, and through a plugin.

The records are in memory, so that nothing but encoding is measured. Ratios are to the row that changes nothing, in the
same round.
"""

import time
from collections.abc import Callable
from statistics import median

from captures.records import Record
from replayer.plugins import Hook, Plugin, PluginRequest
from replayer.requests.encoding import Encoder
from replayer.requests.fields import Names
from replayer.requests.hooking import PluginEncoder
from replayer.requests.rewriting import PathRule, Rewriting, header
from replayer.requests.writes import Writes
from tests.benchmarks.measuring import Bench
from tests.benchmarks.shapes import SHAPES, recorded, redacted
from tests.benchmarks.tables import figure, markdown, spread

PEERS: tuple[str, ...] = ()
RECORDS = 20_000
READS = ("GET", "HEAD", "OPTIONS")
WRITES = Writes(["POST *", "PUT *", "PATCH *", "DELETE *"])


def _empty(request: PluginRequest) -> PluginRequest:
    return request


def _one_header(request: PluginRequest) -> PluginRequest:
    return request.with_header("X-Api-Version", "2")


def _path(request: PluginRequest) -> PluginRequest:
    return request.changed(path=request.path.replace("/v1/", "/v2/"))


def _plain(rewriting: Rewriting | None = None) -> Encoder:
    return Encoder("run", READS, "target.example", rewriting=rewriting or Rewriting(), writes=WRITES)


def _through(plugin: Plugin) -> Encoder:
    return PluginEncoder("run", READS, "target.example", Hook(plugin), writes=WRITES)


def _fields() -> Encoder:
    return _plain(Rewriting((header("Accept-Language: de"), header("X-New: 1")), Names(["X-Forwarded-*", "Cookie"])))


def _paths(count: int) -> Encoder:
    rules = [r"^/v1/ => /v2/", r"([?&])utm_\w+=[^&]* => \1", r"(.)/$ => \1", r"^/old(/|$) => /new\1"]
    return _plain(Rewriting(paths=tuple(map(PathRule.parse, rules[:count]))))


CASES: dict[str, Callable[[], Encoder]] = {
    "as recorded": _plain,
    "two headers set, two patterns removed": _fields,
    "one rule for paths": lambda: _paths(1),
    "four rules for paths": lambda: _paths(4),
    "a plugin that changes nothing": lambda: _through(_empty),
    "a plugin that sets one header": lambda: _through(_one_header),
    "a plugin that changes the path": lambda: _through(_path),
}


def run(bench: Bench) -> str:
    """Measure, and give the table."""
    count = 2000 if bench.quick else RECORDS
    traffic = {shape: redacted(recorded(shape, count, 5000)) for shape in SHAPES}
    found: dict[str, dict[str, list[float]]] = {case: {shape: [] for shape in SHAPES} for case in CASES}
    for turn in range(bench.rounds):
        bench.say(f"  round {turn + 1}")
        for shape, records in traffic.items():
            for case, make in CASES.items():
                found[case][shape].append(_measured(make(), records))
    rows = []
    for case, by_shape in found.items():
        row = [case]
        for shape, values in by_shape.items():
            ratios = [one / plain for one, plain in zip(values, found["as recorded"][shape], strict=True)]
            row += [figure(median(values)), spread(values), f"{median(ratios):.2f}"]
        rows.append(row)
    head = ["CPU us/record", *(cell for shape in SHAPES for cell in (shape, "least-most", "x as recorded"))]
    return f"{count:,} records of each kind, all of them allowed.\n\n{markdown(head, rows)}"


def _measured(encoder: Encoder, records: list[Record]) -> float:
    began = time.process_time()
    for record in records:
        assert not isinstance(encoder.encode(record), str)
    return (time.process_time() - began) / len(records) * 1e6
