"""`reamp sidecar` against stock `mitmdump` and nginx as a reverse proxy: a matrix of payloads and connections.

Rate and CPU microseconds per request, of the whole process tree. The contender has one core to itself; nginx (the app)
and wrk share the other. With one connection there is nothing but the way through the proxy; 32 and 128 keep it busy.

Each contender is started once a round and takes all payloads and connections in turn, then comes the next contender.
"""

import shutil
from collections.abc import Iterable, Sequence

from tests.benchmarks import target
from tests.benchmarks.contenders import STOCK, Contender, chosen
from tests.benchmarks.load import WARM_UP, load
from tests.benchmarks.measuring import Bench, Sample, pinned
from tests.benchmarks.payloads import PAYLOADS, Payload
from tests.benchmarks.tables import figure, markdown, middle, per_core, spread

CONNECTIONS = (1, 32, 128)

_START = 3.0
"""Seconds, about, to start and stop a contender."""

Cell = tuple[str, str, int]
"""Contender, payload, connections."""
Found = dict[Cell, list[Sample]]
Medians = dict[Cell, Sample]
"""Without the cells that have no sample: there every measurement failed."""


def run(bench: Bench) -> str:
    """Measure, and give the tables."""
    payloads = [p for p in PAYLOADS if p.key in (bench.narrowed.payloads or [p.key])]
    contenders, connections = chosen(bench), bench.narrowed.connections or CONNECTIONS
    found = matrix(bench, contenders, payloads, connections)
    if not found:
        return "None of the contenders can run."
    medians = {cell: middle(samples) for cell, samples in found.items()}
    columns = [(payload, number) for payload in payloads for number in connections]
    parts = [_ratios(medians, contenders, columns), _workers(medians, columns)]
    parts += [_details(payload, found, medians, contenders, connections) for payload in payloads]
    return "\n\n".join(part for part in parts if part)


def matrix(
    bench: Bench, contenders: Sequence[Contender], payloads: Sequence[Payload], connections: Iterable[int]
) -> Found:
    """Measure every contender under every payload with every number of connections, in rounds."""
    found: Found = {}
    cells = [(payload, number) for payload in payloads for number in connections]
    once = len(contenders) * (_START + len(cells) * (bench.seconds + WARM_UP + 0.3))
    bench.say(f"  {bench.rounds} x {len(contenders)} x {len(cells)} measurements: {once * bench.rounds / 60:.0f} min")
    with target.serving(bench.folder / "app", pinned(bench.cores.other, [])) as app:
        for turn in range(bench.rounds):
            for contender in contenders:
                folder = bench.folder / f"{turn}-{contender.key}"
                folder.mkdir()
                with contender.start(bench, folder, app) as proxy:
                    for payload, number in cells:
                        try:
                            sample = load(bench, folder, proxy, app, payload, number)
                        except RuntimeError as error:  # the others are still worth their quarter of an hour
                            bench.say(f"  FAILED: {contender.key} {payload.key} {number} connections: {error}")
                            continue
                        found.setdefault((contender.key, payload.key, number), []).append(sample)
                        bench.say(
                            f"  {turn + 1}/{bench.rounds} {contender.key:17} {payload.key:8} {number:3} connections "
                            f"{sample.rate:9,.0f}/s {sample.cpu_us:8.1f} us  busy {sample.busy:4.0%}  "
                            f"p50 {_ms(sample.p50_ms)} ms"
                        )
                shutil.rmtree(folder)
    shutil.rmtree(bench.folder / "app")
    return found


def _ratios(medians: Medians, contenders: Sequence[Contender], columns: Sequence[tuple[Payload, int]]) -> str:
    """How many times less CPU a request costs than with stock mitmdump, all in one table."""
    if not any(contender.key == STOCK for contender in contenders):
        return ""
    rows = []
    for contender in contenders:
        pairs = [(medians.get((STOCK, p.key, n)), medians.get((contender.key, p.key, n))) for p, n in columns]
        rows.append([contender.name, *(_ratio(stock, own) for stock, own in pairs)])
    head = ["proxy", *(f"{payload.key} x {number}" for payload, number in columns)]
    return (
        f"Times less CPU per request than `mitmdump` with nothing on (payload x connections):\n\n{markdown(head, rows)}"
    )


def _workers(medians: Medians, columns: Sequence[tuple[Payload, int]]) -> str:
    """Two workers against one, each pair under the same conditions."""
    rows = []
    for title, one, two in (
        ("CPU per request, all on one core", "fast", "workers-one-core"),
        ("CPU per request, on all cores", "fast-all-cores", "workers"),
        ("requests/s, on all cores", "fast-all-cores", "workers"),
    ):
        pairs = [(medians.get((one, p.key, n)), medians.get((two, p.key, n))) for p, n in columns]
        if not any(first and second for first, second in pairs):
            continue
        if title.startswith("CPU"):
            rows.append([title, *(_ratio(second, first) for first, second in pairs)])
        else:
            rows.append([title, *(figure(b.rate / a.rate) if a and b else "" for a, b in pairs)])
    if not rows:
        return ""
    head = ["two workers / one worker", *(f"{payload.key} x {number}" for payload, number in columns)]
    return f"Two workers against one:\n\n{markdown(head, rows)}"


def _details(
    payload: Payload,
    found: Found,
    medians: Medians,
    contenders: Sequence[Contender],
    connections: Iterable[int],
) -> str:
    rows = []
    for number in connections:
        stock = medians.get((STOCK, payload.key, number))
        for contender in contenders:
            cell = (contender.key, payload.key, number)
            own = medians.get(cell)
            if own is None:
                rows.append([contender.name, str(number), "failed", *[""] * 7])
                continue
            rows.append(
                [
                    contender.name,
                    str(number),
                    figure(own.rate),
                    spread([sample.rate for sample in found[cell]]),
                    figure(own.cpu_us),
                    spread([sample.cpu_us for sample in found[cell]]),
                    per_core(own),
                    _ratio(stock, own),
                    f"{own.busy:.0%}",
                    _ms(own.p50_ms),
                ]
            )
    head = [
        "proxy",
        "connections",
        "requests/s",
        "least-most",
        "CPU us/request",
        "least-most",
        "requests/CPU second",
        "times less CPU than mitmdump",
        "cores busy",
        "p50 ms",
    ]
    return f"**{payload.key}**: {payload.title}.\n\n{markdown(head, rows)}"


def _ratio(one: Sample | None, other: Sample | None) -> str:
    """How many times the CPU of the other."""
    return figure(one.cpu_us / other.cpu_us) if one and other else ""


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
