"""The lever is pulled and reset, for real, and then the ceiling is run into. Both on a trickle.

Whoever is in the middle of this when it is stopped (Ctrl-C, SIGTERM, a crash of a check) resets the lever all the same;
what is killed leaves it pulled, with a reason that says so: synthetic traffic stops, real traffic never notices.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx
from pydantic import ValidationError

from replayer.permission.credits import detail
from replayer.person import person
from replayer.preflight import taps, verdicts
from replayer.preflight.findings import Found, check, failed, skipped
from replayer.preflight.scene import PULSE, SETTLING, TIMEOUT, Scene
from replayer.preflight.verdicts import Shot
from replayer.transport import Answer
from rules.units import Share
from rules.wire import CONTROL_TOKEN, Lever, LeverOrder

logger = logging.getLogger(__name__)

LIMIT = 1.0
"""Seconds within which the lever has to stop a trickle."""

PAIR = 2
"""Requests sent at a time: two connections at least, that a load balancer may lead to two places."""

PAIRS, ENOUGH = 8, 3
"""Pairs to send at most once the lever is pulled; and in a row without one that passes."""

EVERY = 0.1
"""Seconds from one pair to the next."""

BURST = 12
"""Requests of the burst: more than real users earn in the milliseconds that it takes, but where there are very many."""

TRIES = 2
"""How often a reset is tried."""


class Refused(NamedTuple):
    """Why a lever did not move."""

    url: str
    why: str


@check("lever", "Does the lever stop everything within a second, and can it be reset?", "canary")
async def lever_holds(scene: Scene) -> Found:
    """Send a trickle, pull the lever, and see what still passes."""
    occupied = await _occupied(scene)
    if occupied is not None:
        return occupied
    # Asked to reset what is not pulled, a sidecar says whether it would. Who may not reset it must not pull it.
    known = {url: state.lever for url, state in scene.states.items()}
    free = await _move(scene, engaged=False, known=known)
    if trouble := _refusals(free):
        return failed(
            f"it could not be reset from here: {trouble}",
            "so it was not pulled. Put the token that the sidecar wants for resets, its admin token, into "
            f"{CONTROL_TOKEN}; or run `reamp preflight` on the sidecar's machine, then this with --skip-check lever",
        )
    shots = await _pair(scene)
    for url in scene.plan.sidecars:
        scene.listening[url] = await scene.stack.enter_async_context(scene.heard(url))
    still: list[Refused] = []
    ordered_ns, told_ns = time.monotonic_ns(), None
    async with _pulled(scene, still, dict(zip(scene.plan.sidecars, free, strict=True))) as pulled:
        held_ns = time.monotonic_ns()
        if not _refusals(pulled):
            if scene.tap:
                told_ns = await _told(scene)
            shots += await _trickle(scene)
    scene.drained = not still and not _refusals(pulled)
    if still:
        named = " ".join(f"--sidecar {one.url}" for one in still)
        return failed(
            f"THE LEVER IS STILL PULLED: {_refusals(still)}",
            f"real traffic goes on, but no load test passes. Reset it once that is right: reamp resume {named}",
        )
    if refused := _refusals(pulled):
        return failed(
            f"it could not be pulled: {refused}",
            f"nobody here could stop a run: see that its control port can be reached, and that {CONTROL_TOKEN} is "
            "its control token",
        )
    unwritten = [url for url, lever in zip(scene.plan.sidecars, pulled, strict=True) if not _is_persisted(lever)]
    if unwritten:
        return failed(
            f"it could not be written down at {', '.join(unwritten)}",
            "the lever holds, but a restart of the sidecar would let it go: see that its --state is a folder that it "
            "can write to, on a disk that is not full",
        )
    return (
        taps.lever_is_told(shots, ordered_ns, told_ns, ENOUGH * PAIR, "reset again")
        if scene.tap
        else verdicts.lever_holds(shots, ordered_ns, held_ns, LIMIT, "reset again")
    )


@check("ceiling", "Does the ceiling refuse what real users have not earned?", "canary")
async def ceiling_holds(scene: Scene) -> Found:
    """Send a burst right after the reset of the lever, which took all credit away."""
    if scene.tap:
        return taps.CEILING
    if not scene.drained:
        return skipped("credit is gone only when the lever was pulled and reset: see the check `lever`")
    shots = await asyncio.gather(*(_shot(scene) for _ in range(BURST)))
    done, before = time.monotonic(), dict(scene.reals)
    # What is heard now may have been said a little before.
    await asyncio.gather(*(one.reaches(done + 1.5 * PULSE, SETTLING) for one in scene.listening.values()))
    earned = [(scene.listening[url].real - before[url], scene.states[url].max_extra) for url in scene.plan.sidecars]
    return verdicts.ceiling_holds(shots, max((share for _, share in earned), default=Share(0)), earned)


async def _told(scene: Scene) -> int | None:
    """Wait until every stream of grants says that the lever is pulled, but not for long; give the time then."""
    until = time.monotonic() + SETTLING
    while time.monotonic() < until:
        newest = [one.newest for one in scene.listening.values()]
        if all(grant is not None and grant.lever.engaged for grant in newest):
            return time.monotonic_ns()
        await asyncio.sleep(PULSE)
    return None


async def _occupied(scene: Scene) -> Found | None:
    """Say why the lever must not be pulled now: others would feel it."""
    until = time.monotonic() + SETTLING
    while True:
        states = await scene.look()
        if not any(state.subscribers for state in states.values()) or time.monotonic() > until:
            break  # our own connections may take a moment to be missed
        await asyncio.sleep(PULSE)
    for url, state in states.items():
        if state.lever.engaged:
            return failed(
                f"it is pulled at {url} by {state.lever.by or 'somebody'}: {state.lever.reason}",
                f"no load passes. Once it is safe again: reamp resume --sidecar {url}",
            )
    for url, state in states.items():
        if state.subscribers:
            return skipped(
                f"{state.subscribers} other replayers listen at {url}, and to pull the lever would end their runs",
                "run the preflight again when they are done, or go on without having seen lever and ceiling work",
            )
    return None


@asynccontextmanager
async def _pulled(
    scene: Scene, still: list[Refused], known: Mapping[str, Lever | Refused]
) -> AsyncIterator[list[Lever | Refused]]:
    """Pull the lever everywhere for the block; whatever happens there, reset it. `still`: where that failed.

    `known`: where the levers stood. What somebody has pulled since is not pulled over: it would be reset as ours.

    Neither is broken off in the middle: an order to pull that is on its way could arrive after the one to reset.
    """
    try:
        yield await whole(_move(scene, engaged=True, known=known))
    finally:
        # The last that is known of what real users sent before their credit is taken away.
        scene.reals = {url: listener.real for url, listener in scene.listening.items()}
        still += await whole(_reset_all(scene))


async def whole[T](doing: Coroutine[None, None, T]) -> T:
    """Do something to its end, also if this task is called off meanwhile: that is obeyed then."""
    task = asyncio.ensure_future(doing)
    called_off: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            called_off = error
    if called_off is not None:
        raise called_off
    return task.result()


async def _reset_all(scene: Scene) -> list[Refused]:
    refused: list[Refused] = []
    for _ in range(TRIES):
        refused = [one for one in await asyncio.gather(*(_reset(scene, url) for url in scene.plan.sidecars)) if one]
        if not refused:
            break
        await asyncio.sleep(EVERY)
    if refused:  # said here, too: after a signal or a fault nobody gets to read a finding
        logger.error("THE LEVER IS STILL PULLED: %s", _refusals(refused))
    return refused


async def _reset(scene: Scene, url: str) -> Refused | None:
    """Reset a lever that we pulled, and leave alone what somebody else pulled meanwhile."""
    try:
        response = await scene.client.get(f"{url}/v1/lever", timeout=TIMEOUT)
        lever = Lever.model_validate_json(response.content)
    except (httpx.HTTPError, ValidationError) as error:
        return Refused(url, str(error) or type(error).__name__)
    if not lever.engaged:
        return None
    if lever.reason != _reason(scene, engaged=True):
        return Refused(url, f"{lever.by or 'somebody'} pulled it meanwhile ({lever.reason}), so it stays pulled")
    moved = await _move_one(scene, url, engaged=False, known=lever)
    return moved if isinstance(moved, Refused) else None


async def _move(scene: Scene, *, engaged: bool, known: Mapping[str, Lever | Refused]) -> list[Lever | Refused]:
    moving = (_move_one(scene, url, engaged=engaged, known=known[url]) for url in scene.plan.sidecars)
    return await asyncio.gather(*moving)


async def _move_one(scene: Scene, url: str, *, engaged: bool, known: Lever | Refused) -> Lever | Refused:
    """Move a lever. `known`: where it stood; it is refused if somebody has pulled it since."""
    seen = (known.at or 0.0) if isinstance(known, Lever) else 0.0
    order = LeverOrder(engaged=engaged, reason=_reason(scene, engaged=engaged), by=f"{person()} (preflight)", seen=seen)
    try:
        response = await scene.client.post(
            f"{url}/v1/lever",
            content=order.model_dump_json(),
            headers={"content-type": "application/json"},
            timeout=2 * TIMEOUT,  # a sidecar waits that long for its disk, and the lever holds meanwhile
        )
        if response.is_error:
            return Refused(url, f"{response.status_code}: {detail(response.content)}")
        return Lever.model_validate_json(response.content)
    except (httpx.HTTPError, ValidationError) as error:
        return Refused(url, str(error) or type(error).__name__)


def _refusals(moved: Sequence[Lever | Refused]) -> str:
    return "; ".join(f"{one.url}: {one.why}" for one in moved if isinstance(one, Refused))


def _is_persisted(moved: Lever | Refused) -> bool:
    return isinstance(moved, Lever) and moved.persisted


def _reason(scene: Scene, *, engaged: bool) -> str:
    if engaged:
        return (
            f"preflight of run {scene.run_id} tries the lever and resets it within seconds; if this still stands, the "
            "preflight was killed: reamp resume"
        )
    return f"preflight of run {scene.run_id} has tried the lever"


async def _trickle(scene: Scene) -> list[Shot]:
    """Send pairs until none of some in a row passes, or for about a second."""
    shots: list[Shot] = []
    held = 0
    for _ in range(PAIRS):
        pair = await _pair(scene)
        shots += pair
        held = 0 if any(shot.result == "passed" for shot in pair) else held + 1
        if held == ENOUGH:
            break
        await asyncio.sleep(EVERY)
    return shots


async def _pair(scene: Scene) -> list[Shot]:
    return list(await asyncio.gather(*(_shot(scene) for _ in range(PAIR))))


async def _shot(scene: Scene) -> Shot:
    sent_ns = time.monotonic_ns()
    answer = await scene.ask(scene.canary)
    result = (answer.withheld or "passed") if isinstance(answer, Answer) else answer
    return Shot(sent_ns, time.monotonic_ns(), result)


CHECKS = (lever_holds, ceiling_holds)
