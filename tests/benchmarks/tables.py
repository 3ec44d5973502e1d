"""Medians, Markdown, and a machine in generic words."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tests.benchmarks.measuring import Sample


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def middle(samples: Sequence[Sample]) -> Sample:
    """The median of each figure; the note of the last sample."""
    return Sample(
        rate=median(s.rate for s in samples),
        cpu_us=median(s.cpu_us for s in samples),
        busy=median(s.busy for s in samples),
        target_busy=median(s.target_busy for s in samples),
        note=samples[-1].note,
        p50_ms=median(p50s) if (p50s := [s.p50_ms for s in samples if s.p50_ms is not None]) else None,
    )


def spread(values: Sequence[float]) -> str:
    """The least and the greatest: how noisy it was."""
    return f"{figure(min(values))}-{figure(max(values))}"


def per_core(sample: Sample) -> str:
    """Requests that a CPU second is enough for: the rate on a core that nobody else uses."""
    return f"{1e6 / sample.cpu_us:,.0f}" if sample.cpu_us else ""


def figure(value: float) -> str:
    """Three digits that count, and thousands apart."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def machine() -> str:
    """When and on what, without a name that would identify it."""
    release = Path("/etc/os-release")
    names = dict(line.split("=", 1) for line in release.read_text().splitlines() if "=" in line)
    system = (
        f"{names.get('NAME', 'Linux').strip('"').removesuffix(' GNU/Linux')} {names.get('VERSION_ID', '').strip('"')}"
    )
    return (
        f"{time.strftime('%Y-%m-%d')}, {len(os.sched_getaffinity(0))} shared {platform.machine().replace('_', '-')} "
        f"cores, {system.strip()}, Python {platform.python_version()}"
    )
