"""The preflight of a run: in its folder and its journal, and the end of the run if it forbids it. Edge: the disk.

A start that was announced long before is checked twice: now, while somebody looks on, and again just before it.
"""

import time
from collections.abc import Callable

from captures.errors import CaptureError
from replayer.books.folder import Folder, write_whole
from replayer.books.report import Report
from replayer.plan import Plan
from replayer.preflight.findings import OUTCOMES, Checklist, Finding
from replayer.preflight.running import preflight
from replayer.preparing.describing import opening
from replayer.preparing.prepared import Prepared
from replayer.reporting.recovery import recovered
from replayer.stopping import Stop
from rules.exits import Exit, UserError

FILE = "preflight.json"

BROKEN_OFF = "a signal stopped the preflight; nothing was sent but its canaries"


async def beforehand(
    plan: Plan, prepared: Prepared, folder: Folder, tell: Callable[[Finding], None]
) -> tuple[Checklist | None, Report | None]:
    """Run the preflight of a run: what it found (None: it was broken off), and the report if the run ends with that."""
    started = time.time()
    folder.begin("plan", started, **opening(plan, prepared))
    try:
        found = await looked(plan, prepared, folder, tell)
    except KeyboardInterrupt:
        return None, _ended(folder, started, "interrupted", BROKEN_OFF, Exit.INTERRUPTED)
    except CaptureError as error:
        raise UserError(str(error)) from None
    if not found.failures:
        return found, None
    return found, _ended(folder, started, "preflight", forbidden(found), found.exit_code)


async def once_more(plan: Plan, prepared: Prepared, folder: Folder) -> tuple[Stop, str] | None:
    """Check again just before the start: how the run ends with that, or None if it may begin."""
    try:
        found = await looked(plan, prepared, folder)
    except KeyboardInterrupt:
        return "interrupted", BROKEN_OFF
    except (CaptureError, UserError) as error:
        return "failed", str(error)
    return ("preflight", forbidden(found)) if found.failures else None


async def looked(
    plan: Plan, prepared: Prepared, folder: Folder, tell: Callable[[Finding], None] = lambda _: None
) -> Checklist:
    """Run the checks, and write down what they found. Raises KeyboardInterrupt, CaptureError, UserError."""
    found = await preflight(plan, prepared.run_id, prepared.signer, prepared.capture, tell)
    missing = write_whole(folder.path / FILE, found.model_dump_json(indent=2) + "\n")
    folder.note(
        "preflight",
        time.time(),
        requests=found.requests,
        seconds=found.seconds,
        unwritten=missing,
        **{outcome: [one.check for one in found.findings if one.outcome == outcome] for outcome in OUTCOMES},
    )
    return found


def forbidden(found: Checklist) -> str:
    """Say why a run may not begin; empty if it may."""
    told = "; ".join(f"{one.check}: {one.evidence}" for one in found.failures)
    return f"a check beforehand failed, and nothing was sent but its canaries. {told}" if told else ""


def _ended(folder: Folder, started: float, stop: Stop, reason: str, code: Exit) -> Report:
    """Write the report of a run that never began."""
    ended = time.time()
    folder.note("stopped", ended, why=stop, reason=reason, exit_code=int(code), sent=0)
    nothing = recovered(folder.path)
    return folder.finish(
        nothing.model_copy(
            update={
                "started": started,
                "ended": ended,
                "stop": stop,
                "reason": reason,
                "valid": True,
                "invalid_because": [],
                "bottleneck": None,
                "exit_code": int(code),
            }
        )
    )
