"""The check of what the plan's rules are measured by."""

import asyncio
import time

from replayer.preflight import verdicts
from replayer.preflight.findings import Found, check, failed, skipped
from replayer.preflight.scene import PULSE, Scene
from replayer.preflight.verdicts import Read
from replayer.safety.experience import follow
from replayer.safety.sources import Source, measured
from rules.exits import UserError
from rules.experience import Recent
from rules.wire import Experience

LISTEN = 2.6
"""Seconds to wait for readings: sidecars count for a second at a time, and queries are asked for every two."""


@check("slo", "Is there data for every rule?", "tag")
async def rules_have_data(scene: Scene) -> Found:
    """Measure each, as a run would."""
    rules = [rule for rule in scene.plan.slo if rule.external or rule.expression.subject == "real"]
    if not rules:
        return skipped(
            "there is no rule about real users",
            "--slo 'p(95)<500ms' holds load back where users suffer from it",
        )
    recent, trouble = Recent(scene.plan.sidecars, max(rule.window for rule in rules)), dict[str, str]()
    try:
        sources = [measured(rule, recent) for rule in rules]
    except UserError as error:
        return failed(str(error), "a rule that can't be measured counts as breached")

    def listen(url: str) -> asyncio.Task[None]:
        def hear(said: Experience) -> None:
            recent.add(url, time.monotonic_ns(), said.tallies())

        def fail(why: str) -> None:
            trouble[url] = why

        return asyncio.create_task(follow(scene.client, url, scene.run_id, scene.token, hear, fail))

    tasks = [*map(listen, scene.plan.sidecars), *(asyncio.create_task(source.follow()) for source in sources)]
    try:
        until = time.monotonic() + LISTEN
        while time.monotonic() < until and not all(map(_has_data, sources)):  # noqa: ASYNC110 - what has data can't tell
            await asyncio.sleep(PULSE)
        now = time.monotonic_ns()
        found = [Read(rule, source.read(now)) for rule, source in zip(rules, sources, strict=True)]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    rate = sum(state.signal.rate for state in scene.states.values())
    return verdicts.rules_have_data(found, rate, trouble, scene.tap)


def _has_data(source: Source) -> bool:
    return source.read(time.monotonic_ns()).value is not None


CHECKS = (rules_have_data,)
