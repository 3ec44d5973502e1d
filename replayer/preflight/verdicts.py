"""What follows from what was seen, with the words for people. Pure."""

import ipaddress
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from captures.moments import iso
from loadtag import Signer
from replayer.plan import Plan
from replayer.preflight.findings import Found, failed, ok, skipped, warned
from replayer.preflight.survey import Survey
from replayer.requests.tagging import MARGIN
from replayer.requests.writes import leave, omit
from replayer.schedule.calendar import Calendar, ahead
from rules.slo import Reading, Rule
from rules.units import MILLION, Duration, Share

SHOWN = 3
"""Examples of one kind that are shown."""


# --- the recording ---


def untagged(survey: Survey, looked_at: str) -> Found:
    """Judge whether synthetic traffic would feed on itself."""
    first = survey.first_tagged
    if first is None:
        return ok(f"none of {looked_at} bears a load tag")
    return failed(
        f"{survey.tagged} of {looked_at} bear a load tag, the first one {first.method} {first.path}",
        "somebody recorded a replay. A sidecar that knows the key records none of it: look at where this recording "
        "comes from, and record real users, or cut the replay out (--from, --until)",
    )


def only_safe(survey: Survey, looked_at: str, plan: Plan) -> Found:
    """Judge whether it holds what may not be sent."""
    if not survey.unsafe:
        return ok(f"all of {looked_at} only read or are allowed")
    routes = survey.left_out
    named = ", ".join(f"{route.method} {route.template} ({route.left_out})" for route in routes[:SHOWN])
    more = f" and {len(routes) - SHOWN} more" if len(routes) > SHOWN else ""
    send = next(filter(None, (leave(route.method, route.template, plan.methods) for route in routes)), "")
    out = omit(routes, plan.except_, plan.allow) or "--skip-check 'recording is safe'"
    return failed(
        f"{survey.unsafe} of {looked_at} may change things, and no --allow names them: {named}{more}",
        f"they are not sent, and the load is less than it looks: say that this is meant by {out}"
        + (f"; or, for each route that does no harm, have it sent by {send}" if send else ""),
    )


def fits_host(hosts: Counter[str], sent: str | None) -> Found:
    """Judge whether it was recorded of this target. `sent`: the host that requests will name; None: their own."""
    total = hosts.total()
    known = Counter({name: count for name, count in hosts.items() if name})
    names = ", ".join(f"{name} ({count})" for name, count in known.most_common(SHOWN))
    names += f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    if not known:
        return skipped("the recording tells no host names")
    if sent is None:
        return ok(f"each request names the host that it was recorded for: {names}")
    fitting = sum(count for name, count in known.items() if _same(name, sent))
    if not fitting:
        most = known.most_common(1)[0][0]
        return failed(
            f"it was recorded for {names}, and {sent} is what the target is called",
            "is it a recording of this target? If so, have requests name the host that users name: "
            f"--host {shlex.quote(most)} (or --host recorded, each its own)",
        )
    if fitting < total - hosts[""]:
        return warned(
            f"{fitting} of {total} were recorded for {sent}; there are {names}",
            "all of them are sent to this target: --only '~d HOST' takes one host's only",
        )
    return ok(f"recorded for {sent}")


def _same(one: str, other: str) -> bool:
    return one == other or (_loopback(one) and _loopback(other))


def _loopback(name: str) -> bool:
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


# --- the permits ---


def window_is_open(calendar: Calendar, now: datetime, seconds: float) -> Found:
    """Judge whether a run of some seconds may begin now."""
    if not calendar:
        return ok("it may run at any time: there is no --window")
    if why := calendar.why_not(now):
        return failed(f"{why}; {calendar.next_opening(now)}", "nothing is sent outside of it: wait until it opens")
    closes = calendar.closes(now)
    if closes is None:
        return ok("it is open, and stays so")
    told = f"it is open until {calendar.told(closes)}, for {ahead(closes - now)}"
    if now + timedelta(seconds=seconds) > closes:
        return warned(
            f"{told}; the run takes {Duration(round(seconds))}",
            "it will be cut then: begin earlier, or make it shorter",
        )
    return ok(told)


