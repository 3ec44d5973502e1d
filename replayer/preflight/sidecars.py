"""Checks of the sidecars: do they answer, do they know us, and what do they see of real users."""

import asyncio
import time
from importlib.metadata import version

import httpx
from pydantic import ValidationError

from replayer.preflight import verdicts
from replayer.preflight.findings import Found, check, failed, ok, skipped, warned
from replayer.preflight.scene import PULSE, TIMEOUT, Scene
from replayer.preflight.verdicts import Watched
from rules.wire import SIGNAL_TIMEOUT, State

WATCH, LEAST = 2.5, 0.4
"""Seconds to watch the signal for: at most, and at least."""


@check("sidecar", "Does every sidecar answer?")
async def reachable(scene: Scene) -> Found:
    """Ask each for its state."""
    if not scene.plan.sidecars:
        return skipped("an idle target has none")
    told, trouble, others = [], [], []
    ours = version("reamp")
    states = await asyncio.gather(*(_state(scene, url) for url in scene.plan.sidecars))
    for url, state in zip(scene.plan.sidecars, states, strict=True):
        if isinstance(state, str):
            trouble.append(f"{url}: {state}")
            continue
        before = f"before {state.upstream.removeprefix('reverse:')}"
        if state.tap is not None:
            before = f"a tap that gets copies of {state.tap} of real requests and can refuse none"
        told.append(f"{url}: version {state.version}, {before}, allows {state.max_extra}")
        if state.version != ours:
            others.append(f"{url} is of version {state.version}, and this is {ours}")
    evidence = "; ".join(trouble + told)
    if trouble:
        return failed(
            evidence,
            "nothing may be sent without its signal. Is it running (systemctl status, docker ps), is --sidecar its "
            "control port and not the port of users, and does a firewall let this machine connect?",
        )
    if others:
        return warned(evidence, f"{'; '.join(others)}: run the same version at both ends")
    return ok(evidence)


async def _state(scene: Scene, url: str) -> State | str:
    try:
        return await scene.state(url)
    except httpx.TimeoutException:
        return f"it does not answer within {TIMEOUT:g} s: it hangs, is stopped, or the network swallows what is sent"
    except httpx.HTTPStatusError as error:
        return f"it answers {error.response.status_code}: this is not the control port of a sidecar"
    except httpx.HTTPError as error:
        return f"no connection ({str(error) or type(error).__name__})"
    except ValidationError:
        return "this is not the control port of a sidecar"


@check("clocks", "Do the clocks agree, so that load tags are valid when they arrive?", "sidecar")
async def clocks_agree(scene: Scene) -> Found:
    """Compare each sidecar's clock with ours, asked once more over a connection that is open."""
    await scene.look()
    return verdicts.clocks_agree(scene.clocks, scene.plan.tag_lifetime)


@check("tag", "Do the sidecars accept load tags of this key?", "sidecar", "key")
async def accepted(scene: Scene) -> Found:
    """Subscribe to each, as a run would."""
    told = []
    for url, state in scene.states.items():
        if state.audience != scene.audience:
            return failed(
                f"{url} expects tags for {state.audience}, and they are signed for {scene.audience}",
                f"--audience {state.audience}, if this is the target that you mean: sidecars of different targets have "
                "different audiences so that a run can't go astray",
            )
        if state.doubt:
            return failed(
                f"at {url} no load tag counts: {state.doubt}",
                "put the file right there: a list of revocations is read again by itself, keys at SIGHUP",
            )
        async with scene.heard(url) as listener:
            await listener.reaches(listener.began, SIGNAL_TIMEOUT)
        if listener.refused:
            return failed(
                f"{url} refuses the load tag: {listener.ended}",
                f"put the public key that belongs to --key (id {scene.signer.key_id}) into the sidecar's --public-key, "
                "and see that both clocks agree; if it was revoked or is over, have a new pair made (reamp keygen)",
            )
        if listener.newest is None:
            return failed(
                f"{url} grants nothing: {listener.ended or 'it is silent'}",
                "look at the sidecar's log: is it overloaded?",
            )
        told.append(f"{url} takes key {scene.signer.key_id} for {scene.audience}")
    return ok("; ".join(told))


@check("signal", "Is the signal fresh, and do real users move it?", "tag")
async def signal_moves(scene: Scene) -> Found:
    """Watch the grants of each for a moment."""
    found = await asyncio.gather(*(_watch(scene, url) for url in scene.plan.sidecars))
    return verdicts.signal_moves(dict(zip(scene.plan.sidecars, found, strict=True)), SIGNAL_TIMEOUT)


async def _watch(scene: Scene, url: str) -> Watched:
    async with scene.heard(url) as listener:
        while True:
            await asyncio.sleep(PULSE)
            seen = listener.watched(time.monotonic())
            if seen.seconds > WATCH or (seen.real and seen.seconds > LEAST):
                return seen


CHECKS = (reachable, clocks_agree, accepted, signal_moves)
