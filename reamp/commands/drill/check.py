"""`reamp drill check`: is the clone a fair stand-in for what went down."""

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reamp.commands.captures.shared import AsJson
from reamp.commands.replay import replay
from reamp.commands.sharing import with_options_of
from reamp.settings import effective
from rules.exits import Exit, UserError
from rules.units import Duration, UnitError

if TYPE_CHECKING:
    from rich.console import Console

    from drill.fairness.conditions import Conditions
    from drill.fairness.fairness import Fairness
    from drill.incident import Incident
    from replayer.plan import Plan

_FAIRNESS = "Is it fair"

_TAKEN = {
    *("to", "idle_target", "allowed_targets", "identity", "key", "audience", "tag_lifetime"),
    *("host", "set_header", "remove_header", "keep_header", "token_from", "rewrite", "plugin", "allow", "seed"),
    *("connect_timeout", "first_byte_timeout", "timeout", "max_connections", "http2", "resolve"),
    *("cert", "cert_key", "ca", "insecure", "processes", "lane", "runs", "config"),
}
"""Options of `reamp replay` that say where requests go, and how."""

Cpu = Annotated[
    str | None, typer.Option("--cpu", metavar="N", help="Processors of the clone: 2, 500m.", rich_help_panel=_FAIRNESS)
]
Memory = Annotated[
    str | None,
    typer.Option("--memory", metavar="SIZE", help="Memory of the clone: 4G, 512Mi.", rich_help_panel=_FAIRNESS),
]
IncidentCpu = Annotated[
    str | None,
    typer.Option("--incident-cpu", metavar="N", help="Processors of production then.", rich_help_panel=_FAIRNESS),
]
IncidentMemory = Annotated[
    str | None,
    typer.Option("--incident-memory", metavar="SIZE", help="Memory of production then.", rich_help_panel=_FAIRNESS),
]
ResourcesFile = Annotated[
    Path | None,
    typer.Option(
        "--resources",
        metavar="PATH",
        help="Read the clone's from there: a Kubernetes manifest, a Compose file, the output of upsun resources:get, "
        ".upsun/config.yaml, or the folder of a cgroup (/sys/fs/cgroup in a container).",
        rich_help_panel=_FAIRNESS,
    ),
]
IncidentResources = Annotated[
    Path | None,
    typer.Option(
        "--incident-resources", metavar="PATH", help="The same of production then.", rich_help_panel=_FAIRNESS
    ),
]
Cold = Annotated[
    bool,
    typer.Option("--cold", help="The clone's caches are empty: it was just started.", rich_help_panel=_FAIRNESS),
]
Changed = Annotated[
    list[str] | None,
    typer.Option(
        metavar="'METHOD ROUTE'",
        help="The fix itself has changed what this route answers: 'GET /products'; may be repeated.",
        rich_help_panel=_FAIRNESS,
    ),
]


