"""The comparison from beginning to end: reads the incident, asks the clone, and says what that means. Edge."""

import asyncio
import time
from collections.abc import Callable
from itertools import batched
from pathlib import Path
from typing import NamedTuple

from captures.errors import CaptureError
from drill.fairness.asking import ask
from drill.fairness.choosing import chosen
from drill.fairness.comparing import compare
from drill.fairness.conditions import Conditions, cache_findings
from drill.fairness.fairness import Fairness, Resources
from drill.fairness.population import Listening, Population
from drill.fairness.resources import ResourceError, cgroup, cpus, memory, old_cgroup, written
from drill.fairness.resources import compare as compare_resources
from drill.fairness.weighing import gravest, reads
from drill.incident import Incident
from replayer.books.folder import new_run_id
from replayer.encoder import encoder_for
from replayer.plan import Plan
from replayer.preparing.key import key_of
from replayer.preparing.lists import target_lists
from replayer.preparing.targets import destinations, refusals
from replayer.preparing.terms import agree
from replayer.requests.tagging import Tag, misdirected
from rules.exits import UserError
from rules.files import read_small

AT_A_TIME = 1000
"""Records that are read before others get their turn."""

MOST_FILE = 1 << 20
"""Bytes of a file with resources that are read."""


class Stated(NamedTuple):
    """What was said of resources, as it was written: of the clone, or of production."""

    cpu: str | None = None
    memory: str | None = None
    file: Path | None = None


def resources(said: Stated, prefix: str = "") -> Resources | None:
    """Understand `--cpu`, `--memory` and `--resources`, or the same with `prefix`. Raises UserError. None: not said."""
    if said == Stated():
        return None
    cpu = _understood(f"--{prefix}cpu", cpus, said.cpu)
    amount = _understood(f"--{prefix}memory", memory, said.memory)
    if said.file is None:
        return Resources(cpu=cpu, memory=amount, told="as it was said")
    try:
        found = _read(said.file, cpu)
    except ResourceError as error:
        raise UserError(f"--{prefix}resources: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserError(f"--{prefix}resources {said.file}: {why}") from None
    update = {name: value for name, value in (("cpu", cpu), ("memory", amount)) if value is not None}
    return found.model_copy(update={**update, "parts": ()} if update else {})


def _understood[T](option: str, read: Callable[[str], T], text: str | None) -> T | None:
    try:
        return None if text is None else read(text)
    except ResourceError as error:
        raise UserError(f"{option}: {error}") from None


_LIMITS = ("cpu.max", "cpuset.cpus.effective", "memory.max")
"""Files of a cgroup of version 2."""

_OLD_LIMITS = (
    ("cpu", "cpu.cfs_quota_us"),
    ("cpu", "cpu.cfs_period_us"),
    ("cpuset", "cpuset.cpus"),
    ("memory", "memory.limit_in_bytes"),
)
"""Those of version 1, where each controller may have a folder of its own."""


def _read(path: Path, cpu: float | None) -> Resources:
    folder = path if path.is_dir() else path.parent if path.name in _LIMITS else None
    if folder is None:
        return written(_text(path) or "", path.name, cpu)
    name = folder.name or str(folder)
    processors, cpuset, amount = (_text(folder / limit) for limit in _LIMITS)
    if processors is not None or amount is not None:
        return cgroup(processors, cpuset, amount, name)
    old = [_text(folder / limit) or _text(folder / controller / limit) for controller, limit in _OLD_LIMITS]
    if old[0] is None and old[3] is None:
        raise ResourceError(
            f"{folder} is no folder of a cgroup with limits: there is no cpu.max and no memory.max in it (the root of "
            "all has none: name the clone's own, like /sys/fs/cgroup/system.slice/clone.service)"
        )
    return old_cgroup(old[0], old[1], old[2], old[3], name)


def _text(path: Path) -> str | None:
    try:
        too_large = f"{path.name} is larger than {MOST_FILE >> 20} MiB: is it the file?"
        return read_small(path, MOST_FILE, too_large).decode()
    except (FileNotFoundError, NotADirectoryError):
        if path.name in (*_LIMITS, *(name for _, name in _OLD_LIMITS)):
            return None
        raise


async def _heard(incident: Incident, seed: int) -> Population:
    """Read the incident, and let others get their turn meanwhile. Raises UserError."""
    listening = Listening(seed)
    try:
        for some in batched(incident.capture.records(), AT_A_TIME):
            listening.add(some)
            await asyncio.sleep(0)
    except CaptureError as error:
        raise UserError(str(error)) from None
    return listening.end(incident.story)


async def check(
    plan: Plan,
    incident: Incident,
    conditions: Conditions,
    tell: Callable[[int, int], None] = lambda _done, _of: None,
) -> Fairness:
    """Compare the clone with the incident, by some hundred requests at most, one at a time, each with a load tag.

    `plan` says how requests are sent (its `recording` is not read), and has to be about an idle target; `tell` hears
    how many of how many were sent. Raises UserError.
    """
    if plan.sidecars or not plan.idle_target:
        raise UserError(f"{plan.to} carries real users: a drill is for an idle clone only (--idle-target)")
    if refused := refusals(target_lists(plan), destinations(plan)):
        raise UserError("\n".join(refused))
    run_id = new_run_id(time.time())
    signer = key_of(plan)
    terms = agree(plan, {})
    if why := misdirected(signer, terms.audience):
        raise UserError(f"{why}; or name its audience: --audience NAME")
    encoder = encoder_for(plan, run_id)
    known = await _heard(incident, plan.seed)
    asked = chosen(known)
    told = await ask(plan, encoder, Tag(signer, run_id, terms.audience, plan.tag_lifetime), asked, tell)
    left_out = {
        number: "it changes things" if not reads(route.method) else "too few requests to be among those asked"
        for number, route in enumerate(known.routes)
    }
    found = compare(known, told.replies, {**left_out, **told.left_out}, conditions.changed)
    cold = any(finding.kind == "cache" for finding in found.findings)
    return Fairness(
        to=plan.to,
        findings=gravest(
            [
                *found.findings,
                *compare_resources(conditions.clone, conditions.production),
                *cache_findings(conditions, cold=cold),
            ]
        ),
        routes=found.routes,
        requests=told.sent,
        seconds=told.seconds,
        compared_share=found.compared_share,
        clone=conditions.clone,
        production=conditions.production,
        cache="warmed" if conditions.warmed else "cold" if conditions.cold or cold else "unknown",
        warmed_seconds=conditions.warmed,
    )
