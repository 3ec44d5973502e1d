"""What encodes a plan's requests: its rewriting, tokens and plugin. Edge: the environment, the user's code."""

import os

from replayer.plan import Plan
from replayer.plugins import Hook, load
from replayer.requests.encoding import Encoder
from replayer.requests.hooking import PluginEncoder
from replayer.requests.rewriting import Rewriting, token
from rules.exits import UserError


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
