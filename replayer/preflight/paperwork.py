"""Checks for which nothing is sent: what is to be replayed, and whether it may be, with this key, there and now."""

import time
from datetime import UTC, datetime

from replayer.preflight import verdicts
from replayer.preflight.findings import Found, check, failed, ok
from replayer.preflight.scene import Scene
from replayer.preparing.lists import MACHINE, target_lists
from replayer.preparing.targets import by, destinations, refusals
from replayer.preparing.timetable import calendar_of
from rules.exits import UserError


@check("recording is real", "Does the recording hold no synthetic request?")
async def untagged(scene: Scene) -> Found:
    """Look for load tags in the recording."""
    return verdicts.untagged(scene.survey, scene.looked_at)


@check("recording is safe", "Does it hold nothing that changes things and is not allowed?")
async def only_safe(scene: Scene) -> Found:
    """Look for methods that change things."""
    return verdicts.only_safe(scene.survey, scene.looked_at, scene.plan)


@check("recording fits", "Was it recorded of the host that it is sent to?")
async def fits_host(scene: Scene) -> Found:
    """Compare the hosts' names."""
    return verdicts.fits_host(scene.survey.hosts, scene.host)


@check("allowed", "May load go to the target?")
async def allowed(scene: Scene) -> Found:
    """Look at the lists of allowed targets."""
    advice = "nothing is sent there. Is the URL what you meant? If load may go there, have its owner add it to the list"
    try:
        lists = target_lists(scene.plan)
    except UserError as error:
        return failed(str(error), "what it allows is not known, so nothing is")
    places = list(destinations(scene.plan))
    if refused := refusals(lists, places):
        return failed("; ".join(refused), advice)
    told = "; ".join(dict.fromkeys(line for _, url in places for line in by(lists, url)))
    return ok(told or f"there is no list of allowed targets (--allowed-targets, {MACHINE})")


@check("window", "May the run run now, and to its end?")
async def window_is_open(scene: Scene) -> Found:
    """Look at the calendar."""
    try:
        calendar = calendar_of(scene.plan, datetime.now(UTC))
    except UserError as error:
        return failed(str(error), "when it may run is not known, so it may not")
    return verdicts.window_is_open(calendar, datetime.now(UTC), scene.seconds)


@check("key", "Is the key good for this target, and for as long as the run takes?")
async def key_lasts(scene: Scene) -> Found:
    """Look at what the key's file says."""
    audience = scene.plan.audience  # what the sidecars want is not known yet: the check `tag` asks them
    return verdicts.key_lasts(scene.signer, audience, time.time(), scene.seconds)


CHECKS = (untagged, only_safe, fits_host, allowed, window_is_open, key_lasts)
