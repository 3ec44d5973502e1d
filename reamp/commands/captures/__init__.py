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

app = typer.Typer(
    name="captures",
    help="Look into recordings and check that they are whole.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.command("audit")(audit)
app.command("cat")(cat)
app.command("export")(export)
app.command("import")(import_)
app.command("ls")(list_segments)
app.command("merge")(merge)
app.command("show")(show)
app.command("slice")(cut)
app.command("stats")(stats)
app.command("top")(top)
app.command("verify")(verify)
