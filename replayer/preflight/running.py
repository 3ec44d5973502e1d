"""All checks, one after the other. Edge: the clock and the signals.

Whatever ails a check is that check's failure, and the others go on.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

from loadtag import Signer
from replayer.interruption import interruptible
from replayer.plan import Plan
from replayer.preflight import canaries, drill, paperwork, rules, sidecars
from replayer.preflight.findings import Check, Checklist, Finding, Found, failed, skipped
from replayer.preflight.scene import Scene, scene
from replayer.selection import Selection
from rules.exits import UserError

CHECKS: tuple[Check, ...] = (*paperwork.CHECKS, *sidecars.CHECKS, *canaries.CHECKS, *drill.CHECKS, *rules.CHECKS)

PATIENCE = 15.0
"""Seconds that a check may take, which none does that is in order: each wait in it is bounded by two or less."""


async def preflight(
    plan: Plan,
    run_id: str,
    signer: Signer,
    selection: Selection,
    tell: Callable[[Finding], None] = lambda _: None,
    checks: Sequence[Check] = CHECKS,
) -> Checklist:
    """Run the checks and give what they found; each is told as it comes. Raises UserError, CaptureError.

    Ctrl-C, SIGTERM and SIGHUP end it with the lever reset: KeyboardInterrupt.
    """
    for name in plan.skip_check:
        if name not in (each.name for each in CHECKS):
            names = ", ".join(each.name for each in CHECKS)
            raise UserError(f"--skip-check {name}: there is no such check; there are {names}")
    started, began = time.time(), time.monotonic()
    findings: list[Finding] = []
    with interruptible(patiently=True):
        async with scene(plan, run_id, signer, selection) as here:
            for check in checks:
                finding = await _finding(check, here, {each.check: each for each in findings})
                findings.append(finding)
                tell(finding)
            return Checklist(
                run=run_id,
                target=plan.to,
                sidecars=plan.sidecars,
                canary=here.canary_path,
                started=started,
                seconds=round(time.monotonic() - began, 3),
                requests=here.requests,
                findings=tuple(findings),
            )


async def _finding(check: Check, here: Scene, before: dict[str, Finding]) -> Finding:
    began = time.monotonic()
    found = _hindrance(check, here.plan, before) or await _look(check, here)
    return Finding(
        check=check.name,
        question=check.question,
        outcome=found.outcome,
        evidence=found.evidence,
        advice=found.advice,
        seconds=round(time.monotonic() - began, 3),
    )


def _hindrance(check: Check, plan: Plan, before: dict[str, Finding]) -> Found | None:
    if check.name in plan.skip_check:
        return skipped("this was asked for (--skip-check)")
    for name in check.needs:
        if name in before and before[name].outcome in ("failed", "skipped"):
            why = "failed" if before[name].outcome == "failed" else "was skipped"
            return skipped(f"the check `{name}` {why}, and this one needs it")
    return None


async def _look(check: Check, here: Scene) -> Found:
    try:
        async with asyncio.timeout(PATIENCE):
            return await check.look(here)
    except TimeoutError:
        return failed(
            f"it came to no end within {PATIENCE:g} s", "something hangs: the target, a control port, or this machine"
        )
    except Exception as error:  # noqa: BLE001 - a check that breaks has not shown what it is there to show
        return failed(
            f"the check itself broke: {type(error).__name__}: {error}",
            "did the sidecar or the target go away meanwhile? If it happens again, report it",
        )
