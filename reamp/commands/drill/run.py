"""`reamp drill run`: play an incident onto the clone, look for its breaking point, and judge."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reamp.commands.captures.shared import AsJson, tidily
from reamp.commands.drill.check import check, conditions_of
from reamp.commands.drill.from_ import from_
from reamp.commands.drill.sourcing import understood
from reamp.commands.replay import replay
from reamp.commands.sharing import with_options_of
from reamp.settings import effective
from rules.exits import Exit, UserError

if TYPE_CHECKING:
    from drill.fairness.conditions import Conditions
    from drill.incident import Incident
    from drill.running.plan import DrillPlan
    from drill.running.record import DrillRecord
    from drill.running.running import Teller

_DRILL, _LOAD, _CRITERIA = "The drill", "How much", "What has to hold"

OF_SOURCE = ("output", "force", "to", "as_json")
"""Parameters of `drill from` that this does not have. (`--to` is the target here.)"""

LIVE = (
    *("sidecar", "idle_target", "ceiling", "signal_timeout", "control_ca", "of", "top_up", "warm_up"),
    *("preflight", "skip_check", "canary", "echo", "app_header", "app_metric", "downstream_header"),
    "downstream_metric",
)
"""Parameters of `replay` that are about live targets..."""

OWN = (
    *("recording", "identity", "amplify", "rate", "even", "stage", "duration", "max_requests", "loop", "squeeze"),
    *("slo", "max_time", "announce", "announce_file", "announce_before", "announce_required"),
    *("max_connections", "from_", "until", "only", "but", "seed", "diff", "diff_against", "diff_rate", "runs", "junit"),
)
"""...and those that a drill says itself, or has no use for."""

_WORDS = {"but": "except_"}
ELSEWHERE = frozenset(
    _WORDS.get(name, name)
    for name in (*LIVE, *OWN)
    if name not in ("sidecar", "identity", "seed", "control_ca", "max_connections")
)
"""Settings of the section `replay` that are for other commands. A sidecar that stands there is told of."""


_OF_CHECK = ("cpu", "memory", "incident_cpu", "incident_memory", "resources", "incident_resources", "cold", "changed")
NOT_OF_CHECK = tuple(name for name in signature(check).parameters if name not in _OF_CHECK)


@with_options_of(from_, OF_SOURCE, (replay, (*LIVE, *OWN)), (check, NOT_OF_CHECK))
def run(
    given: Mapping[str, Any],
    /,
    *,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="When it ends.", rich_help_panel="Which time")
    ] = None,
    idle_target: Annotated[
        bool | None,
        typer.Option(
            "--idle-target",
            help="The target carries no real users: a drill is for no other.",
            rich_help_panel="Target, key and ceiling",
        ),
    ] = None,
    max_connections: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Most connections to the target: of a clone that hangs, as many as its users would wait on.",
            rich_help_panel="Connections",
            show_default="2000, if the system allows it",
        ),
    ] = None,
    sidecar: Annotated[list[str] | None, typer.Option(hidden=True)] = None,
    amplify: Annotated[
        str | None,
        typer.Option(
            metavar="FACTOR",
            help="The factor that the verdict is about, of the incident's traffic.",
            rich_help_panel=_LOAD,
            show_default="1x",
        ),
    ] = None,
    repeat: Annotated[
        int | None,
        typer.Option(metavar="N", help="How often the incident is played.", rich_help_panel=_LOAD, show_default="3"),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            metavar="FROM:TO[:BY]",
            help="Where the breaking point is looked for, and by how much at a time; off: it is not.",
            rich_help_panel=_LOAD,
            show_default="0.5x:2x:0.25x",
        ),
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="How long a step of that lasts: so much of the incident, where it was heaviest.",
            rich_help_panel=_LOAD,
            show_default="60s",
        ),
    ] = None,
    cool_down: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Shortest rest of the clone between two steps.",
            rich_help_panel=_LOAD,
            show_default="10s",
        ),
    ] = None,
    calm_within: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Longest wait until it answers as fast as before the load; then the drill ends.",
            rich_help_panel=_LOAD,
            show_default="2m",
        ),
    ] = None,
    warm: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Play so much of the incident first, to fill the clone's caches.",
            rich_help_panel=_LOAD,
            show_default="cold",
        ),
    ] = None,
    slo: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'RULE'",
            help="What has to hold, overall and on each route: 'p(95)<500ms', 'error_ratio<0.5%'; may be repeated. A "
            "step that breaks one is stopped.",
            rich_help_panel=_CRITERIA,
            show_default="error_ratio<1% and p(95)<1s",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="DRILL",
            help="Folder of a drill of the clone before the fix: tell what the fix changed.",
            rich_help_panel=_CRITERIA,
        ),
    ] = None,
    drills: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the drill's folder goes.", rich_help_panel=_DRILL)
    ] = Path("drills"),
    as_json: AsJson = False,
) -> None:
    r"""Play an incident onto an idle clone, at its own rates and louder, and say whether the clone holds.

    The incident is what `reamp drill from` wrote, or whatever it takes. The drill plays it as often as --repeat says,
    then its heaviest part louder and louder (or, where the clone gave way, softer and softer) to find the breaking
    point, and lets the clone come to rest in between. Nothing louder is tried once a rule of --slo is broken.

    Examples:

        reamp drill run incident.reamp --to https://staging.example --key load.key --idle-target

        reamp drill run incident.reamp --to http://127.0.0.1:8080 --key load.key --idle-target \
          --amplify 1.25x --repeat 5 --sweep 0.5x:4x --slo 'p(95)<400ms' --slo 'error_ratio<0.5%'

        reamp drill run recordings --around-peak 10m --to http://127.0.0.1:8080 --key load.key --idle-target \
          --warm 2m --against drills/20261121-210305-k3f9

    See first what would happen: add **--dry-run**. Ctrl-C stops at once and leaves a drill that `reamp drill verdict`
    reads. How requests are sent may stand in reamp.yaml and in the environment as for `reamp replay` (replay.key); what
    is the drill's own, in a section of that name: drill.repeat, REAMP_DRILL_REPEAT.

    Exit codes: 0 HOLDS; 99 DOES NOT HOLD; 94 NOT PROVEN; 91 lever pulled; 92 outside its window; 104 a mistake in the
    settings, nothing was sent; 105 stopped by a signal; 1 anything else.
    """
    if sidecar:
        raise UserError(
            f"--sidecar {sidecar[0]}: where a sidecar is, there are real users, and a drill looks for the point at "
            "which its target breaks: run it on a clone that carries none (--idle-target)"
        )
    own = {
        "idle_target": idle_target,
        "amplify": amplify,
        "repeat": repeat,
        "sweep": sweep,
        "step": step,
        "cool_down": cool_down,
        "calm_within": calm_within,
        "warm": warm,
        "slo": slo,
        "against": None if against is None else str(against),
    }
    sources = given["sources"]
    plan = _plan({**given, "max_connections": max_connections}, own, sources[0])
    before = None
    if plan.against is not None:
        before, name = _baseline(plan.against, drills, plan.sending.identity)
        plan = plan.model_copy(update={"against": name})
    conditions = conditions_of(given)
    import uvloop

    from drill.running.progress import Terminal
    from drill.running.running import Teller
    from reamp.commands.drill.verdict import judged
    from reamp.commands.drill.verdict import told as told_of
    from replayer.progress import screen

    console = screen()
    with tidily(), tempfile.TemporaryDirectory(prefix="reamp-drill-") as beside, Terminal(console) as terminal:
        incident = _incident(sources, {**given, "to": until, "identity": plan.sending.identity}, Path(beside))
        sending = plan.sending.model_copy(update={"recording": incident.path, "runs": drills})
        plan = plan.model_copy(update={"sending": sending})
        teller = Teller() if as_json else terminal
        record = uvloop.run(_run(plan, incident, conditions, drills, teller, console))
    if record is None:
        return
    folder = drills / record.drill
    if record.exit_code is not None:
        told = f"{record.state}: {record.reason}; what is there, reamp drill verdict {folder} judges"
        raise UserError(told, Exit(record.exit_code))
    raise typer.Exit(told_of(folder, judged(folder, before, plan.sending.identity), as_json=as_json))


def _baseline(against: str, drills: Path, identity: Sequence[Path]) -> tuple[Path, str]:
    """Find the drill of the clone before the fix, by its folder or its name; give both. Raises UserError.

    All of it is read now: what can't be read after hours of load would cost the verdict.
    """
    from captures.keyring import load_identities
    from drill.judging.reading import read

    folder = next(
        (each for each in (Path(against), drills / against) if (each / "drill.json").is_file()), Path(against)
    )
    try:
        return folder, read(folder, load_identities(identity)).record.drill
    except UserError as error:
        raise UserError(f"--against {against}: {error}", error.code) from None


def _plan(given: Mapping[str, Any], own: Mapping[str, Any], source: Path) -> "DrillPlan":
    """Make the plan of what was given. Raises UserError."""
    from drill.running.plan import CONNECTIONS, DrillPlan
    from replayer.descriptors import room
    from replayer.plan import Plan

    taken = [name for name in signature(replay).parameters if name not in (*LIVE, *OWN, "config")]
    flags = {name: given[name] for name in (*taken, "identity", "seed", "max_connections")}
    flags |= {"recording": source, "idle_target": True}
    sending = effective(Plan, "replay", flags, given["config"], {"sidecars": "--sidecar"}, ELSEWHERE)
    if "max_connections" not in sending.model_fields_set:
        most = room(CONNECTIONS, sending.max_connections)
        sending = sending.model_copy(update={"max_connections": most})
    return effective(DrillPlan, "drill", {**own, "sending": sending}, given["config"], but=("sending",))


def _incident(sources: list[Path], given: Mapping[str, Any], beside: Path) -> "Incident":
    """Give the incident that was named, or that is taken from the sources."""
    from drill.incident import read_incident
    from drill.sources.captured import is_incident
    from drill.sources.taking import take
    from drill.sources.wanted import Drawing

    wanted = understood(given)
    filled = None if wanted.drawing == Drawing() else wanted.drawing
    parts = (wanted.from_, wanted.to, wanted.around_peak, wanted.matches, filled)
    if len(sources) == 1 and sources[0].is_file() and all(part is None for part in parts):
        try:
            found = read_incident(sources[0], wanted.identities)
        except UserError:
            found = None  # it may be something that an incident can be taken from, and else that says why not
        if found is not None and is_incident(found.capture):
            return found
    output = beside / "incident.reamp"
    take(sources, wanted, output)
    return read_incident(output, wanted.identities)


async def _run(
    plan: "DrillPlan", incident: "Incident", conditions: "Conditions", drills: Path, teller: "Teller", console: Any
) -> "DrillRecord | None":
    from drill.running.folder import DrillFolder
    from drill.running.progress import Terminal, intended
    from drill.running.running import Drill, survey
    from replayer.interruption import interruptible

    quiet = not isinstance(teller, Terminal)
    with interruptible(), nullcontext() if quiet else console.status("reading the incident"):
        known = await survey(plan, incident)
    if not quiet:
        console.print(intended(plan, known, incident.story.told, time.time()))
    if plan.sending.dry_run:
        if quiet:
            typer.echo(plan.model_dump_json(indent=2))
        else:
            console.print("Dry run: everything is in order, and nothing was sent.")
        return None
    folder = DrillFolder(drills, known.prepared.run_id, incident.path)
    return await Drill(plan, incident, known, folder, teller, conditions).run()


__all__ = ["run"]
