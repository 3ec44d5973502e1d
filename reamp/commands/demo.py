"""`reamp demo`: the whole loop on a real app, every promise measured."""

import asyncio
import importlib.util
import os
import signal
import tempfile
from collections import Counter
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
    import httpx

    task = asyncio.ensure_future(story.tell())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise typer.Exit(Exit.INTERRUPTED) from None
    except (httpx.HTTPError, TimeoutError) as error:
        raise UserError(
            f"the demo could not go on ({error!r}): is this machine very busy? What there is, is in {story.folder}",
            Exit.FAILED,
        ) from None


def demo(
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder to keep everything in.", show_default="a new one under the temporary folder"
        ),
    ] = None,
) -> None:
    """Show the whole loop on a real app in about a minute; exit 0 only if every promise was measured to hold.

    Starts a shop (Datasette on SQLite), a sidecar before it and a population of users; records them; replays live at
    1.25x under a 25% ceiling; cuts real traffic to a third; sends forged and expired tags; pulls the lever. Everything
    stays on this machine's loopback addresses.

    On a machine that is too busy, requests reach the app too late for some promises to be measured. These are said
    neither to hold nor to be broken, and the exit code is 1.
    """
    missing = [name for name in ("datasette", "plotext") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"the demo also needs {' and '.join(missing)}: pip install 'reamp[demo]'")
    from reamp.demo.picture import draw
    from reamp.demo.promises import Verdict, judge
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
    hues = {Verdict.HOLDS: "green", Verdict.BROKEN: "red", Verdict.UNTOLD: "yellow"}
    for promise in promises:
        hue = hues[promise.verdict]
        table.add_row(promise.promise, promise.measured, f"[{hue}]{promise.verdict}[/{hue}]")
    console.print(table)
    verdicts = Counter(promise.verdict for promise in promises)
    if broken := verdicts[Verdict.BROKEN]:
        console.print(f"[red]{broken} of {len(promises)} promises did not hold.[/red]")
    if untold := verdicts[Verdict.UNTOLD]:
        held_up = max((stall.length_ns for stall in evidence.stalls), default=0)
        console.print(
            f"[yellow]{untold} of {len(promises)} can't be told: this machine was too busy.[/yellow] Requests took up"
            f" to {evidence.late_ns / 1e6:.0f} ms from the sidecar to the app, and the demo itself was held up for up"
            f" to {held_up / 1e6:.0f} ms. Run it again when less is going on."
        )
    if broken or untold:
        raise typer.Exit(Exit.FAILED)
    console.print(f"All {len(promises)} promises were measured to hold.")
