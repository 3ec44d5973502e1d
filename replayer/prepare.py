"""Everything that can be checked before anything is sent. Edge: opens the recording and the key, asks the sidecars."""

import ssl
import time
from contextlib import aclosing
from itertools import islice
from typing import NamedTuple

import httpx
from pydantic import ValidationError

from captures.errors import CaptureError
from captures.keyring import load_identities
from captures.reader import Capture
from loadtag import Signer
from loadtag.keys import KeyFileError, load_private
from replayer.accounts import Accounts
from replayer.credits import RefusedError, grants
from replayer.encoding import Encoder
from replayer.folder import new_run_id
from replayer.plan import Plan
from replayer.stock import usable
from replayer.tagging import Tag
from replayer.terms import Terms, agree
from rules.exits import Exit, UserError
from rules.units import Duration, Share
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
    capture: Capture
    encoder: Encoder
    signer: Signer
    tls: ssl.SSLContext | None
    states: dict[str, State]
    terms: Terms
    seconds: float
    """How long the recording lasts."""
    skipped: str
    """What was skipped of the first records, for people."""


async def prepare(plan: Plan) -> Prepared:
    """Check it all. Raises UserError with what to do."""
    run_id = new_run_id(time.time())
    signer = _key(plan)
    encoder = Encoder(
        run_id, plan.methods, plan.to.split("//")[1] if plan.host in ("target", "recorded") else plan.host,
        recorded_host=plan.host == "recorded", rewriting=plan.rewriting,
    )  # fmt: skip
    capture, skipped = _recording(plan, encoder)
    seconds = ((capture.last_ns or 0) - (capture.first_ns or 0)) / 1e9
    if plan.of == "live" and plan.duration is None and seconds < SHORTEST:
        raise UserError(f"the recording lasts {Duration(seconds)} only: say how long the run is to last, --duration")
    tls = _tls(plan)
    async with control_client(plan) as client:
        states = {url: await _state(client, url) for url in plan.sidecars}
        terms = agree(plan, states)
        tag = Tag(signer, run_id, terms.audience, plan.tag_lifetime)
        for url in states:
            await _try_subscribing(client, url, terms, run_id, tag)
    return Prepared(run_id, capture, encoder, signer, tls, states, terms, seconds, skipped)


def describe(plan: Plan, prepared: Prepared) -> list[tuple[str, str]]:
    """Say what was found and what would be sent: (what, finding)."""
    terms, capture = prepared.terms, prepared.capture
    lines = [
        ("recording", f"{capture.path}: {capture.count} records over {Duration(prepared.seconds)}{prepared.skipped}"),
        ("target", f"{plan.to}, idle" if plan.idle_target else plan.to),
        ("load tag", f"key {prepared.signer.key_id}, for {terms.audience}, valid {plan.tag_lifetime} at a time"),
    ]
    lines += [("damaged", f"{damage}; it is left out") for damage in capture.damage]
    rate = 0.0
    for url, state in prepared.states.items():
        rate += state.signal.rate
        lines.append(("sidecar", f"{url}: {state.signal.rate:.1f} real requests/s, allows {state.max_extra}"))
    lines.append(("ceiling", "none: an idle target" if terms.ceiling is None else f"{terms.ceiling} of real traffic"))
    lines.append(("to send", _intent(plan, prepared, rate)))
    return lines


def _intent(plan: Plan, prepared: Prepared, rate: float) -> str:
    lasts = Duration(run_seconds(plan, prepared))
    if plan.of == "recording":
        whole = run_seconds(plan.model_copy(update={"duration": None}), prepared)
        part = min(1.0, lasts / whole) if whole else 1.0
        count = round(prepared.capture.count * int(plan.amplify or 0) / 1e6 * part)
        return f"the recording {plan.amplify}{' squeezed' if plan.squeeze else ''}: up to {count} requests in {lasts}"
    if plan.top_up is not None:
        return f"what real traffic lacks of {plan.top_up}: {max(0.0, plan.top_up - rate):.1f}/s now, for {lasts}"
    extra = int(plan.extra or 0) / 1e6
    return f"{plan.extra} of real traffic on top of it, {plan.amplify} in all: {rate * extra:.1f}/s now, for {lasts}"


def run_seconds(plan: Plan, prepared: Prepared) -> float:
    """Tell how long the run will last at most."""
    if plan.of == "live":
        return prepared.seconds if plan.duration is None else plan.duration
    lasts = prepared.seconds * 1e6 / int(plan.amplify or 1) if plan.squeeze else prepared.seconds
    return lasts if plan.duration is None else min(plan.duration, lasts)


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


def _recording(plan: Plan, encoder: Encoder) -> tuple[Capture, str]:
    try:
        capture = Capture(plan.recording, load_identities(plan.identity))
        found = Accounts()
        records = usable(capture.records(), encoder, found)
        # Most recordings show at once that they can be used; only one that can't is read to its end.
        if next(filter(None, records), None) is None:
            reasons = ", ".join(f"{count} {reason}" for reason, count in found.skipped.items())
            reasons = "; ".join([*([reasons] if reasons else []), *capture.damage[:5]]) or "it is empty"
            raise UserError(f"{plan.recording} holds nothing that can be replayed: {reasons}")
        sample = Accounts()
        for _ in usable(islice(capture.records(), SAMPLE), encoder, sample):
            pass
    except CaptureError as error:
        raise UserError(str(error)) from None
    skipped = ", ".join(f"{count} {reason}" for reason, count in sample.skipped.items())
    return capture, f"; of the first {sample.read}, {skipped} will be skipped" if skipped else ""


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
    verify = _context(plan) if any(url.startswith("https:") for url in plan.sidecars) else False
    return httpx.AsyncClient(timeout=CONTROL_TIMEOUT, trust_env=False, verify=verify)


def _tls(plan: Plan) -> ssl.SSLContext | None:
    if not plan.tls:
        return None
    context = _context(plan)
    if plan.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def _context(plan: Plan) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=plan.ca)
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"--ca {plan.ca}: {error}") from None
