"""How long a run lasts. Pure."""

from replayer.plan import Plan
from replayer.preparing.prepared import Prepared
from rules.exits import UserError
from rules.units import MILLION, Duration

SHORTEST = 1.0
"""Seconds that a recording has to last for a live run to last as long."""


def lasts_long_enough(plan: Plan, seconds: float) -> None:
    """Refuse a live run that would be over at once, and stages that would never come. Raises UserError."""
    if plan.of == "live" and plan.duration is None and seconds < SHORTEST:
        raise UserError(f"the recording lasts {Duration(seconds)} only: say how long the run is to last, --duration")
    stages = list(plan.loudness.stages)
    last = sum(stage.seconds for stage in stages[:-1])
    if plan.of == "recording" and plan.stage and not plan.loop and seconds < last:
        raise UserError(
            f"the last --stage begins after {Duration(last)}, and what is replayed of the recording lasts "
            f"{Duration(seconds)}: give --loop to play it over and over"
        )


def run_seconds(plan: Plan, prepared: Prepared) -> float:
    """Tell how long the run will last at most; where a number of requests bounds it, about how long."""
    if plan.duration is not None:
        # How many requests there are is an estimate, and so is what follows from it; a duration is not.
        ends_before = plan.of == "recording" and plan.rate is None and not plan.loop and plan.sessions is None
        return min(plan.duration, recorded_seconds(plan, prepared)) if ends_before else plan.duration
    if plan.of == "live":
        return prepared.seconds
    held = prepared.capture.count * prepared.share
    if plan.rate is not None:
        count = min(plan.max_requests or held, held) if not plan.loop else plan.max_requests or held
        return count / plan.rate
    once = one_round(plan, prepared, prepared.seconds)
    seconds = recorded_seconds(plan, prepared)
    if plan.max_requests is None or not once:
        return seconds
    return seconds * (plan.max_requests / once if plan.loop else min(1.0, plan.max_requests / once))


def one_round(plan: Plan, prepared: Prepared, seconds: float) -> float:
    """Tell how many requests one round through the recording brings, about."""
    return prepared.capture.count * prepared.share * (1.0 if plan.squeeze else plan.loudness.mean(seconds))


def recorded_seconds(plan: Plan, prepared: Prepared) -> float:
    """Tell how long one round through the recording takes."""
    return prepared.seconds * MILLION / plan.loudness.most if plan.squeeze else prepared.seconds
