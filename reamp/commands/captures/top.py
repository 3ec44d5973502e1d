"""`reamp captures top`: the endpoints that carry the load."""

import json
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.text import Text

from captures.endpoints import Order, endpoints
from captures.records import Record
from captures.rendering import printable
from reamp.commands.captures.shared import (
    DEFAULT,
    AsJson,
    Except,
    From,
    Identity,
    Only,
    To,
    Where,
    choose,
    finish,
    new_table,
    open_capture,
    to_console,
)


def top(
    folder: Where = DEFAULT,
    number: Annotated[int, typer.Option("-n", "--number", metavar="N", help="How many endpoints.", min=1)] = 20,
    by: Annotated[
        Order, typer.Option("--by", metavar="impact|count|time", help="What to sort by; impact is count x mean time.")
    ] = "impact",
    as_json: AsJson = False,
    from_: From = None,
    to: To = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", metavar="METHOD", help="Only this method; may be given again.")
    ] = None,
    only: Only = None,
    but: Except = None,
    identity: Identity = None,
) -> None:
    """List the endpoints that carry the load.

    What identifies one thing counts as one endpoint: /item/{id}, /days/{date}, and /blog/{slug} where very many words
    stand at one place. Of those, one that has a twentieth of the requests keeps its name.

    Examples:

        reamp captures top ./recordings -n 10

        reamp captures top ./recordings --from -15m --method POST

        reamp captures top ./recordings --by time --json | jq '.endpoints[].path'
    """
    capture = open_capture(folder, identity)
    records = choose(capture, from_, to, only, but).records()
    found = endpoints(_with_method(records, method), by)
    count = sum(endpoint.count for endpoint in found)
    total_ns = sum(endpoint.total_ns for endpoint in found)
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
        finish(capture)
        return
    table = new_table()
    table.add_column("endpoint", overflow="fold")
    for name in ("count", "share", "mean", "impact", "share", "failed"):  # each share belongs to what stands before it
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
    finish(capture)


def _with_method(records: Iterator[Record], methods: list[str] | None) -> Iterator[Record]:
    if not methods:
        return records
    wanted = {method.upper() for method in methods}
    return (record for record in records if record.method in wanted)
