"""`reamp captures ls`: the segments in a table."""

import json
from typing import Any

import typer
from rich.text import Text

from captures.lineage import recorded
from captures.moments import SECOND, iso
from captures.rates import sparkline, spread
from captures.reader import Capture, Segment
from captures.rendering import printable
from reamp.commands.captures.shared import (
    DEFAULT,
    AsJson,
    Where,
    as_size,
    finish,
    new_table,
    open_capture,
    tell_left_out,
    to_console,
)
from rules.units import Duration

_WIDE, _NARROW = 150, 130  # columns: from here on whole names, below this only what tells segments apart
_MOST_BARS, _SOME_BARS, _FEW_BARS = 20, 8, 3
_SHORT_NAME = len("8f3a01bc-000001")


def list_segments(folder: Where = DEFAULT, as_json: AsJson = False) -> None:
    """List the segments: when, how much, how even, closed or torn. Reads headers and footers only.

    Examples:

        reamp captures ls ./recordings

        reamp captures ls ./recordings --json | jq '.segments[] | select(.state == "torn") | .file'
    """
    capture = open_capture(folder)
    if as_json:
        typer.echo(json.dumps(_as_object(capture), indent=2))
    else:
        _print(capture)
    finish(capture)


def _as_object(capture: Capture) -> dict[str, Any]:
    return {
        "records": capture.count,
        "bytes": sum(segment.size for segment in capture.segments),
        "first_ns": capture.first_ns,
        "last_ns": capture.last_ns,
        "recorded": recorded(capture),
        "segments": [
            {
                "file": segment.path.name,
                "state": segment.state,
                "encrypted_to": segment.lock.recipients if segment.lock else [],
                "writer": segment.header.writer if segment.header else None,
                "sequence": segment.header.sequence if segment.header else None,
                "records": segment.count,
                "bytes": segment.size,
                "first_ns": segment.first_ns,
                "last_ns": segment.last_ns,
            }
            for segment in capture.segments
        ],
    }


def _print(capture: Capture) -> None:
    console = to_console()
    narrow = console.width < _NARROW
    rows = [_row(segment, console.width) for segment in capture.segments]
    bars = _room(rows, console.width) if narrow else _MOST_BARS
    table = new_table()
    table.add_column("segment", overflow="fold", min_width=min(_SHORT_NAME, max(len(row[0]) for row in rows)))
    table.add_column("from (UTC)", no_wrap=True)
    for name in ("span", "records", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    if narrow:
        rows = [row[:5] for row in rows]
    else:
        table.add_column("B/record", justify="right", no_wrap=True)
        table.add_column("mean rate", justify="right", no_wrap=True)
    table.add_column("rate", min_width=bars, no_wrap=True)
    table.add_column("state", min_width=len("closed"), no_wrap=True)
    for segment, row in zip(capture.segments, rows, strict=True):
        table.add_row(*row, _picture(segment, bars), _state(segment))
    console.print(table)
    first, last = capture.first_ns, capture.last_ns
    size = sum(segment.size for segment in capture.segments)
    if first is not None and last is not None:
        console.print(f"{capture.count:,} records in {as_size(size)}, {iso(first)} to {iso(last)}", highlight=False)
    else:
        console.print("no records", highlight=False)
    tell_left_out(console, capture)
    locks = [segment.lock for segment in capture.segments if segment.lock is not None]
    if locks:
        names = dict.fromkeys(printable(name) for lock in locks for name in lock.recipients)
        console.print(f"{len(locks):,} segments are encrypted to {', '.join(names)}", highlight=False)


def _room(rows: list[list[str]], width: int) -> int:
    """Give the columns that are left for the picture in a narrow table."""
    taken = sum(2 + max(len(row[number]) for row in rows) for number in range(1, 5))
    return max(_FEW_BARS, min(_SOME_BARS, width - taken - (2 + _SHORT_NAME) - (2 + len("closed"))))


def _row(segment: Segment, width: int) -> list[str]:
    name = segment.path.name if width >= _WIDE else segment.path.stem.partition("Z-")[2] or segment.path.name
    first, last = segment.first_ns, segment.last_ns
    if first is None or last is None:
        return [printable(name), "", "", "0", as_size(segment.size), "", ""]
    seconds = (last - first) / SECOND
    return [
        printable(name),
        iso(first)[: 19 if width >= _NARROW else 16].replace("T", " "),
        str(Duration(round(seconds, 1 if seconds < 60 else None))),
        f"{segment.count:,}",
        as_size(segment.size),
        f"{segment.size / max(segment.count, 1):.1f}",
        f"{segment.count / seconds:.4g}/s" if seconds >= 1 else "",  # of less than a second there is no rate
    ]


def _picture(segment: Segment, bars: int) -> str:
    first, last = segment.first_ns, segment.last_ns
    return "" if first is None or last is None else sparkline(spread(segment.frames(), first, last, bars))


def _state(segment: Segment) -> Text:
    return Text(segment.state, style={"closed": "green", "open": "cyan", "torn": "red"}[segment.state])
