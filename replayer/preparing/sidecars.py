"""The control ports of a plan: that they answer, and that they know its load tag. Edge: asks them."""

import os
import ssl
import time
from contextlib import aclosing

import httpx
from pydantic import ValidationError

from replayer.permission.credits import RefusedError, grants
from replayer.plan import Plan
from replayer.preparing.terms import Terms
from replayer.requests.tagging import Tag
from replayer.transport.tls import trusting, verified
from rules.exits import Exit, UserError
from rules.units import Share
from rules.wire import CONTROL_TOKEN, Problem, State, bearing

CONTROL_TIMEOUT = 5.0
"""Seconds to wait for a sidecar's state: it answers in milliseconds or is in trouble."""


def control_client(plan: Plan) -> httpx.AsyncClient:
    """Make a client for control ports. Whoever grants is verified, even where the target (`insecure`) is not.

    It shows the token that the environment holds. Raises UserError.
    """
    verify: ssl.SSLContext | bool = False
    if any(url.startswith("https:") for url in plan.sidecars):
        verify = verified(plan) if plan.control_ca is None else trusting(plan.control_ca, "--control-ca")
    try:
        headers = bearing(os.environ.get(CONTROL_TOKEN))
    except ValueError as error:
        raise UserError(f"{CONTROL_TOKEN}: {error}") from None
    return httpx.AsyncClient(timeout=CONTROL_TIMEOUT, trust_env=False, verify=verify, headers=headers)


async def state_of(client: httpx.AsyncClient, url: str) -> State:
    """Ask a sidecar how it stands. Raises UserError."""
    try:
        response = await client.get(f"{url}/v1/state")
        response.raise_for_status()
        return State.model_validate_json(response.content)
    except httpx.HTTPStatusError as error:
        if error.response.status_code not in (401, 403, 429):
            raise UserError(f"{url}: {error}", Exit.SIGNAL_LOST) from None
        raise UserError(f"{url} refuses to tell its state: {_why(error.response)}") from None
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in why:
            raise UserError(f"{url}: {why}: --control-ca FILE says whom to trust there", Exit.SIGNAL_LOST) from None
        raise UserError(
            f"{url}: no sidecar answers there ({why}); without its signal nothing may be sent. Is it "
            "the control port, and is it reachable from here?",
            Exit.SIGNAL_LOST,
        ) from None
    except ValidationError:
        raise UserError(f"{url}: this is not the control port of a sidecar") from None


def _why(response: httpx.Response) -> str:
    try:
        return Problem.model_validate_json(response.content).detail
    except ValidationError:
        return f"{response.status_code} {response.reason_phrase}"


async def try_subscribing(client: httpx.AsyncClient, url: str, terms: Terms, run_id: str, tag: Tag) -> None:
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
