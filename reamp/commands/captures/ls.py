"""`reamp captures ls`: the segments in a table."""

from rich.text import Text

from captures.moments import SECOND, iso
from captures.rates import sparkline, spread
from captures.reader import Segment
from captures.rendering import printable
from reamp.commands.captures.shared import DEFAULT, Where, as_size, complain, new_table, open_capture, to_console
from rules.units import Duration

_BUCKETS = 20
_WIDE, _NARROW = 150, 130  # columns: from here on whole names, below this only what tells segments apart
_SHORT_NAME = len("8f3a01bc-000001")


def list_segments(folder: Where = DEFAULT) -> None:
    """List the segments: when, how much, how even, closed or torn.

    Example: `reamp captures ls ./recordings`
    """
    capture = open_capture(folder)
    console = to_console()
    rows = [_row(segment, wide=console.width >= _WIDE) for segment in capture.segments]
    table = new_table()
    table.add_column("segment", overflow="fold", min_width=min(_SHORT_NAME, max(len(row[0]) for row in rows)))
    table.add_column("from (UTC)", no_wrap=True)
    for name in ("span", "records", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    if console.width >= _NARROW:
        table.add_column("B/record", justify="right", no_wrap=True)
        table.add_column("rate", justify="right", no_wrap=True)
        table.add_column("over time", min_width=_BUCKETS, no_wrap=True)
    else:
        rows = [[*row[:5], row[-1]] for row in rows]
    table.add_column("state", min_width=len("closed"), no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    first, last = capture.first_ns, capture.last_ns
    size = sum(segment.size for segment in capture.segments)
    if first is not None and last is not None:
        console.print(f"{capture.count:,} records in {as_size(size)}, {iso(first)} to {iso(last)}", highlight=False)
    else:
        console.print("no records", highlight=False)
    complain(capture)


def _row(segment: Segment, *, wide: bool) -> list[str | Text]:
    name = segment.path.name if wide else segment.path.stem.partition("Z-")[2] or segment.path.name
    first, last = segment.first_ns, segment.last_ns
    state = Text(segment.state, style={"closed": "green", "open": "cyan", "torn": "red"}[segment.state])
    if first is None or last is None:
        return [printable(name), "", "", "0", as_size(segment.size), "", "", "", state]
    seconds = (last - first) / SECOND
    return [
        printable(name),
        iso(first)[:19].replace("T", " "),
        str(Duration(round(seconds, 1 if seconds < 60 else None))),
        f"{segment.count:,}",
        as_size(segment.size),
        f"{segment.size / max(segment.count, 1):.1f}",
        f"{segment.count / seconds:.4g}/s" if seconds >= 1 else "",  # of less than a second there is no rate
        sparkline(spread(segment.frames(), first, last, _BUCKETS)),
        state,
    ]
