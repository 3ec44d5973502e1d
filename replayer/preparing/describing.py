"""What would be done, in words: for ``--dry-run``, for the journal and for those to whom a run is announced."""

import time
from datetime import UTC, datetime, timedelta

from loadtag.validity import write_moment
from replayer.person import host, person
from replayer.plan import Plan
from replayer.preparing.length import one_round, recorded_seconds, run_seconds
from replayer.preparing.lists import MACHINE
from replayer.preparing.prepared import Prepared
from replayer.preparing.recording import SAMPLE
from replayer.preparing.targets import by, destinations
from replayer.preparing.timetable import starts
from replayer.requests.tagging import MARGIN
from replayer.schedule.calendar import ahead
from replayer.selection import EVERYTHING
from rules.exits import Exit
from rules.units import MILLION, Duration, Share


def describe(plan: Plan, prepared: Prepared) -> list[tuple[str, str]]:
    """Say what was found and what would be sent: (what, finding)."""
    terms, capture = prepared.terms, prepared.capture
    count = f"{'' if capture.span == EVERYTHING else 'about '}{capture.count}"
    held = f"{capture.path}: {count} records over {Duration(prepared.seconds)}"
    lines = [
        ("recording", f"{held}{_part(plan, prepared)}{prepared.skipped}"),
        ("target", f"{plan.to}, idle" if plan.idle_target else plan.to),
        ("allowed", _allowed(plan, prepared)),
        ("lane", f"{prepared.lane.name}: {prepared.lane.why}"),
        ("load tag", f"key {prepared.signer.key_id}, for {terms.audience}, valid {plan.tag_lifetime} at a time"),
    ]
    lines += _ends_with_its_key(plan, prepared)
    lines += prepared.preview
    lines += [("damaged", f"{damage}; it is left out") for damage in capture.damage]
    rate = 0.0
    for url, state in prepared.states.items():
        rate += state.signal.rate
        tap = "; a tap: it refuses nothing, so the ceiling is what this run keeps to" if state.tap is not None else ""
        lines.append(("sidecar", f"{url}: {state.signal.rate:.1f} real requests/s, allows {state.max_extra}{tap}"))
    lines.append(("ceiling", "none: an idle target" if terms.ceiling is None else f"{terms.ceiling} of real traffic"))
    lines.append(("to send", _intent(plan, prepared, rate)))
    lines += _times(plan, prepared, starts(plan, datetime.now(UTC)))
    lines += [("rule", str(rule)) for rule in plan.slo]
    if plan.warm_up is not None:
        lines.append(("warm-up", f"{plan.warm_up} without load, to learn what users get"))
    if prepared.receivers or plan.announce_before is not None:
        names = ", ".join(receiver.name for receiver in prepared.receivers) or "nobody but who reads this"
        ahead_ = "" if plan.announce_before is None else f", {plan.announce_before} ahead"
        lines.append(("announced to", f"{names}{ahead_}{'; required' if plan.announce_required else ''}"))
    if plan.diff:
        there = f"{plan.diff_against}, which gets 2 more" if plan.diff_against else "the recording"
        cost = f"{1 if plan.diff_against else 2} more to the target, for credit if it is live"
        lines.append(
            ("answers", f"{', '.join(plan.diff)} of {plan.diff_rate} compared with {there}; each takes {cost}")
        )
    return lines


def intent(plan: Plan, prepared: Prepared) -> str:
    """Say in a line what would be sent."""
    return _intent(plan, prepared, sum(state.signal.rate for state in prepared.states.values()))


def opening(plan: Plan, prepared: Prepared) -> dict[str, object]:
    """Give what the journal says of a plan: who runs what, where, onto what."""
    return {
        "run": prepared.run_id,
        "to": plan.to,
        "ceiling": prepared.terms.ceiling,
        "audience": prepared.terms.audience,
        "key": prepared.signer.key_id,
        "operator": person(plan.operator),
        "host": host(),
        "sends": intent(plan, prepared),
        "plan": plan.model_dump(mode="json"),
    }


def _ends_with_its_key(plan: Plan, prepared: Prepared) -> list[tuple[str, str]]:
    """Warn of a run that lasts longer than its key is good."""
    ends = prepared.signer.validity.not_after
    lasts = run_seconds(plan, prepared)
    if ends is None or time.time() + lasts < ends - MARGIN:
        return []
    left = Duration(max(0, ends - round(time.time())))
    return [
        ("warning", f"the key expires at {write_moment(ends)}, in {left}: the run, {Duration(lasts)} long, ends then")
    ]


def _allowed(plan: Plan, prepared: Prepared) -> str:
    if not prepared.targets:
        return f"any target: there is no list of allowed ones (--allowed-targets, {MACHINE})"
    return "; ".join(dict.fromkeys(told for _, url in destinations(plan) for told in by(prepared.targets, url)))


def _times(plan: Plan, prepared: Prepared, start: datetime) -> list[tuple[str, str]]:
    """Say when it may run, and what will be cut off of it."""
    lines, calendar, lasts = [], prepared.calendar, run_seconds(plan, prepared) + (plan.warm_up or 0)
    planned = f"the run takes {Duration(round(lasts, 1))}"
    if calendar:
        closes = calendar.closes(start)
        if why := calendar.why_not(start):
            told = f"closed: {why}; {calendar.next_opening(start)}"
        else:
            told = "open" if closes is None else f"open until {calendar.told(closes)}, for {ahead(closes - start)}"
            if closes is not None and start + timedelta(seconds=lasts) > closes:
                told += f"; {planned}, so it will be cut then (exit code {int(Exit.OUTSIDE_WINDOW)})"
        lines.append(("window", told))
    if plan.holidays is not None:
        following = sorted(day for day in calendar.holidays if day >= start.date())
        next_ = f"the next one is {following[0]}" if following else "none is to come: is the file out of date?"
        lines.append(("holidays", f"{len(calendar.holidays)} in {plan.holidays}; {next_}"))
    if plan.max_time is not None and lasts + (plan.announce_before or 0) > plan.max_time:
        lines.append(("longest time", f"{plan.max_time}; {planned}, so it will be cut"))
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
        length = recorded_seconds(plan, prepared) or 1.0
        count = round(one_round(plan, prepared, seconds) * (seconds / length if seconds else 1.0))
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