def key_lasts(signer: Signer, audience: str | None, now: float, seconds: float) -> Found:
    """Judge whether a key is good for an audience (None: not known), for a run of some seconds."""
    validity, key = signer.validity, f"key {signer.key_id}"
    advice = "have a key made that is (reamp keygen), and put its public half into the sidecar's --public-key"
    if (reason := validity.reason(now)) is not None:
        ended = reason == "key-expired"
        when = iso(((validity.not_after if ended else validity.not_before) or 0) * 10**9)
        return failed(f"{key} {'has ended' if ended else 'begins'} {when}", advice)
    if audience is not None and not validity.admits(audience):
        return failed(f"{key} is good for {', '.join(validity.audiences)}, and the tag is for {audience}", advice)
    if validity.not_after is None:
        return ok(f"{key} has no end")
    told = f"{key} ends {iso(validity.not_after * 10**9)}"
    if validity.not_after < now + seconds:
        return failed(f"{told}, and the run takes {Duration(round(seconds))}", f"it would end in the middle: {advice}")
    return ok(told)


# --- the sidecars ---


class Clock(NamedTuple):
    """What a sidecar's clock said."""

    ahead: float
    """Seconds by which it is ahead of ours."""
    within: float
    """Seconds by which that may be wrong: the answer was on its way for so long."""


def clocks_agree(clocks: Mapping[str, Clock], lifetime: float) -> Found:
    """Judge by how much clocks differ: a load tag is sent for half its lifetime, so it may be that much too old."""
    bound = max(lifetime / 2, MARGIN)
    told = ", ".join(f"{url}: {_skew(clock)}" for url, clock in clocks.items())
    evidence = f"{told}; load tags bear {bound:g} s"
    worst = max((abs(clock.ahead) for clock in clocks.values()), default=0.0)
    advice = "set both machines' clocks by NTP (chronyc tracking, timedatectl show)"
    if worst >= bound:
        return failed(
            evidence, f"{advice}: a tag is invalid on arrival, or stays valid after its time. --tag-lifetime bears more"
        )
    if worst >= bound / 2:
        return warned(evidence, f"{advice}: little more and load tags are refused")
    return ok(evidence)


def _skew(clock: Clock) -> str:
    if abs(clock.ahead) <= clock.within:
        return f"the same within {max(clock.within, 0.001):.3f} s"
    return f"{abs(clock.ahead):.1f} s {'ahead of' if clock.ahead > 0 else 'behind'} ours"


class Watched(NamedTuple):
    """What a grant stream brought."""

    grants: int
    seconds: float
    """How long it was watched."""
    real: int
    """Real requests in that time."""
    gap: float
    """The longest time without a grant, in seconds."""
    rate: float
    """What the sidecar says of its last window, real requests per second."""


def signal_moves(streams: Mapping[str, Watched], stale: float) -> Found:
    """Judge whether grants arrive, and whether they see real users."""
    evidence = "; ".join(
        f"{url}: {seen.grants} grants in {seen.seconds:.1f} s, the longest gap {seen.gap * 1000:.0f} ms, "
        f"real requests +{seen.real} ({seen.rate:.1f}/s)"
        for url, seen in streams.items()
    )
    for url, seen in streams.items():
        if not seen.grants or seen.gap > stale:
            return failed(
                evidence,
                f"the signal of {url} is stale: without a grant for more than {stale:g} s nothing may be sent. Is the "
                "sidecar overloaded, or the network between here and its control port?",
            )
    for url, seen in streams.items():
        if seen.real:
            continue
        if seen.rate:
            return warned(
                evidence,
                f"too few real users come by {url} to be seen in {seen.seconds:.1f} s: the ceiling will hardly let "
                "anything pass",
            )
        return failed(
            evidence,
            f"no real request passes {url}, so nothing is earned and nothing would be sent. Do users really come "
            "through this sidecar? Let the load balancer lead them there, or wait until they come",
        )
    return ok(evidence)


