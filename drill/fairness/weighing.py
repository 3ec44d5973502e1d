"""How much a difference says: is it more than chance, does its route matter, and what does it mean? Pure.

A few answers of a route are not all of them. Of what differs in some of them, it is asked how rare it could be on the
route: the lower bound of Wilson's interval (E. B. Wilson, 1927; one-sided, 95%) of its share. A difference is *unfair*
where that is more than a tenth and the route matters; else it is a doubt. A route matters that has one in a hundred of
the incident's requests, or of the time that its answers took.
"""

import math
from collections.abc import Iterable

from drill.fairness.fairness import Direction, Finding, Kind, Severity
from drill.fairness.population import Heard, Population
from replayer.reporting.figures import share as percent

MATTERS = 0.01
"""Share of requests, or of time, from which on a route is not left to the sum of all others."""

RARE = 0.1
"""What differs less often than this on a route is a doubt."""

_Z = 1.6449
"""The normal deviate that 95% lie below."""

MEANS: dict[Direction, str] = {
    "easy": "That the clone bears the load says nothing of production then: HOLDS is out of the question.",
    "hard": "That the clone gives way says nothing of production then: DOES NOT HOLD is out of the question.",
    "either": "Neither HOLDS nor DOES NOT HOLD can be said of production then.",
}
DOUBTS: dict[Direction, str] = {
    "easy": "The clone may have less to do than production had: a verdict of HOLDS is told with this doubt.",
    "hard": "The clone may have it harder than production had: DOES NOT HOLD is told with this doubt.",
    "either": "A verdict is told with this doubt.",
}
ADVICE: dict[Kind, str] = {
    "missing": "Put production's data onto the clone, or ask it otherwise (--host, --rewrite)",
    "login": "The sessions of the incident are not valid on the clone: send a token (--token-from), or have the clone "
    "accept production's sessions",
    "failing": "See to it that the clone works, before any load is put onto it",
    "status": "See why the clone answers otherwise: --host, --set-header and --rewrite change what it is asked",
    "size": "Put production's data onto the clone",
}
CHANGED = "; if the fix itself changed this, say so: --changed '{route}'"


def gravest(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Put the gravest first; of those, what most is about."""
    return tuple(sorted(findings, key=_gravity))


def _gravity(finding: Finding) -> tuple[int, float]:
    order: dict[Severity, int] = {"unfair": 0, "doubt": 1, "says nothing": 2}
    return order[finding.severity], -max(finding.share, finding.time_share or 0.0)


def at_least(seen: int, of: int) -> float:
    """Give the share that `seen` of `of` leave no doubt about: the lower end of Wilson's one-sided interval."""
    if not of:
        return 0.0
    share, square = seen / of, _Z * _Z
    middle = share + square / (2 * of)
    half = _Z * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, (middle - half) / (1 + square / of))


def reads(method: str) -> bool:
    """Whether requests of this method may be sent to see what is answered."""
    return method in ("GET", "HEAD", "OPTIONS")


def matters(known: Population, route: Heard) -> bool:
    """Whether a difference on this route alone is enough."""
    return known.share(route) >= MATTERS or (known.time_share(route) or 0.0) >= MATTERS


def severity_of(known: Population, route: Heard, seen: int, of: int) -> Severity:
    """Tell how grave it is that so many answers of a route differ."""
    return "unfair" if at_least(seen, of) > RARE and matters(known, route) else "doubt"


def about_route(
    known: Population, route: Heard, kind: Kind, severity: Severity, direction: Direction, what: str, advice: str = ""
) -> Finding:
    """Put a finding about a route into words."""
    name = f"{route.method} {route.template}"
    time = known.time_share(route)
    weight = f"{percent(known.share(route))} of the requests"
    weight += "" if time is None else f", {percent(time)} of the time"
    said = advice or ADVICE.get(kind, "")
    if said and direction != "hard" and kind in ("size", "missing", "status"):
        said += CHANGED.format(route=name)
    means = (MEANS if severity == "unfair" else DOUBTS)[direction]
    if kind == "size" and direction == "easy" and severity == "unfair":
        means = f"Pages with so much less in them cost less to make. {means}"
    return Finding(
        kind=kind,
        severity=severity,
        direction=direction,
        what=f"{name} ({weight}): {what}.",
        means=means,
        advice=f"{said}." if said else "",
        method=route.method,
        template=route.template,
        share=min(1.0, known.share(route)),
        time_share=time,
    )


def times(then: float, now: float) -> str:
    """Say how large something is, by what it was."""
    factor = max(now, then) / max(1, min(now, then))
    digits = f"{factor:,.0f}" if factor >= 1000 else f"{factor:.3g}"
    return f"1/{digits} of it" if now < then else f"{digits} times as much"
