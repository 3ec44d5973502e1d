"""What of the sidecar's CPU time goes into the capture: with it and with `--no-capture`, by turns."""

import shutil
from statistics import median

from tests.benchmarks import target
from tests.benchmarks.contenders import lane, lanes, sidecar
from tests.benchmarks.load import load
from tests.benchmarks.measuring import Bench, pinned
from tests.benchmarks.payloads import BROWSER, PAYLOADS, SMALL
from tests.benchmarks.tables import figure, markdown, spread

CONNECTIONS = 32


def run(bench: Bench) -> str:
    """Measure, and give the table."""
    wanted = bench.narrowed.payloads or (SMALL.key, BROWSER.key)
    payloads = [payload for payload in PAYLOADS if payload.key in wanted]
    contenders = lanes(bench)
    found: dict[tuple[str, str, bool], list[float]] = {}
    with target.serving(bench.folder / "app", pinned(bench.cores.other, [])) as app:
        for turn in range(bench.rounds):
            for contender in contenders:
                for capture in (True, False) if turn % 2 else (False, True):
                    folder = bench.folder / "share"
                    folder.mkdir()
                    options = lane(contender.key) if capture else (*lane(contender.key), "--no-capture")
                    with sidecar(bench, folder, app, *options) as proxy:
                        for payload in payloads:
                            sample = load(bench, folder, proxy, app, payload, CONNECTIONS)
                            found.setdefault((contender.key, payload.key, capture), []).append(sample.cpu_us)
                            bench.say(
                                f"  {turn + 1}/{bench.rounds} {contender.key} {payload.key:8} "
                                f"{'with capture' if capture else 'without'} {sample.cpu_us:7.1f} us"
                            )
                    shutil.rmtree(folder)
    rows = []
    for contender in contenders:
        for payload in payloads:
            on, off = found[contender.key, payload.key, True], found[contender.key, payload.key, False]
            shares = [1 - without / with_it for with_it, without in zip(on, off, strict=True)]
            rows.append(
                [
                    contender.name,
                    payload.title,
                    figure(median(on)),
                    spread(on),
                    figure(median(off)),
                    spread(off),
                    figure(median(on) - median(off)),
                    f"{median(shares):.0%}",
                    f"{min(shares):.0%} to {max(shares):.0%}",
                ]
            )
    head = [
        "proxy",
        "payload",
        "CPU us/request",
        "least-most",
        "without capture",
        "least-most",
        "capture's own us",
        "capture's share",
        "least to most",
    ]
    return f"{CONNECTIONS} connections:\n\n{markdown(head, rows)}"
