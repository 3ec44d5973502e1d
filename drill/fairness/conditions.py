"""Under which conditions the clone stands in, as far as people say so: asking it does not tell. Pure."""

from typing import NamedTuple

from drill.fairness.fairness import Finding, Resources
from rules.units import Duration


class Conditions(NamedTuple):
    """What was said of the clone, and of production."""

    clone: Resources | None = None
    production: Resources | None = None
    warmed: float = 0.0
    """Seconds of the incident that were replayed just before."""
    cold: bool = False
    """Whether the clone is said to have nothing in its caches."""
    changed: tuple[str, ...] = ()
    """Routes whose answers the fix has changed on purpose: ``GET /products``."""


def cache_findings(conditions: Conditions, *, cold: bool) -> list[Finding]:
    """Say what the state of the caches means. `cold`: it has shown already that they are."""
    if conditions.warmed:
        return [
            Finding(
                kind="cache",
                severity="says nothing",
                what=f"The clone was warmed by {Duration(conditions.warmed)} of the incident.",
                means="Its caches hold what the incident's requests had put there by then.",
            )
        ]
    if cold and not conditions.cold:
        return []
    return [
        Finding(
            kind="cache",
            severity="doubt",
            direction="hard",
            what="The clone's caches are cold."
            if conditions.cold
            else "Whether the clone's caches are cold or warm is not known.",
            means="Production's were as warm as its users had made them: a clone that gives way in the first minutes "
            "proves less. If the incident began with cold caches, cold is right.",
            advice="Play some minutes of the incident first, to have them as warm: --warm 5m.",
        )
    ]
