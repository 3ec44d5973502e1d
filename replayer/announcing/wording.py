"""Which of a run's decisions people are told, and in which words. Pure.

What the journal calls a decision (its event and details) goes in, what to say comes out.
"""

import shlex
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from captures.rendering import printable
from rules.exits import Exit

Kind = Literal["info", "success", "warning", "failure"]

LONGEST = 600
"""Characters of one line that came from elsewhere, like the reason for pulling a lever."""


class Facts(NamedTuple):
    """What is said of a run in each announcement."""

    run: str
    to: str
    operator: str
    host: str
    what: str
    """What is sent: "5% of real traffic on top of it"."""
    stop: str
    """How to stop it."""
    folder: str
    """Where the report will be."""


class Words(NamedTuple):
    """An announcement."""

    event: str
    title: str
    body: str
    kind: Kind


def words(event: str, details: Mapping[str, Any], facts: Facts) -> Words | None:
    """Say what people are to be told of a decision; None: nothing."""
    known = _KNOWN.get(event)
    if known is None or (event == "stage" and details.get("number") == 1):  # that it starts was told
        return None
    kind, title, lines = known(details)
    told = [_line(line) for line in lines if line]
    if event in ("ahead", "start"):
        told += [f"Sends: {_line(facts.what)}", f"By: {_line(facts.operator)} at {_line(facts.host)}"]
    if event != "stopped":
        told.append(f"Stop it: {facts.stop}")
    told.append(f"Report: {_line(facts.folder)} at {_line(facts.host)}")
    return Words(event, _line(f"Load test {facts.run} onto {facts.to} {title}"), "\n".join(told), kind)


def orphaned(facts: Facts) -> Words:
    """Say that the process of a run is gone without a word."""
    lines = [
        "The process that ran it was killed. It sends nothing any more, and wrote no report; what it wrote until then",
        f"is in {_line(facts.folder)} at {_line(facts.host)}: reamp report {shlex.quote(facts.folder)}",
    ]
    return Words("killed", f"Load test {facts.run} onto {_line(facts.to)} is gone", " ".join(lines), "failure")


def stop_command(sidecars: tuple[str, ...], host: str, pid: int) -> str:
    """Say how to stop a run: by the lever of its sidecars; without one, where it runs."""
    here = f"kill -INT {pid} at {_line(host)}"
    if not sidecars:
        return here
    named = " ".join(f"--sidecar {shlex.quote(url)}" for url in sidecars)
    return f"reamp stop {named} --reason WHY (or {here})"


_Told = tuple[Kind, str, list[str]]


def _ahead(details: Mapping[str, Any]) -> _Told:
    return "info", f"will start in {details.get('ahead', '')}", [f"It will start at {details.get('starts', '')}."]


def _start(_: Mapping[str, Any]) -> _Told:
    return "info", "starts", []


def _stage(details: Mapping[str, Any]) -> _Told:
    return "info", f"is in its next stage: {details.get('stage', '')}", []


def _gain(details: Mapping[str, Any]) -> _Told:
    before, after = float(details.get("before") or 0), float(details.get("after") or 0)
    title = f"{'backs off' if after < before else 'tops up again'}: {after:.1%} of what is wanted may go on"
    return "warning" if after < before else "info", title, _figures(details)


def _rule(kind: Kind, title: str) -> Callable[[Mapping[str, Any]], _Told]:
    return lambda details: (kind, title, _figures(details))


def _figures(details: Mapping[str, Any]) -> list[str]:
    """Say of what the rules decided all that the journal has of it: in words, and the rule."""
    return [str(details.get("because") or ""), f"Rule: {details['rule']}" if details.get("rule") else ""]


def _lever(details: Mapping[str, Any]) -> _Told:
    by = details.get("by") or details.get("told_by") or "somebody"
    where = f" at {details['sidecar']}" if details.get("sidecar") else ""
    return (
        "warning",
        "was stopped by the lever",
        [f"Pulled by {by}{where}: {details.get('reason') or 'no reason given'}"],
    )


def _lost(details: Mapping[str, Any]) -> _Told:
    return "warning", "has lost its live signal", [f"Nothing is heard from {details.get('sidecar')}."]


def _found(details: Mapping[str, Any]) -> _Told:
    return "info", "has its live signal again", [f"{details.get('sidecar')} is heard again."]


def _stopped(details: Mapping[str, Any]) -> _Told:
    code, why = details.get("exit_code"), details.get("why")
    verdict = f"{why}: {details.get('reason')} (exit code {code})"
    if why == "ended" and code:
        lagged = "the run is invalid, its sender lagged" if code == Exit.INVALID else "not all is well"
        verdict += f"; {lagged}: see the report"
    if why != "ended" and not details.get("sent"):
        return "warning", "was cancelled before it sent anything", [verdict]
    title = "has ended" if why == "ended" else "was stopped"
    return "success" if code == 0 else "failure", title, [verdict, f"Sent: {details.get('sent')} requests"]


_KNOWN: dict[str, Callable[[Mapping[str, Any]], _Told]] = {
    "ahead": _ahead,
    "start": _start,
    "stage": _stage,
    "gain": _gain,
    "slo breached": _rule("warning", "breaks a rule"),
    "slo held": _rule("info", "keeps a rule again"),
    "slo abort": _rule("failure", "is stopped by a rule"),
    "lever": _lever,
    "signal lost": _lost,
    "signal found": _found,
    "stopped": _stopped,
}

EVENTS = frozenset(_KNOWN)
"""What people are told of. Only what repeats itself is held back (`pace`)."""


def _line(text: object) -> str:
    """Make one line of what came from elsewhere, that can't be taken for lines of ours."""
    one = printable(" ".join(str(text).split()))
    return one if len(one) <= LONGEST else one[: LONGEST - 1] + "…"
