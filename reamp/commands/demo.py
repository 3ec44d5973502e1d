"""`reamp demo`: the whole loop on a real app, every promise measured."""

import asyncio
import importlib.util
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from rules.exits import Exit, UserError

if TYPE_CHECKING:
    from reamp.demo.promises import Evidence
    from reamp.demo.story import Story


async def _tell(story: "Story") -> "Evidence":
    """Tell the story. Whoever ends the demo ends its whole cast, whichever signal it is."""
    task = asyncio.ensure_future(story.tell())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise typer.Exit(Exit.INTERRUPTED) from None


def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to keep everything in.", show_default="a new one under the temporary folder"),
    ] = None,
) -> None:
    """Show the whole loop on a real app in about a minute; exit 0 only if every promise was measured to hold.

    Starts a shop (Datasette on SQLite), a sidecar before it and a population of users; records them; replays live at
    1.25x under a 25% ceiling; cuts real traffic to a third; sends forged and expired tags; pulls the lever. Everything
    stays on this machine's loopback addresses.
    """
    missing = [name for name in ("datasette", "plotext") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"the demo also needs {' and '.join(missing)}: pip install 'reamp[demo]'")
    from reamp.demo.picture import draw
    from reamp.demo.promises import judge
    from reamp.demo.story import Story

    console = Console()
    if out is None:
        out = Path(tempfile.mkdtemp(prefix="reamp-demo-"))
    elif out.exists() and any(out.iterdir()):
        raise UserError(f"--out: {out} is not empty: name a new folder")
    out.mkdir(parents=True, exist_ok=True)
    console.print(f"[bold]reamp demo[/bold]  everything is kept in {out}")
    evidence = asyncio.run(_tell(Story(out, console)))
    console.print()
    colour = console.is_terminal and "NO_COLOR" not in os.environ
    print(draw(evidence, console.width, colour=colour))
    promises = judge(evidence)
    table = Table(show_lines=False, expand=False)
    table.add_column("promise")
    table.add_column("measured")
    table.add_column("verdict")
    for promise in promises:
        table.add_row(
            promise.promise, promise.measured, "[green]holds[/green]" if promise.kept else "[red]BROKEN[/red]"
        )
    console.print(table)
    broken = sum(not promise.kept for promise in promises)
    if broken:
        console.print(f"[red]{broken} of {len(promises)} promises did not hold.[/red]")
        raise typer.Exit(Exit.FAILED)
    console.print(f"All {len(promises)} promises were measured to hold.")
