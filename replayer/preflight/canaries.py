"""Checks of what becomes of a request: one with a good tag, and those with a bad one."""

import asyncio
import ssl
import time

import httpx
from prometheus_client.parser import text_string_to_metric_families

from captures.rendering import printable
from captures.unpacking import unpacked_as
from loadtag.headers import BAGGAGE_KEY, RUN_HEADER
from replayer.preflight import taps, verdicts
from replayer.preflight.findings import Found, check, failed, ok, skipped, warned
from replayer.preflight.scene import PULSE, SETTLING, TIMEOUT, Scene
from replayer.transport import Answer
from replayer.transport.tls import verified

BEFORE = ("sidecar", "allowed", "window", "key")
"""What has to be in order before anything is sent to the target."""

LARGEST = 1 << 20
"""Bytes of an echo, and characters of metrics, that are looked at."""

STILL = 0.25
"""Seconds in which a metric has to stand still when nothing is sent."""


@check("canary", "Is a tagged request seen as synthetic?", *BEFORE)
async def seen_as_synthetic(scene: Scene) -> Found:
    """Send one, and see what the sidecars count."""
    sent = taps.CANARIES if scene.tap else 1
    async with scene.counting() as counting:
        for _ in range(sent):
            answer = await scene.ask_until_it_passes(scene.canary)
        if isinstance(answer, str):
            return failed(
                f"GET {printable(scene.canary_path)}: {answer}",
                f"--to {scene.plan.to} does not answer: is it the address that the sidecar listens on, and is it "
                "reachable from here (--resolve, --ca, --http2)?",
            )
        seen = await counting.until(synthetic=sent)
        if scene.tap:
            await asyncio.sleep(STILL)  # for what might come twice
            seen = await counting.until(synthetic=sent)
    told = _told(scene.canary_path, answer)
    if scene.tap:
        return taps.copied(sent, seen, told)
    return verdicts.seen_as_synthetic(sent, seen, told, scene.plan.to, scene.apps)


@check("not recorded", "Is a tagged request left out of what is being recorded?", *BEFORE)
async def unrecorded(scene: Scene) -> Found:
    """Send one, and see where the accounts of the recording have it."""
    states = await scene.look()
    if not any(one.capturing or one.accounting.written or one.accounting.dropped for one in states.values()):
        return skipped("the sidecar records nothing")
    async with scene.counting() as counting:
        answer = await scene.ask(scene.canary)
        if isinstance(answer, str):
            return skipped(f"the target does not answer: {answer}")
        seen = await counting.until(synthetic=1)
    return verdicts.unrecorded(1, seen, all(state.capturing for state in scene.states.values()))


@check("bad tags", "Are a forged and an expired load tag refused?", *BEFORE)
async def refused(scene: Scene) -> Found:
    """Send both, and see that nobody believes them."""
    path = scene.plan.echo or scene.canary_path
    request = scene.request(path) if scene.plan.echo else scene.canary
    told, seen_by_app = [], []
    async with scene.counting() as counting:
        for name, token in (("expired", scene.expired()), ("forged", scene.forged())):
            answer = await scene.ask(request, token)
            if isinstance(answer, str):
                return failed(f"{name}: {answer}", f"--to {scene.plan.to} does not answer: see the check `canary`")
            scene.answer_to_untrusted = answer
            denied = answer.status == 403 and _field(answer, "content-type") == "application/problem+json"
            told.append(f"{name}: {answer.status}{', refused by the sidecar' if denied else ''}")
            if scene.plan.echo and (token in _text(answer) or RUN_HEADER in _text(answer).lower()):
                seen_by_app.append(name)
        seen = await counting.until(untrusted=2)
    evidence = f"{'; '.join(told)}; the sidecar counted +{seen.untrusted} untrusted, +{seen.synthetic} synthetic"
    alone = not any(state.subscribers for state in scene.states.values())
    if scene.tap:
        return taps.believed(evidence, seen, seen_by_app, alone=alone)
    if seen_by_app:
        return failed(
            f"{evidence}; the app got to see the tag ({' and '.join(seen_by_app)})",
            "anybody could switch off the app's side effects. " + verdicts.past_the_sidecar(scene.plan.to, scene.apps),
        )
    if seen.synthetic and alone:
        return failed(evidence, "the sidecar believes a tag that is not valid: stop using it, and report this")
    if seen.untrusted < 2:
        return failed(evidence, verdicts.past_the_sidecar(scene.plan.to, scene.apps))
    return ok(evidence + (f"; GET {printable(path)} shows none to the app" if scene.plan.echo else ""))


