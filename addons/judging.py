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
        }.get(error.reason, f"The load tag does not verify: {error.reason}.")
