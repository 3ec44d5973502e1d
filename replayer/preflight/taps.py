"""What follows from what was seen where there is a tap: it gets copies, so some questions have other answers. Pure."""

from collections.abc import Sequence

from replayer.preflight.findings import Found, failed, ok, skipped, warned
from replayer.preflight.verdicts import Seen, Shot, counted

CANARIES = 4
"""Tagged requests to send: a proxy that copies only some of them shall be found out."""

HOW = "docs/tap.md says what the proxy has to do"


def copied(sent: int, seen: Seen, answer: str) -> Found:
    """Judge whether every tagged request was copied, and once."""
    told = f"{answer}; the tap counted +{seen.synthetic} synthetic, +{seen.untrusted} untrusted for {sent} sent"
    if seen.synthetic == sent:
        return ok(told)
    if seen.synthetic > sent:
        return failed(
            told,
            "requests are copied more than once, and so are those of real users, who then earn more than there are: "
            f"see that one proxy on the way copies, and once ({HOW})",
        )
    if seen.untrusted:
        return failed(
            told,
            "the tap sees the tag and does not believe it: its --public-key has to belong to the --key used here, its "
            "--audience has to be the tag's, and both clocks have to agree",
        )
    if seen.synthetic:
        return failed(
            told,
            "the proxy copies only a share of what is tagged: it has to copy all of it, whatever it draws of the rest, "
            f"so that the tap sees who sends without credit ({HOW})",
        )
    return failed(
        told,
        "no copy came. Does --to lead to the proxy that copies, and does that copy every tagged request? If it takes "
        f"the tag away, this machine is not on its list of those that may send one ({HOW})",
    )


def believed(evidence: str, seen: Seen, to_app: Sequence[str], *, alone: bool) -> Found:
    """Judge what became of tags that are not valid. `to_app`: which of them the app got to see.

    `alone`: nobody else sends synthetic requests.
    """
    if seen.synthetic and alone:
        return failed(evidence, "the tap believes a tag that is not valid: stop using it, and report this")
    if seen.untrusted < 2:
        return failed(evidence, f"not every copy came: see what the check `canary` says ({HOW})")
    shown = f"; the app got to see the tag ({' and '.join(to_app)})" if to_app else ""
    return warned(
        f"{evidence}{shown}",
        "a tap tells them apart and can refuse none: whoever the proxy lets send a tag can switch off the app's side "
        "effects. Keep its list of such machines short, and let tags from nobody else pass; or have the app verify "
        f"them ({HOW})",
    )


def lever_is_told(shots: Sequence[Shot], ordered_ns: int, told_ns: int | None, enough: int, reset: str) -> Found:
    """Judge a pull. `told_ns`: when the streams of grants said so, None if one did not; `reset`: how that went.

    `enough`: so many of the last shots have to be refused for the proxy to be one that refuses. It may need a moment to
    know why.
    """
    after = [shot for shot in shots if shot.sent_ns >= ordered_ns]
    if told_ns is None:
        return failed(
            f"the stream of grants does not say that it is pulled; {reset}",
            "a run would go on: is the control port, or its machine, overloaded?",
        )
    evidence = f"runs are told within {(told_ns - ordered_ns) / 1e6:.0f} ms; then {counted(after)}; {reset}"
    held = after[-enough:]
    if len(held) == enough and all(shot.result != "passed" for shot in held) and held[-1].result == "lever":
        return ok(evidence)
    return warned(
        evidence,
        "it ends runs that go by grants. A tap can't refuse requests, and the proxy lets them pass: have it refuse "
        f"what is tagged while the lever is pulled ({HOW})",
    )


CEILING = skipped(
    "a tap can't refuse: what was sent beyond the ceiling would reach the app",
    "a run sends no more than it was granted. What comes without credit is counted (reamp status), and the tap pulls "
    "the lever when much more comes than it granted",
)
