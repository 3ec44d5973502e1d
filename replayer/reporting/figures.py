"""Figures, written for people. Pure."""

from typing import Any

from replayer.comparing.comparison import Change, Figure


def time(seconds: float | None) -> str:
    """Write a time with three digits."""
    if seconds is None:
        return "-"
    if seconds >= 1:
        return f"{seconds:.3g} s" if seconds < 1000 else f"{seconds:.0f} s"
    return f"{seconds * 1000:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"


def share(value: float | None) -> str:
    """Write a share."""
    return "-" if value is None else f"{value:.2%}" if 0 < value < 0.1 else f"{value:.1%}" if value else "0%"


def figure(value: float | None, name: Figure) -> str:
    """Write a figure of a comparison."""
    return share(value) if name == "failed" else time(value)


def size(change: Change) -> str:
    """Write how large a change is: a factor, or percentage points."""
    if change.change is None:
        return "-"
    return _points(change.change) if change.figure == "failed" else _factor(change.change)


def interval(change: Change) -> str:
    """Write the interval that a change lies in."""
    if change.change is None:
        return "-"
    written = _points if change.figure == "failed" else _factor
    low = "0" if change.low is None else written(change.low)
    return f"{low} to {'any' if change.high is None else written(change.high)}"


def _factor(value: float) -> str:
    return f"{value:.2f}x" if value < 100 else f"{value:.0f}x"


def _points(value: float) -> str:
    return f"{value * 100:+.2f} pp"


def p(value: float | None) -> str:
    """Write a p-value."""
    return "-" if value is None else "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def size_of(count: int) -> str:
    """Write bytes."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"


def counts(values: dict[Any, int]) -> str:
    """Write counts by kind."""
    return ", ".join(f"{kind}: {count}" for kind, count in sorted(values.items(), key=lambda each: -each[1]) if count)