@with_options_of(replay, but=[name for name in signature(replay).parameters if name not in _TAKEN])
def check(
    given: Mapping[str, Any],
    /,
    *,
    incident: Annotated[Path, typer.Argument(metavar="INCIDENT", help="What `reamp drill from` wrote, or a capture.")],
    cpu: Cpu = None,
    memory: Memory = None,
    incident_cpu: IncidentCpu = None,
    incident_memory: IncidentMemory = None,
    resources: ResourcesFile = None,
    incident_resources: IncidentResources = None,
    warm: Annotated[
        str | None,
        typer.Option(
            "--warm",
            metavar="DURATION",
            help="Replay so much of the incident first, so that the clone's caches are warm: 5m.",
            rich_help_panel=_FAIRNESS,
        ),
    ] = None,
    cold: Cold = False,
    changed: Changed = None,
    as_json: AsJson = False,
) -> None:
    r"""See whether a clone is a fair stand-in for what went down, before any load is put onto it.

    Some requests of each route are sent, one at a time, only those that read, each with a load tag. Their statuses and
    sizes are compared with those of the incident: a list that shows 12 products where production showed 50,000, a way
    to a login, a thing that is not there. What differs is listed with what it means for the verdict: a clone that has
    less to do than production can't say HOLDS, one that has it harder can't say DOES NOT HOLD.

    Compare, by some hundred requests at most:

        reamp drill check incident.reamp --to https://staging.example --idle-target --key load.key

    The same with what the machines have, and after five minutes of the incident have warmed the caches:

        reamp drill check incident.reamp --to https://staging.example --idle-target --key load.key \
          --cpu 2 --memory 4G --incident-cpu 2 --incident-memory 4G --warm 5m

    With what files tell of the machines, where the fix itself has made a page smaller:

        reamp drill check incident.reamp --to http://127.0.0.1:8080 --idle-target --key load.key \
          --resources /sys/fs/cgroup --incident-resources production.yaml --changed 'GET /products'

    Exit codes: 0 nothing stands against a verdict; 94 something does; 91 the lever is pulled; 104 a mistake in the
    settings; 105 stopped by a signal; 1 anything else.
    """
    import uvloop

    from captures.keyring import load_identities
    from drill.fairness.showing import show
    from drill.incident import read_incident
    from replayer.progress import screen

    plan = _plan(given, incident)
    conditions = conditions_of(locals())
    warmed = _duration("--warm", warm)
    found = read_incident(incident, load_identities(plan.identity))
    console = screen()
    fairness = uvloop.run(_check(plan, found, conditions, warmed, None if as_json else console))
    if as_json:
        typer.echo(fairness.model_dump_json(indent=2))
    else:
        show(console, fairness)
    unfair = fairness.forbids_holds or fairness.forbids_does_not_hold
    raise typer.Exit(int(Exit.NOT_PROVEN if unfair else Exit.DONE))


def _plan(given: Mapping[str, Any], incident: Path) -> "Plan":
    """Make the plan by which requests are sent of what was given. Raises UserError."""
    from drill.running.plan import DrillPlan
    from replayer.plan import Plan

    flags = {name: value for name, value in given.items() if name != "config"}
    flags |= {"recording": incident, "idle_target": True}
    elsewhere = Plan.model_fields.keys() - _TAKEN - {"sidecars"} | {"idle_target"}
    sending = effective(Plan, "replay", flags, given["config"], {"sidecars": "--sidecar"}, elsewhere)
    own = {"idle_target": given["idle_target"], "sending": sending}
    return effective(DrillPlan, "drill", own, given["config"]).sending


def conditions_of(given: Mapping[str, Any]) -> "Conditions":
    """Understand what was said of clone and production, by the names of parameters. Raises UserError."""
    from drill.fairness.checking import Stated, resources
    from drill.fairness.conditions import Conditions

    return Conditions(
        clone=resources(Stated(given["cpu"], given["memory"], given["resources"])),
        production=resources(
            Stated(given["incident_cpu"], given["incident_memory"], given["incident_resources"]), "incident-"
        ),
        cold=given["cold"],
        changed=tuple(given["changed"] or ()),
    )


async def _check(
    plan: "Plan", incident: "Incident", conditions: "Conditions", warm: Duration | None, console: "Console | None"
) -> "Fairness":
    from drill.fairness.checking import check as compare
    from drill.fairness.warming import warm as play
    from replayer.interruption import interruptible

    with interruptible():
        if warm is not None:
            conditions = conditions._replace(warmed=await play(plan, incident, warm, console))
        if console is None:
            return await compare(plan, incident, conditions)
        with console.status("reading the incident") as status:

            def tell(done: int, of: int) -> None:
                status.update(f"asking the clone: {done} of {of}")

            return await compare(plan, incident, conditions, tell)


def _duration(option: str, text: str | None) -> Duration | None:
    try:
        found = None if text is None else Duration.parse(text)
    except UnitError as error:
        raise UserError(f"{option}: {error}") from None
    if found is not None and found <= 0:
        raise UserError(f"{option}: has to be more than zero")
    return found
