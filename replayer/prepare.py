"""Everything that can be checked before anything is sent. Edge: opens the recording and the key, asks the sidecars."""

import os
import ssl
import time
from contextlib import AbstractContextManager, aclosing, nullcontext
from itertools import islice
from statistics import median
from typing import NamedTuple

import httpx
from pydantic import ValidationError

from captures.errors import CaptureError
from captures.keyring import load_identities
from captures.moments import iso
from captures.reader import Capture
from loadtag import Signer
from loadtag.keys import KeyFileError, load_private
from replayer.accounts import Accounts
from replayer.credits import RefusedError, grants
from replayer.descriptors import enough
from replayer.encoding import Encoder
from replayer.folder import new_run_id
from replayer.hooking import PluginEncoder
from replayer.lanes.choice import Choice, choose
from replayer.plan import Plan
from replayer.plugins import Hook, load
from replayer.preview import Preview
from replayer.rewriting import Rewriting, token
from replayer.selection import EVERYTHING, Chosen, Selection, span
from replayer.stock import usable
from replayer.tagging import Tag
from replayer.terms import Terms, agree
from replayer.transport.tls import to_target, verified
from rules.exits import Exit, UserError
from rules.units import MILLION, Duration, Share
from rules.wire import State

SAMPLE = 1000
"""Records to look at beforehand."""

SHORTEST = 1.0
"""Seconds that a recording has to last for a live run to last as long."""

CONTROL_TIMEOUT = 5.0
"""Seconds to wait for a sidecar's state: it answers in milliseconds or is in trouble."""


class Prepared(NamedTuple):
    """All that a run needs."""

    run_id: str
    capture: Selection
    """What is replayed of the recording."""
    encoder: Encoder
    signer: Signer
    tls: ssl.SSLContext | None
    states: dict[str, State]
    terms: Terms
    seconds: float
    """How long that lasts."""
    lane: Choice
    """How requests will leave."""
    share: float
    """Which share of the first records can be sent."""
    skipped: str
    """What was skipped of the first records, for people."""
    preview: list[tuple[str, str]]
    """What else was seen of them: (what, finding)."""


async def prepare(plan: Plan, chosen: Chosen | None = None) -> Prepared:
    """Check it all. `chosen` says of a record whether ``--only`` and ``--except`` want it. Raises UserError."""
    if chosen is None and (plan.only is not None or plan.except_ is not None):
        raise ValueError("a plan with only or except needs the predicate made of them")
    run_id = new_run_id(time.time())
    _can_be_written(plan)
    enough(plan.max_connections)
    signer = _key(plan)
    encoder = encoder_for(plan, run_id)
    capture, share, skipped, preview = _recording(plan, encoder, chosen)
    seconds = max(0, (capture.last_ns or 0) - (capture.first_ns or 0)) / 1e9
    if plan.of == "live" and plan.duration is None and seconds < SHORTEST:
        raise UserError(f"the recording lasts {Duration(seconds)} only: say how long the run is to last, --duration")
    _lasts_long_enough(plan, seconds)
    tls = to_target(plan)
    if plan.diff_against is not None:
        to_target(plan.model_copy(update={"to": plan.diff_against}))  # raises now what it would raise then
    async with control_client(plan) as client:
        states = {url: await _state(client, url) for url in plan.sidecars}
        terms = agree(plan, states)
        tag = Tag(signer, run_id, terms.audience, plan.tag_lifetime)
        for url in states:
            await _try_subscribing(client, url, terms, run_id, tag)
    lane = await choose(plan)
    return Prepared(run_id, capture, encoder, signer, tls, states, terms, seconds, lane, share, skipped, preview)