# --- canaries ---


class Seen(NamedTuple):
    """What the sidecars counted while canaries were on their way."""

    synthetic: int
    untrusted: int
    recorded_as_synthetic: int
    """What the accounts of the recording took for synthetic."""
    reconciles: bool


def past_the_sidecar(to: str, apps: Sequence[str]) -> str:
    """Say what to do if the sidecars never saw a request."""
    if to in apps:
        return (
            f"--to {to} leads past the sidecar: it is the app itself, the sidecar's --upstream. Send to the address "
            "that the sidecar listens on (its --listen), where real users go"
        )
    return (
        f"--to {to} leads past the sidecar: send to the address that it listens on, where real users go. If it does "
        "lead there, something in between takes the header baggage away: have that proxy pass it on"
    )


def seen_as_synthetic(sent: int, seen: Seen, answer: str, to: str, apps: Sequence[str]) -> Found:
    """Judge whether tagged requests were taken for what they are."""
    told = f"{answer}; the sidecar counted +{seen.synthetic} synthetic, +{seen.untrusted} untrusted for {sent} sent"
    if seen.synthetic >= sent:
        return ok(told)
    if seen.untrusted:
        return failed(
            told,
            "the sidecar sees the tag and does not believe it: its --public-key has to belong to the --key used here, "
            "its --audience has to be the tag's, and both clocks have to agree",
        )
    return failed(told, past_the_sidecar(to, apps))


def unrecorded(sent: int, seen: Seen, capturing: bool) -> Found:
    """Judge whether a recording that is being made holds tagged requests."""
    told = f"{seen.recorded_as_synthetic} of {sent} left out of the recording as synthetic"
    if seen.recorded_as_synthetic < sent:
        return failed(
            told,
            "a tagged request was not told apart, so it is in the recording like one of a real user, or it never came "
            "by the sidecar: see what the check `canary` says, and do not replay what is being recorded now",
        )
    if not seen.reconciles:
        return failed(
            f"{told}, but the accounts do not reconcile", "look at `reamp status`: report it with the sidecar's log"
        )
    if not capturing:
        return warned(f"{told}; its recording does not reach the disk", "look at the sidecar's log and at its disk")
    return ok(f"{told}; the accounts reconcile")


# --- the lever and the ceiling ---


class Shot(NamedTuple):
    """A request that was sent to see whether it passes. Times are monotonic nanoseconds."""

    sent_ns: int
    ended_ns: int
    result: str
    """`passed`, `credit`, `lever` or `tag` if the sidecar withheld it, or why there is no answer."""


def lever_holds(shots: Sequence[Shot], ordered_ns: int, held_ns: int, limit: float, told: str) -> Found:
    """Judge what passed around a pull that was ordered and, later, confirmed. `told`: how resetting it went."""
    before = [shot for shot in shots if shot.sent_ns < ordered_ns]
    after = [shot for shot in shots if shot.sent_ns >= ordered_ns]
    passed = [shot for shot in after if shot.result == "passed"]
    last = max((shot.sent_ns for shot in passed), default=ordered_ns)
    late = [shot for shot in passed if shot.sent_ns > max(held_ns, 0)]
    counts = counted(after)
    evidence = (
        f"before the pull {counted(before)}; confirmed after {(held_ns - ordered_ns) / 1e6:.0f} ms; then {counts}"
    )
    if passed:
        evidence += f", the last to pass {(last - ordered_ns) / 1e6:.0f} ms after the pull"
    evidence += f"; {told}"
    if late:
        return failed(
            evidence,
            "the lever does not hold: requests pass although it is pulled, so some way to the app has no sidecar (an "
            "instance without one, a load balancer that leads past it), or one that this command was not told of: "
            "name every --sidecar, and put one before every instance",
        )
    if last - ordered_ns > limit * 1e9:
        return failed(evidence, f"it took longer than {limit:g} s: is the control port, or its machine, overloaded?")
    if not any(shot.result == "lever" for shot in after):
        return failed(
            evidence,
            "nothing was refused because of the lever: does the target answer at all, and do the --sidecars stand "
            "before it?",
        )
    return ok(evidence)