@check("app", "Does the load tag reach the app?", "canary")
async def reaches_app(scene: Scene) -> Found:
    """Ask the ways that the plan names."""
    plan = scene.plan
    found = []
    if plan.echo is not None:
        found.append(await _echo(scene, plan.echo))
    if plan.app_header is not None:
        found.append(await _header(scene, plan.app_header, "--app-header"))
    if plan.app_metric is not None:
        found.append(await _metric(scene, plan.app_metric, "--app-metric"))
    return _all(found) or skipped(
        "nobody said how the app shows it",
        "name a route that answers with the headers it got (--echo PATH), a header that the app sets on answers to "
        "tagged requests (--app-header NAME), or a metric that counts them (--app-metric URL#NAME)",
    )


@check("downstream", "Does it reach a service behind the app?", "canary")
async def reaches_downstream(scene: Scene) -> Found:
    """Ask the ways that the plan names."""
    plan = scene.plan
    found = []
    if plan.downstream_header is not None:
        found.append(await _header(scene, plan.downstream_header, "--downstream-header"))
    if plan.downstream_metric is not None:
        found.append(await _metric(scene, plan.downstream_metric, "--downstream-metric"))
    return _all(found) or skipped(
        "no service behind the app was named", "--downstream-header NAME or --downstream-metric URL#NAME names one"
    )


async def _echo(scene: Scene, path: str) -> Found:
    token = scene.token()
    answer = await scene.ask_until_it_passes(scene.request(path), token)
    if not isinstance(answer, Answer) or answer.withheld:
        return _no_answer(answer, f"GET {path}")
    text = _text(answer)
    if f"{BAGGAGE_KEY}={token}" in text:
        return ok(f"GET {path} shows it to the app")
    if answer.status >= 400:
        return failed(f"GET {path}: {answer.status}", "--echo names a route that answers with the headers it got")
    if RUN_HEADER in text.lower():
        return failed(
            f"GET {path} shows {RUN_HEADER} to the app, and no load tag in `baggage`",
            f"something between the sidecar and the app takes the header `baggage` away, and {RUN_HEADER} proves "
            "nothing: have it pass `baggage` on",
        )
    return failed(
        f"GET {path} shows no load tag to the app",
        "something between the sidecar and the app takes the headers `baggage` and `x-load-test` away (another proxy, "
        "a framework's list of headers): have it pass them on, or the app can't tell synthetic requests from real ones",
    )


async def _header(scene: Scene, name: str, option: str) -> Found:
    answer = await scene.ask_until_it_passes(scene.canary)
    if not isinstance(answer, Answer) or answer.withheld:
        return _no_answer(answer, f"GET {printable(scene.canary_path)}")
    value = _field(answer, name)
    if value is None:
        return failed(
            f"the answer to a tagged GET {printable(scene.canary_path)} ({answer.status}) has no {name}",
            "the tag does not arrive: see that every hop on the way passes the header `baggage` on, and that what sets "
            f"{name} is deployed and asked on this path (--canary names another)",
        )
    other = scene.answer_to_untrusted
    if other is not None and other.status != 403 and _field(other, name) == value:
        return failed(
            f"{name}: {printable(value)} is in the answer to a request without a valid tag, too",
            f"{option} names a header that is set for tagged requests only: this one proves nothing",
        )
    return ok(f"{name}: {printable(value)[:100]} in the answer to a tagged GET {printable(scene.canary_path)}")


