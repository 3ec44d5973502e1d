"""wrk before a proxy, and what the proxy cost meanwhile."""

import re
import signal
from pathlib import Path

from tests.benchmarks.contenders import Proxy
from tests.benchmarks.measuring import Bench, Sample, measure, pinned
from tests.benchmarks.payloads import Payload
from tests.benchmarks.target import Nginx
from tests.support.processes import Process

WARM_UP = 0.3
"""Seconds from the first requests to the start of the measurement: connections are open, caches are filled."""

_TURNS = 24
"""Times that each connection should have its turn in a measurement. A slow proxy serves all of them in one lump, so a
window of few lumps counts one too many or too few."""

_P50 = re.compile(r"50%\s+([\d.]+)(us|ms|s)")
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def wrk(bench: Bench, url: str, payload: Payload, connections: int, seconds: float) -> list[str]:
    """A command line: one thread of wrk on the core that is not measured."""
    script = payload.script(bench.folder)
    command = ["wrk", "-t1", "-c", str(connections), "-d", f"{round(seconds)}s", "--latency", *script]
    return pinned(bench.cores.other, [*command, url + payload.path])


def load(bench: Bench, folder: Path, proxy: Proxy, app: Nginx, payload: Payload, connections: int) -> Sample:
    """Put wrk before the proxy, measure, and end wrk by the signal on which it still tells what it found."""
    log = folder / f"wrk-{payload.key}-{connections}"
    log.unlink(missing_ok=True)
    with Process(wrk(bench, proxy.url, payload, connections, bench.seconds + 60), log) as client:
        sample = measure(proxy.process, app, bench.seconds, WARM_UP, at_least=_TURNS * connections)
        if not client.running():
            raise RuntimeError(f"wrk ended before the measurement did:\n{client.output}")
        client.signal(signal.SIGINT)
        client.wait(30)
    text = log.read_text()
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(text)
    p50 = _P50.search(text)
    return sample._replace(p50_ms=float(p50[1]) * _UNITS[p50[2]] if p50 else None)
