"""Plays the beginning of an incident onto the clone, so that its caches are as warm as production's. Edge.

It is a replay as any other, with a folder of its own among the runs.
"""

from contextlib import nullcontext

from prometheus_client import CollectorRegistry
from rich.console import Console

from drill.incident import Incident
from replayer.books.folder import Folder
from replayer.engine import replay
from replayer.plan import Plan
from replayer.preparing.prepare import prepare
from replayer.progress import shown
from rules.exits import Exit, UserError
from rules.units import MILLION, Duration, Factor


def warming(plan: Plan, incident: Incident, seconds: Duration) -> Plan:
    """Make the plan of it: the incident at its own rates, over and over if it is shorter than that. Pure."""
    return plan.model_copy(
        update={
            "recording": incident.path,
            "of": "recording",
            "amplify": Factor(MILLION),
            "rate": None,
            "even": False,
            "stage": (),
            "top_up": None,
            "squeeze": False,
            "sessions": None,
            "max_requests": None,
            "from_": None,
            "until": None,
            "only": None,
            "except_": None,
            "duration": seconds,
            "loop": seconds > incident.story.seconds,
            "slo": (),
            "warm_up": None,
            "diff": (),
            "diff_against": None,
            "dry_run": False,
            "junit": None,
        }
    )


async def warm(plan: Plan, incident: Incident, seconds: Duration, console: Console | None = None) -> float:
    """Play so many seconds; give how many were played. Raises UserError, also where it was stopped."""
    own = warming(plan, incident, seconds)
    prepared = await prepare(own)
    folder = Folder(own.runs, prepared.run_id, own)
    with nullcontext(lambda _: None) if console is None else shown(console) as show:
        report = await replay(own, prepared, folder, CollectorRegistry(), show, pass_on=True)
    if report.exit_code in (Exit.INTERRUPTED, Exit.LEVER, Exit.OUTSIDE_WINDOW):
        raise UserError(f"the clone was not warmed: {report.stop}", Exit(report.exit_code))
    return report.seconds