async def _metric(scene: Scene, place: str, option: str) -> Found:
    url, _, name = place.partition("#")
    async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False, verify=_trust(scene, url)) as client:
        try:
            first = await _read(client, url, name)
            await asyncio.sleep(STILL)
            before = await _read(client, url, name)
            answer = await scene.ask_until_it_passes(scene.canary)
            if not isinstance(answer, Answer) or answer.withheld:
                return _no_answer(answer, f"GET {printable(scene.canary_path)}")
            until, after = time.monotonic() + SETTLING, before
            while not (after or 0) > (before or 0) and time.monotonic() < until:
                await asyncio.sleep(PULSE)
                after = await _read(client, url, name)
        except (httpx.HTTPError, ValueError) as error:
            return failed(
                f"{url}: no metrics come from there ({str(error) or type(error).__name__})",
                f"{option} takes the URL of metrics in the text format of Prometheus, and the name of one of them",
            )
    if after is None:
        return failed(f"{url} has no metric {name}", f"{option} URL#NAME: NAME is written as it stands there")
    told = f"{name} went from {before or 0:g} to {after:g}"
    if after <= (before or 0):
        return failed(
            f"{told} with a tagged request",
            "the tag does not arrive: see that every hop on the way passes the header `baggage` on, and that what is "
            f"asked for counts as {name} (--canary names another path)",
        )
    if first is not None and before is not None and before > first:
        return warned(
            f"{told} with a tagged request, but it grew before that, too",
            f"if no other replay is on its way, {name} counts real users as well and proves nothing",
        )
    return ok(f"{told} with a tagged request")


async def _read(client: httpx.AsyncClient, url: str, name: str) -> float | None:
    """Read a metric: the sum over its labels, None if there is none. Raises httpx.HTTPError, ValueError."""
    response = await client.get(url)
    response.raise_for_status()
    found = [
        sample.value
        for family in text_string_to_metric_families(response.text[:LARGEST])
        for sample in family.samples
        if sample.name in (name, f"{name}_total")
    ]
    return sum(found) if found else None


def _trust(scene: Scene, url: str) -> ssl.SSLContext | bool:
    return verified(scene.plan) if url.startswith("https:") else False


def _no_answer(answer: Answer | str, what: str) -> Found:
    """Say why the app did not answer."""
    if isinstance(answer, str):
        return failed(f"{what}: {answer}", "the target does not answer: see the check `canary`")
    if answer.withheld == "lever":
        return skipped(f"{what}: the lever is pulled")
    if answer.withheld == "tag":
        return skipped(f"{what}: the sidecar refuses the load tag")
    return skipped(f"{what}: there was no credit for it", "there is too little real traffic: wait until there is more")


def _all(found: list[Found]) -> Found | None:
    """Put the findings on several ways together: the worst counts."""
    for outcome in ("failed", "warned", "skipped", "ok"):
        if any(one.outcome == outcome for one in found):
            evidence = "; ".join(one.evidence for one in found)
            advice = "; ".join(dict.fromkeys(one.advice for one in found if one.advice))
            return Found(outcome, evidence, advice)
    return None


def _told(path: str, answer: Answer) -> str:
    withheld = "" if answer.withheld is None else f" (withheld by the sidecar: {answer.withheld})"
    took = (answer.ended_ns - answer.sent_ns) / 1e6
    return f"GET {printable(path)}: {answer.status}{withheld} in {took:.0f} ms"


def _field(answer: Answer, name: str) -> str | None:
    fields = answer.body.fields if answer.body else ()
    return next((value.decode("latin-1") for key, value in fields if key == name.lower().encode()), None)


def _text(answer: Answer) -> str:
    body = answer.body
    return unpacked_as(body.start, body.coding, LARGEST).decode("utf-8", "replace") if body else ""


CHECKS = (seen_as_synthetic, unrecorded, refused, reaches_app, reaches_downstream)
