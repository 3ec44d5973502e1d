"""`reamp captures top`: the endpoints that carry the load."""

import json
from typing import Annotated

import typer
from rich.text import Text

from captures.endpoints import Order, endpoints
from captures.rendering import printable
from reamp.commands.captures.shared import (
    DEFAULT,
    AsJson,
    Where,
    complain,
    new_table,
    open_capture,
    to_console,
    told,
)


def top(
    folder: Where = DEFAULT,
    number: Annotated[int, typer.Option("-n", "--number", help="How many endpoints.", min=1)] = 20,
    by: Annotated[Order, typer.Option("--by", help="What to sort by; impact is count x mean time.")] = "impact",
    as_json: AsJson = False,
) -> None:
    """List the endpoints that carry the load. Numbers and ids in paths count as one: /item/{id}.

    Examples:
        reamp captures top ./recordings -n 10

        reamp captures top ./recordings --by time --json | jq '.endpoints[].path'
    """
    capture = open_capture(folder)
    found = endpoints(told(capture.records(), capture.count), by)
    count = sum(endpoint.count for endpoint in found)
    total_ns = sum(endpoint.total_ns for endpoint in found)
    complain(capture)
    if as_json:
        rows = [
            {
                "method": endpoint.method,
                "path": endpoint.path,
                "count": endpoint.count,
                "share": endpoint.count / count,
                "mean_seconds": endpoint.mean_ns / 1e9,
                "impact_seconds": endpoint.total_ns / 1e9,
                "impact_share": endpoint.total_ns / total_ns if total_ns else 0.0,
                "failed": endpoint.failed,
            }
            for endpoint in found[:number]
        ]
        typer.echo(json.dumps({"records": count, "endpoints": rows}, indent=2))
        return
    table = new_table()
    table.add_column("endpoint", overflow="fold")
    for name in ("count", "share", "mean", "impact", "impact share", "failed"):
        table.add_column(name, justify="right", no_wrap=True)
    for endpoint in found[:number]:
        table.add_row(
            Text(printable(f"{endpoint.method} {endpoint.path}")),
            f"{endpoint.count:,}",
            f"{endpoint.count / count:.1%}",
            f"{endpoint.mean_ns / 1e6:,.2f} ms",
            f"{endpoint.total_ns / 1e9:,.2f} s",
            f"{endpoint.total_ns / total_ns:.1%}" if total_ns else "",
            f"{endpoint.failed / endpoint.count:.1%}" if endpoint.failed else "",
        )
    console = to_console()
    console.print(table)
    more = f", {len(found) - number:,} more not shown" if len(found) > number else ""
    console.print(f"{count:,} records, {len(found):,} endpoints{more}", highlight=False)
