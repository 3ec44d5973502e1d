"""Run benchmarks and print their tables: ``python -m tests.benchmarks [NAME ...]``."""

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import (
    addons,
    backoff,
    bursts,
    capture_layout,
    capture_sealing,
    capture_share,
    capture_size,
    capture_speed,
    chain,
    charges,
    contenders,
    dark,
    drill,
    drill_truth,
    egress,
    fairness,
    latency,
    lever,
    memory,
    million,
    noise,
    pacing,
    payloads,
    peers,
    plugin,
    replay_memory,
    replayer,
    scaling,
    scripts,
    sidecar,
    tag,
    tap,
)
from tests.benchmarks.measuring import Bench, Narrowed, cores
from tests.benchmarks.tables import machine


class Benchmark(NamedTuple):
    """One that can be named."""

    run: Callable[[Bench], str]
    peers: tuple[str, ...]
    seconds: float = 3.0
    """Length of one measurement, unless told otherwise."""
    timed: bool = True
    """Whether it depends on the machine."""
    repeated: bool = True
    """Whether it is measured several times."""


BENCHMARKS = {
    "replayer": Benchmark(replayer.run, replayer.PEERS),
    "scaling": Benchmark(scaling.run, scaling.PEERS),
    "pacing": Benchmark(pacing.run, pacing.PEERS, 4.0),
    "replay_memory": Benchmark(replay_memory.run, replay_memory.PEERS, repeated=False),
    "noise": Benchmark(noise.run, noise.PEERS, timed=False),
    "drill_truth": Benchmark(drill_truth.run, drill_truth.PEERS, timed=False),
    "bursts": Benchmark(bursts.run, bursts.PEERS, timed=False),
    "fairness": Benchmark(fairness.run, fairness.PEERS, timed=False),
    "sidecar": Benchmark(sidecar.run, contenders.PEERS, 0.8),
    "latency": Benchmark(latency.run, contenders.PEERS, 2.0),
    "lever": Benchmark(lever.run, lever.PEERS, repeated=False),
    "dark": Benchmark(dark.run, dark.PEERS),
    "capture_share": Benchmark(capture_share.run, contenders.PEERS),
    "memory": Benchmark(memory.run, contenders.PEERS),
    "addons": Benchmark(addons.run, addons.PEERS),
    "capture_size": Benchmark(capture_size.run, capture_size.PEERS, repeated=False),
    "capture_layout": Benchmark(capture_layout.run, capture_layout.PEERS, repeated=False),
    "capture_sealing": Benchmark(capture_sealing.run, capture_sealing.PEERS),
    "capture_speed": Benchmark(capture_speed.run, capture_speed.PEERS),
    "plugin": Benchmark(plugin.run, plugin.PEERS),
    "backoff": Benchmark(backoff.run, backoff.PEERS, repeated=False),
    "chain": Benchmark(chain.run, chain.PEERS, repeated=False),
    "egress": Benchmark(egress.run, egress.PEERS, 2.0),
    "charges": Benchmark(charges.run, charges.PEERS, repeated=False),
    "tap": Benchmark(tap.run, tap.PEERS),
    "tag": Benchmark(tag.run, tag.PEERS, repeated=False),
    "scripts": Benchmark(scripts.run, scripts.PEERS, repeated=False),
    "drill": Benchmark(drill.run, drill.PEERS, repeated=False),
    "million": Benchmark(million.run, million.PEERS, repeated=False),
}
REQUIRED = ("nginx", "wrk", "mitmdump", "taskset")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _listed(*known: str) -> Callable[[str], tuple[str, ...]]:
    """A list with commas, of known words."""

    def parse(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return parse


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list like 1,32") from error
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError("a number of connections is at least 1")
    return numbers


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure reamp side by side with other tools; Markdown tables on standard output.",
        epilog=f"Benchmarks: {', '.join(BENCHMARKS)} (all, if none is named). "
        "`setup` installs k6 and Locust into an environment of their own, autocannon and Artillery beside it.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*BENCHMARKS, "setup"], help="benchmark to run")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each; the median counts (default: 5)")
    parser.add_argument(
        "--seconds", type=float, help="length of a measurement (default: 3; pacing 4, sidecar 0.8, latency 2)"
    )
    parser.add_argument("--quick", action="store_true", help="one short round, to see that everything works")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the tables into a file too")
    narrow = parser.add_argument_group("parts of the sidecar's benchmarks")
    narrow.add_argument(
        "--only",
        type=_listed(*payloads.KEYS),
        default=(),
        metavar="LIST",
        help=f"payloads: {','.join(payloads.KEYS)} (sidecar, capture_share)",
    )
    narrow.add_argument("--connections", type=_numbers, default=(), metavar="LIST", help="like 1,32 (sidecar)")
    narrow.add_argument(
        "--contenders",
        type=_listed(*contenders.KEYS, *contenders.TLS_KEYS),
        default=(),
        metavar="LIST",
        help=f"{','.join(contenders.KEYS)} (sidecar, latency, capture_share, memory); only by name: "
        f"{','.join(contenders.TLS_KEYS)} (sidecar)",
    )
    narrow.add_argument("--rate", type=float, default=0.0, help="arrivals per second (latency; default: half the most)")
    narrow.add_argument("--minutes", type=float, default=10.0, help="at full rate (memory; default: 10)")
    narrow.add_argument("--idle", type=int, default=10_000, help="idle connections (memory; default: 10000)")
    return parser.parse_args()


