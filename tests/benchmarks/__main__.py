"""Run benchmarks and print their tables: ``python -m tests.benchmarks [NAME ...]``."""

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import capture_size, peers, replayer, sidecar
from tests.benchmarks.measuring import Bench, cores
from tests.benchmarks.tables import machine

BENCHMARKS: dict[str, tuple[Callable[[Bench], str], tuple[str, ...]]] = {
    "replayer": (replayer.run, replayer.PEERS),
    "sidecar": (sidecar.run, sidecar.PEERS),
    "capture_size": (capture_size.run, capture_size.PEERS),
}
REQUIRED = ("nginx", "wrk", "mitmdump", "taskset")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure reamp side by side with other tools; Markdown tables on standard output.",
        epilog=f"Benchmarks: {', '.join(BENCHMARKS)} (all, if none is named). "
        "`setup` installs k6 and Locust into an environment of their own.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*BENCHMARKS, "setup"], help="benchmark to run")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each; the median counts (default: 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a measurement (default: 3)")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that everything works")
    return parser.parse_args()


def main() -> int:
    """Run what was asked for."""
    logging.getLogger("captures").setLevel(logging.ERROR)  # making a recording in seconds is no way to treat a disk
    arguments = _arguments()
    names = arguments.names or list(BENCHMARKS)
    if "setup" in names:
        peers.setup()
        names = [name for name in names if name != "setup"]
    needed = tuple({peer for name in names for peer in BENCHMARKS[name][1]})
    for what in peers.missing(needed):
        _say(what)
    if any(peers.find(name) is None for name in REQUIRED if name in needed):
        _say("Without these there is nothing to measure with.")
        return 1
    for name in names:
        run, used = BENCHMARKS[name]
        with tempfile.TemporaryDirectory(prefix="reamp-bench-") as folder:
            quick = arguments.quick
            bench = Bench(
                folder=Path(folder),
                cores=cores(),
                rounds=1 if quick else max(1, arguments.rounds),
                seconds=1.0 if quick else arguments.seconds,
                quick=quick,
                say=_say,
            )
            _say(f"{name}: {bench.rounds} rounds of {bench.seconds:g} s each")
            table = run(bench)
        print(f"\n### {name}\n\n{machine()}. {peers.versions(used)}. Median of {bench.rounds}.\n\n{table}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
