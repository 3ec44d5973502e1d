"""The histogram log of a run, line by line."""

from collections.abc import Iterator
from pathlib import Path

from hdrh.histogram import HdrHistogram

from replayer.reporting.findings import lines

LONGEST = 1 << 16
"""Characters of a histogram. One of a second has hundreds; what a forged one unpacks to must not fill the memory."""


def read(folder: Path) -> Iterator[tuple[str, float, HdrHistogram]]:
    """Give each line's quantity, the second of the run at which it begins, and what it holds. Without torn lines."""
    for line in lines(folder / "latency.hlog"):
        tag, _, rest = line.strip().partition(",")
        fields = rest.split(",")
        if not tag.startswith("Tag=") or len(fields) != 4 or len(fields[3]) > LONGEST:
            continue
        try:
            yield tag.removeprefix("Tag="), float(fields[0]), HdrHistogram.decode(fields[3])
        except Exception:  # noqa: BLE001, S112 - whatever hdrh makes of a torn line, the others count
            continue