def main() -> int:
    """Run what was asked for."""
    logging.getLogger("captures").setLevel(logging.ERROR)  # making a recording in seconds is no way to treat a disk
    arguments = _arguments()
    names = arguments.names or list(BENCHMARKS)
    if "setup" in names:
        peers.setup()
        names = [name for name in names if name != "setup"]
    needed = tuple({peer for name in names for peer in BENCHMARKS[name].peers})
    for what in peers.missing(needed):
        _say(what)
    if any(peers.find(name) is None for name in REQUIRED if name in needed):
        _say("Without these there is nothing to measure with.")
        return 1
    tables: list[str] = []
    failed = False
    for name in names:
        try:
            tables.append(_table(name, arguments))
        except (RuntimeError, AssertionError, OSError) as error:  # the next may well succeed, and all takes long
            failed = True
            _say(f"FAILED: {name}: {error}")
            continue
        print(f"\n{tables[-1]}", flush=True)
        if arguments.out:  # after each: what was measured is kept if a later one fails
            arguments.out.write_text("\n".join(tables))
    return int(failed)


def _table(name: str, arguments: argparse.Namespace) -> str:
    benchmark, quick = BENCHMARKS[name], arguments.quick
    with tempfile.TemporaryDirectory(prefix="reamp-bench-") as folder:
        bench = Bench(
            folder=Path(folder),
            cores=cores(),
            rounds=1 if quick else max(1, arguments.rounds),
            seconds=arguments.seconds or (0.3 if quick and name == "sidecar" else 1.0 if quick else benchmark.seconds),
            quick=quick,
            say=_say,
            narrowed=Narrowed(
                payloads=arguments.only,
                connections=arguments.connections,
                contenders=arguments.contenders,
                rate=arguments.rate,
                minutes=arguments.minutes,
                idle=arguments.idle,
            ),
        )
        _say(f"{name}: {bench.rounds} rounds of {bench.seconds:g} s each" if benchmark.repeated else name)
        table = benchmark.run(bench)
    if not benchmark.timed:
        return f"### {name}\n\n{table}\n"
    often = f"Median of {bench.rounds}" if benchmark.repeated else "Each once"
    versions = f" {told}." if (told := peers.versions(benchmark.peers)) else ""
    return f"### {name}\n\n{machine()}.{versions} {often}.\n\n{table}\n"


if __name__ == "__main__":
    sys.exit(main())
