"""`reamp captures`: look into recordings, check them, cut them and carry them elsewhere.

One module for each command, named as it is; `shared` is what they have in common.
"""

import typer

from reamp.commands.captures.audit import audit
from reamp.commands.captures.cat import cat
from reamp.commands.captures.export import export
from reamp.commands.captures.import_ import import_
from reamp.commands.captures.ls import list_segments
from reamp.commands.captures.merge import merge
from reamp.commands.captures.show import show
from reamp.commands.captures.slice import cut
from reamp.commands.captures.stats import stats
from reamp.commands.captures.top import top
from reamp.commands.captures.verify import verify
from reamp.helping import Command

app = typer.Typer(
    name="captures",
    help="Look into recordings and check that they are whole.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.command("audit", cls=Command)(audit)
app.command("cat", cls=Command)(cat)
app.command("export", cls=Command)(export)
app.command("import", cls=Command)(import_)
app.command("ls", cls=Command)(list_segments)
app.command("merge", cls=Command)(merge)
app.command("show", cls=Command)(show)
app.command("slice", cls=Command)(cut)
app.command("stats", cls=Command)(stats)
app.command("top", cls=Command)(top)
app.command("verify", cls=Command)(verify)
