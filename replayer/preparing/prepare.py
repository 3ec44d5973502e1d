"""Checks all that can be checked before anything is sent: the rest of this folder, in order. Edge."""

import time
from datetime import UTC, datetime

from loadtag import Signer
from replayer.announcing.receivers import receivers
from replayer.books.folder import new_run_id
from replayer.descriptors import enough
from replayer.encoder import encoder_for
from replayer.lanes.choice import choose
from replayer.plan import Plan
from replayer.preparing.key import key_of
from replayer.preparing.length import lasts_long_enough
from replayer.preparing.lists import target_lists
from replayer.preparing.prepared import Prepared
from replayer.preparing.recording import recording_of
from replayer.preparing.sidecars import control_client, state_of, try_subscribing
from replayer.preparing.targets import destinations, refusals
from replayer.preparing.terms import agree
from replayer.preparing.timetable import calendar_of, is_open, starts
from replayer.preparing.writable import can_be_written
from replayer.requests.tagging import Tag, misdirected
from replayer.selection import Chosen, Selection
from replayer.transport.tls import to_target
from rules.exits import UserError


async def prepare(plan: Plan, chosen: Chosen | None = None) -> Prepared:
    """Check it all. `chosen` says of a record whether ``--only`` and ``--except`` want it. Raises UserError."""
    if chosen is None and (plan.only is not None or plan.except_ is not None):
        raise ValueError("a plan with only or except needs the predicate made of them")
    run_id = new_run_id(time.time())
    targets = target_lists(plan)
    if refused := refusals(targets, destinations(plan)):
        raise UserError("\n".join(refused))
    can_be_written(plan)
    calendar = calendar_of(plan, datetime.now(UTC))
    is_open(plan, calendar, starts(plan, datetime.now(UTC)))
    told = receivers(plan.announce, plan.announce_file)
    if plan.announce_required and not told:
        raise UserError("--announce-required: nobody was named who could be told: --announce, --announce-file")
    enough(plan.max_connections)
    signer = key_of(plan)
    encoder = encoder_for(plan, run_id)
    capture, share, skipped, preview = recording_of(plan, encoder, chosen)
    seconds = max(0, (capture.last_ns or 0) - (capture.first_ns or 0)) / 1e9
    lasts_long_enough(plan, seconds)
    tls = to_target(plan)
    if plan.diff_against is not None:
        to_target(plan.model_copy(update={"to": plan.diff_against}))  # raises now what it would raise then
    async with control_client(plan) as client:
        states = {url: await state_of(client, url) for url in plan.sidecars}
        terms = agree(plan, states)
        if why := misdirected(signer, terms.audience):
            # A name made of the target's stands in for an audience that nobody has told.
            raise UserError(f"{why}; or name its audience: --audience NAME" if plan.idle_target else why)
        tag = Tag(signer, run_id, terms.audience, plan.tag_lifetime)
        for url in states:
            await try_subscribing(client, url, terms, run_id, tag)
    lane = await choose(plan)
    return Prepared(
        run_id, capture, encoder, signer, tls, states, terms, seconds, lane, share, skipped, preview,
        targets, calendar, told,
    )  # fmt: skip


def papers(plan: Plan, chosen: Chosen | None = None) -> tuple[str, Signer, Selection]:
    """Give what can be had without asking anybody: a name for the run, the key, what is replayed. Raises UserError."""
    run_id = new_run_id(time.time())
    enough(plan.max_connections)
    signer = key_of(plan)
    return run_id, signer, recording_of(plan, encoder_for(plan, run_id), chosen)[0]
