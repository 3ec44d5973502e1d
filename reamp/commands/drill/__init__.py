"""`reamp drill`: would a fix hold, if the same thing happened again.

One module for each command, named as it is; `sourcing` is what they have in common of where an incident is from,
and `outlining` tells what is in one.
"""

import typer

from reamp.commands.drill.check import check
from reamp.commands.drill.from_ import from_
from reamp.commands.drill.run import run
from reamp.commands.drill.verdict import verdict
from reamp.helping import Command

app = typer.Typer(
    name="drill",
    help="""Answer whether a fix holds under the traffic of an incident.

    1. From what is left of it to its traffic: `reamp drill from access.log --around-peak 30m -o incident.reamp`
    2. The clone before the fix: `reamp drill run incident.reamp --to http://staging:8000 --idle-target --key load.key`
    3. And with it: the same command with `--against drills/<the first>`, which ends with the verdict and its page.

    `reamp drill check` compares clone and incident by itself; `reamp drill verdict` judges a drill once more. Exit
    codes of a verdict: 0 HOLDS, 99 DOES NOT HOLD, 94 NOT PROVEN. More: docs/incident-drill.md.
    """,
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.command("check", cls=Command)(check)
app.command("from", cls=Command)(from_)
app.command("run", cls=Command)(run)
app.command("verdict", cls=Command)(verdict)