def ceiling_holds(shots: Sequence[Shot], ratio: Share, earned: Sequence[tuple[int, Share]]) -> Found:
    """Judge a burst straight after all credit was taken away.

    `earned`: of each sidecar, the real requests from just before that moment until all answers were there, and what
    each of them earns, a part of a credit. `ratio` is the largest.
    """
    sent, passed = len(shots), sum(shot.result == "passed" for shot in shots)
    lasted = (max(shot.ended_ns for shot in shots) - min(shot.sent_ns for shot in shots)) / 1e6 if shots else 0.0
    real = sum(count for count, _ in earned)
    credits_ = sum(count * share for count, share in earned) / MILLION
    allowed = int(credits_) + 1
    evidence = (
        f"{sent} sent in {lasted:.0f} ms, right after all credit was gone: {counted(shots)}. Real users sent {real} "
        f"meanwhile, x {ratio} = {credits_:.2f} credits, so at most {allowed} may pass"
    )
    if passed > allowed:
        return failed(
            evidence,
            "the ceiling does not hold: more passed than real users earned, so some way to the app has no sidecar (an "
            "instance without one, a load balancer that leads past it): put one before every instance",
        )
    if not any(shot.result == "credit" for shot in shots):
        return warned(
            evidence,
            "the burst did not reach the ceiling, so this shows nothing: there is more real traffic here than a "
            "handful of requests can outdo",
        )
    return ok(evidence)


def counted(shots: Sequence[Shot]) -> str:
    """Say what became of them."""
    words = {
        "passed": "passed",
        "credit": "refused for want of credit",
        "lever": "refused by the lever",
        "tag": "refused for the load tag",
    }
    counts = Counter(words.get(shot.result, f"without an answer ({shot.result})") for shot in shots)
    return ", ".join(f"{count} {what}" for what, count in counts.most_common()) or "nothing was sent"


# --- the rules ---


class Read(NamedTuple):
    """A rule, and what was read for it."""

    rule: Rule
    reading: Reading


def rules_have_data(found: Sequence[Read], rate: float, trouble: Mapping[str, str], tap: str = "") -> Found:
    """Judge whether rules are measured, and hold without load.

    `rate`: real requests a second; `trouble` by sidecar; `tap`: a sidecar that sees no answers, if there is one.
    """
    told = "; ".join(f"{rule.expression}: {_reading(rule, reading)}" for rule, reading in found)
    silent = [rule for rule, reading in found if reading.value is None]
    if silent and tap and not any(rule.external for rule in silent):
        return failed(
            told,
            f"{tap} is a tap: it sees no answers, so it knows nothing of times and errors, and a rule without data "
            "counts as breached. Measure what users get elsewhere: 'value<0.5 prometheus=URL query=...' (safety.md)",
        )
    if silent:
        where = "".join(f"; {url}: {why}" for url, why in trouble.items())
        return failed(
            told + where,
            "a rule without data counts as breached, so the run would end or back off to nothing: see that its source "
            "answers from here (the query's URL and what it selects, the plugin, the sidecar's version)",
        )
    advice = []
    for rule, reading in found:
        limit = rule.expression.limit(None)
        if limit is not None and reading.value is not None and not rule.expression.holds(reading.value, limit):
            advice.append(f"{rule.expression} does not hold now, before any load: see what ails the target first")
        if not rule.external and rate * rule.window < rule.min_samples:
            advice.append(
                f"{rule.expression}: about {rate * rule.window:.0f} requests come in {rule.window}, and with less than "
                f"{rule.min_samples} there is no data: give it a longer window, or a smaller min_samples"
            )
    return warned(told, "; ".join(advice)) if advice else ok(told)


def _reading(rule: Rule, reading: Reading) -> str:
    if reading.value is None:
        return f"no data ({reading.why or 'nothing came'})"
    return f"{rule.expression.tell(reading.value)} now" + (f", of {reading.samples}" if reading.samples else "")
