"""What the owners of the target allow, and what a plan asks for: do they agree? Pure."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from replayer.plan import Plan
from rules.exits import Exit, UserError
from rules.units import Share
from rules.wire import State


class Terms(NamedTuple):
    """What a run keeps to."""

    ceiling: Share | None
    """Most extra traffic, as a share of real traffic. None: an idle target has no ceiling."""
    audience: str
    """Whom the load tag is addressed to."""


def agree(plan: Plan, states: Mapping[str, State]) -> Terms:
    """Settle the terms with the sidecars (control port to state). Raises UserError with the arithmetic."""
    for url, state in states.items():
        if state.lever.engaged:
            reason = state.lever.reason or "no reason given"
            raise UserError(
                f"{url}: the lever is pulled by {state.lever.by or 'somebody'} ({reason}); nothing was sent. "
                f"Once it is safe again: reamp resume --sidecar {url}",
                Exit.LEVER,
            )
        if state.tap is not None:
            _has_data(plan, url)
    return Terms(_ceiling(plan, states), _audience(plan, states))


def _has_data(plan: Plan, url: str) -> None:
    """Refuse rules that a tap has no data for: in the middle of a run they would count as breached."""
    for rule in plan.slo:
        expression = rule.expression
        if not rule.external and expression.subject == "real" and expression.statistic != "rate":
            raise UserError(
                f"--slo {expression}: {url} is a tap, which gets copies of requests and sees no answers: it has no "
                "data on times and errors of real users. Measure them elsewhere, 'value<0.5 prometheus=URL query=...' "
                "(docs/safety.md), or judge the run's own requests: synthetic."
                f"{expression}"
            )


def _ceiling(plan: Plan, states: Mapping[str, State]) -> Share | None:
    if not states:
        return None
    url = min(states, key=lambda name: states[name].max_extra)
    owner = states[url].max_extra
    if plan.ceiling is not None and plan.ceiling > owner:
        raise UserError(
            f"--ceiling {plan.ceiling} is above what {url} allows, {owner}: a run can only lower the ceiling, "
            "the owner of the target raises it (reamp sidecar --max-extra)"
        )
    ceiling = owner if plan.ceiling is None else plan.ceiling
    if plan.of == "live":
        try:
            plan.fits_under(ceiling)
        except ValueError as error:
            raise UserError(str(error)) from None
    return ceiling


def _audience(plan: Plan, states: Mapping[str, State]) -> str:
    wanted = {state.audience for state in states.values()}
    if plan.audience is not None:
        if wanted - {plan.audience}:
            names = ", ".join(sorted(wanted))
            raise UserError(f"--audience {plan.audience}: the sidecar accepts only tags for {names}")
        return plan.audience
    if len(wanted) > 1:
        names = ", ".join(sorted(wanted))
        raise UserError(f"the sidecars are of different targets ({names}): replay onto one at a time")
    return wanted.pop() if wanted else re.sub(r"[^A-Za-z0-9_-]+", "-", plan.address[0]).strip("-")[:64] or "target"