def _can_be_written(plan: Plan) -> None:
    """Refuse now what could not be written once the run is over."""
    there = next(folder for folder in (plan.runs, *plan.runs.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise UserError(f"--runs {plan.runs}: {there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--runs {plan.runs}: nothing can be written to {there}")
    if plan.junit is None:
        return
    if plan.junit.is_dir():
        raise UserError(f"--junit {plan.junit} is a folder: name a file")
    if not plan.junit.parent.is_dir():
        raise UserError(f"--junit {plan.junit}: there is no folder {plan.junit.parent}")
    if not os.access(plan.junit.parent, os.W_OK | os.X_OK):
        raise UserError(f"--junit {plan.junit}: nothing can be written to {plan.junit.parent}")


def _lasts_long_enough(plan: Plan, seconds: float) -> None:
    """Refuse stages that would never come."""
    stages = list(plan.loudness.stages)
    last = sum(stage.seconds for stage in stages[:-1])
    if plan.of == "recording" and plan.stage and not plan.loop and seconds < last:
        raise UserError(
            f"the last --stage begins after {Duration(last)}, and what is replayed of the recording lasts "
            f"{Duration(seconds)}: give --loop to play it over and over"
        )


def describe(plan: Plan, prepared: Prepared) -> list[tuple[str, str]]:
    """Say what was found and what would be sent: (what, finding)."""
    terms, capture = prepared.terms, prepared.capture
    count = f"{'' if capture.span == EVERYTHING else 'about '}{capture.count}"
    held = f"{capture.path}: {count} records over {Duration(prepared.seconds)}"
    lines = [
        ("recording", f"{held}{_part(plan, prepared)}{prepared.skipped}"),
        ("target", f"{plan.to}, idle" if plan.idle_target else plan.to),
        ("lane", f"{prepared.lane.name}: {prepared.lane.why}"),
        ("load tag", f"key {prepared.signer.key_id}, for {terms.audience}, valid {plan.tag_lifetime} at a time"),
    ]
    lines += prepared.preview
    lines += [("damaged", f"{damage}; it is left out") for damage in capture.damage]
    rate = 0.0
    for url, state in prepared.states.items():
        rate += state.signal.rate
        lines.append(("sidecar", f"{url}: {state.signal.rate:.1f} real requests/s, allows {state.max_extra}"))
    lines.append(("ceiling", "none: an idle target" if terms.ceiling is None else f"{terms.ceiling} of real traffic"))
    lines.append(("to send", _intent(plan, prepared, rate)))
    if plan.diff:
        there = f"{plan.diff_against}, which gets 2 more" if plan.diff_against else "the recording"
        cost = f"{1 if plan.diff_against else 2} more to the target, for credit if it is live"
        lines.append(
            ("answers", f"{', '.join(plan.diff)} of {plan.diff_rate} compared with {there}; each takes {cost}")
        )
    return lines


def _part(plan: Plan, prepared: Prepared) -> str:
    """Say which part of the recording is replayed; nothing if it is all of it."""
    words = []
    if plan.from_ is not None:
        words.append(f"from {plan.from_}")
    if plan.until is not None:
        words.append(f"until {plan.until}")
    if plan.only is not None:
        words.append(f"only {plan.only}")
    if plan.except_ is not None:
        words.append(f"except {plan.except_}")
    return f" ({', '.join(words)}; of {prepared.capture.capture.count} in all)" if words else ""


def _intent(plan: Plan, prepared: Prepared, rate: float) -> str:
    lasts = _lasts(plan, prepared)
    most = "" if plan.max_requests is None else f", {plan.max_requests} requests at most"
    if plan.rate is not None:
        how = "evenly apart" if plan.even else "at random (Poisson)"
        return f"the recording's requests in their order, {plan.rate} {how}{_again(plan)}, {lasts}{most}"
    if plan.of == "recording":
        seconds = run_seconds(plan, prepared)
        length = _recorded_seconds(plan, prepared) or 1.0
        count = round(_once(plan, prepared, seconds) * (seconds / length if seconds else 1.0))
        if plan.max_requests is not None:
            count = min(count, plan.max_requests)
        drawn = not plan.squeeze and plan.loudness.most % MILLION  # a part of a copy is left to chance
        looked_at = prepared.capture.whole and prepared.capture.count <= SAMPLE  # so nothing is an estimate
        about = "up to" if looked_at and not plan.stage and not drawn and plan.sessions is None else "about"
        how = f"{_factors(plan)}{' squeezed' if plan.squeeze else ''}{_whole(plan)}{_again(plan)}"
        requests = "1 request" if count == 1 else f"{count} requests"
        return f"the recording {how}: {about} {requests} in {Duration(seconds)}"
    if plan.top_up is not None:
        return f"what real traffic lacks of {plan.top_up}: {max(0.0, plan.top_up - rate):.1f}/s now, {lasts}{most}"
    extra = max(0, plan.loudness.at(0) - MILLION)
    return (
        f"{Share(extra)} of real traffic on top of it, {_factors(plan)} in all: {rate * extra / 1e6:.1f}/s now, "
        f"{lasts}{most}"
    )


def _factors(plan: Plan) -> str:
    return ", then ".join(f"{stage.partition(':')[2]} for {stage.partition(':')[0]}" for stage in plan.stage) or str(
        plan.amplify
    )


def _whole(plan: Plan) -> str:
    return "" if plan.sessions is None else f" in whole sessions ({plan.sessions})"


def _again(plan: Plan) -> str:
    return ", over and over" if plan.loop else ""


def _lasts(plan: Plan, prepared: Prepared) -> str:
    return f"for {Duration(run_seconds(plan, prepared))}"


def run_seconds(plan: Plan, prepared: Prepared) -> float:
    """Tell how long the run will last at most; where a number of requests bounds it, about how long."""
    if plan.duration is not None:
        # How many requests there are is an estimate, and so is what follows from it; a duration is not.
        ends_before = plan.of == "recording" and plan.rate is None and not plan.loop and plan.sessions is None
        return min(plan.duration, _recorded_seconds(plan, prepared)) if ends_before else plan.duration
    if plan.of == "live":
        return prepared.seconds
    held = prepared.capture.count * prepared.share
    if plan.rate is not None:
        count = min(plan.max_requests or held, held) if not plan.loop else plan.max_requests or held
        return count / plan.rate
    once = _once(plan, prepared, prepared.seconds)
    seconds = _recorded_seconds(plan, prepared)
    if plan.max_requests is None or not once:
        return seconds
    return seconds * (plan.max_requests / once if plan.loop else min(1.0, plan.max_requests / once))


def _once(plan: Plan, prepared: Prepared, seconds: float) -> float:
    """Tell how many requests one round through the recording brings, about."""
    return prepared.capture.count * prepared.share * (1.0 if plan.squeeze else plan.loudness.mean(seconds))


def _recorded_seconds(plan: Plan, prepared: Prepared) -> float:
    return prepared.seconds * MILLION / plan.loudness.most if plan.squeeze else prepared.seconds


def _key(plan: Plan) -> Signer:
    if plan.key is None:
        raise UserError(
            "name the private key that signs the load tag with --key (reamp keygen makes a pair): what is sent "
            "without a tag looks like real traffic to everything behind the target"
        )
    try:
        return load_private(plan.key)
    except KeyFileError as error:
        raise UserError(str(error)) from None


def encoder_for(plan: Plan, run_id: str) -> Encoder:
    """Make what encodes a plan's requests. Raises UserError."""
    host, recorded = (plan.to.split("//")[1], plan.host == "recorded")
    if plan.host not in ("target", "recorded"):
        host = plan.host
    rewriting = _with_tokens(plan)
    if plan.plugin is None:
        return Encoder(run_id, plan.methods, host, recorded, rewriting, plan.writes)
    hook = Hook(load(plan.plugin), plan.plugin)
    return PluginEncoder(run_id, plan.methods, host, hook, recorded, rewriting, plan.writes)


def _with_tokens(plan: Plan) -> Rewriting:
    """Add what the environment holds, which no plan that is written may have in it."""
    try:
        return plan.rewriting.with_fields(token(text, os.environ) for text in plan.token_from)
    except ValueError as error:
        raise UserError(f"--token-from: {error}") from None


def _recording(
    plan: Plan, encoder: Encoder, chosen: Chosen | None
) -> tuple[Selection, float, str, list[tuple[str, str]]]:
    try:
        whole = Capture(plan.recording, load_identities(plan.identity))
        capture = Selection(whole, span(whole, plan.from_, plan.until), chosen)
        found = Accounts()
        records = usable(capture.sifted(), encoder, found)
        # Most recordings show at once that they can be used; only one that can't is read to its end.
        first = next(filter(None, records), None)
        if first is None:
            raise UserError(_nothing(plan, whole, found, encoder))
        capture = Selection(whole, capture.span, chosen, first[0])
        encoder.forget()
        preview = Preview(plan, encoder)
        with _timed(encoder) as took:
            for record in islice(capture.sifted(), SAMPLE):
                preview.look(record)
    except CaptureError as error:
        raise UserError(str(error)) from None
    skipped, lines = preview.skipped, [*preview.lines(), *_cost(plan, took)]
    encoder.forget()
    return capture, preview.share, skipped, lines


def _timed(encoder: Encoder) -> AbstractContextManager[list[float]]:
    """Give a list to which each call of the plugin adds its seconds; it stays empty if there is none."""
    return encoder.hook.timed(time.perf_counter) if isinstance(encoder, PluginEncoder) else nullcontext([])


def _cost(plan: Plan, took: list[float]) -> list[tuple[str, str]]:
    """Say what the plugin costs. It is called where the schedule is kept, so it bounds what can be sent."""
    if not took:
        return []
    typical = max(median(took), 1e-7)  # what is less is the clock's own
    most = float(f"{1 / typical:.2g}")
    cost = f"{typical * 1e6:.3g} µs" if typical < 1e-4 else f"{typical * 1e3:.3g} ms"
    each = f"{plan.plugin} takes {cost} for a record (the median of {len(took)})"
    return [("plugin", f"{each}: by itself it allows {most:,.0f} in a second")]


def _nothing(plan: Plan, whole: Capture, found: Accounts, encoder: Encoder) -> str:
    """Say why there is nothing to replay."""
    reasons = [", ".join(f"{count} {reason}" for reason, count in found.skipped.items())] if found.skipped else []
    asked = plan.from_ is not None or plan.until is not None
    if not found.read and asked and whole.first_ns is not None and whole.last_ns is not None:
        reasons.append(
            f"no record lies between --from and --until; it holds {whole.count} from {iso(whole.first_ns)} "
            f"to {iso(whole.last_ns)}"
        )
    return f"{plan.recording} holds nothing that can be replayed: " + (
        "; ".join([*reasons, *encoder.reasons.values(), *whole.damage[:5]]) or "it is empty"
    )


async def _state(client: httpx.AsyncClient, url: str) -> State:
    try:
        response = await client.get(f"{url}/v1/state")
        response.raise_for_status()
        return State.model_validate_json(response.content)
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        raise UserError(
            f"{url}: no sidecar answers there ({why}); without its signal nothing may be sent. Is it "
            "the control port, and is it reachable from here?",
            Exit.SIGNAL_LOST,
        ) from None
    except ValidationError:
        raise UserError(f"{url}: this is not the control port of a sidecar") from None


async def _try_subscribing(client: httpx.AsyncClient, url: str, terms: Terms, run_id: str, tag: Tag) -> None:
    """See that the sidecar knows the run's load tag: what it does not know, it takes for real traffic."""
    token = tag.token(time.time()).decode()
    try:
        async with aclosing(grants(client, url, terms.ceiling or Share(0), run_id, token)) as stream:
            await anext(stream)
    except RefusedError as refusal:
        raise UserError(
            f"{url} refuses the load tag: {refusal}. Without its consent nothing may be sent. Does its --public-key "
            f"belong to the --key used here ({tag.key_id}), is the tag for whom it expects ({terms.audience}), and "
            "do the clocks of both machines agree?"
        ) from None
    except (httpx.HTTPError, StopAsyncIteration, ValueError) as error:
        raise UserError(
            f"{url}: no grant comes from it ({str(error) or type(error).__name__}); nothing may be sent",
            Exit.SIGNAL_LOST,
        ) from None


def control_client(plan: Plan) -> httpx.AsyncClient:
    """Make a client for control ports. Whoever grants is verified, even where the target (`insecure`) is not."""
    verify = verified(plan) if any(url.startswith("https:") for url in plan.sidecars) else False
    return httpx.AsyncClient(timeout=CONTROL_TIMEOUT, trust_env=False, verify=verify)
