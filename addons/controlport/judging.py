"""Why a load tag counts for nothing, in words. Pure: the time comes in."""

from collections.abc import Sequence

import loadtag
from loadtag import headers


def judge(
    verifier: loadtag.Verifier, audience: str, fields: Sequence[tuple[bytes, bytes]], now: float
) -> loadtag.LoadTag | str:
    """Give the valid tag that header fields bear, or say for people why there is none."""
    found = headers.find(fields)
    if found is None or not found.token:
        return "The request has to bear a load tag."
    try:
        return verifier.verify(found.token, now)
    except loadtag.TagError as error:
        return {
            "unknown-key": "This sidecar does not know the key that signed the load tag (--public-key).",
            "audience": f"The load tag is not addressed to this sidecar (--audience {audience}).",
            "expired": "The load tag has expired: do the clocks of both machines agree?",
        }.get(error.reason) or (
            why_not(error.reason, loadtag.parse(found.token).tag)
            if error.by_known_key
            else f"The load tag does not verify: {error.reason}."
        )


def why_not(reason: str, tag: loadtag.LoadTag) -> str:
    """Say for people why a tag does not count whose signature fits: what ails its key or its run, and what to do."""
    return {
        "unknown-key": f"The key {tag.key_id} is not known to this sidecar any more (--public-key).",
        "key-early": f"The key {tag.key_id} is not good yet: its Not-Before is still to come. Do the clocks agree?",
        "key-expired": f"The key {tag.key_id} has expired: make a new pair (reamp keygen) and let this sidecar know.",
        "key-audience": f"The key {tag.key_id} is not good for {tag.audience}: its file names other audiences.",
        "key-revoked": f"The key {tag.key_id} was revoked.",
        "run-revoked": f"The run {tag.run_id} was revoked.",
        "revocations-unknown": "This sidecar can't read its list of revocations (--revoked), so no load tag counts.",
    }.get(reason, f"The load tag does not count any more: {loadtag.TagError(reason)}.")
