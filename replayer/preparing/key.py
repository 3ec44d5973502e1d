"""The private key that signs the load tags of a run. Edge: reads it."""

import time

from loadtag import Signer
from loadtag.keys import KeyFileError, load_private
from replayer.plan import Plan
from replayer.requests.tagging import MARGIN, ailing
from rules.exits import UserError


def key_of(plan: Plan) -> Signer:
    """Read it, and see that it is good now. Raises UserError."""
    if plan.key is None:
        raise UserError(
            "name the private key that signs the load tag with --key (reamp keygen makes a pair): what is sent "
            "without a tag looks like real traffic to everything behind the target"
        )
    try:
        signer = load_private(plan.key)
    except KeyFileError as error:
        raise UserError(str(error)) from None
    now = time.time()
    if why := ailing(signer, now) or ailing(signer, now + MARGIN):
        raise UserError(f"{plan.key}: {why}")
    return signer
