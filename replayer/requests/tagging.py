"""The load tag of a run: one token at a time, renewed before it expires. Pure: the time comes in."""

from loadtag import Signer
from loadtag.validity import write_moment

MARGIN = 1.0
"""Seconds before its expiry in which a tag is no longer sent: the way to the sidecar, and clocks that differ."""


class Tag:
    """Gives the token to send. Never one that has expired or is about to."""

    def __init__(self, signer: Signer, run_id: str, audience: str, lifetime: float) -> None:
        self._signer = signer
        self._run_id = run_id
        self._audience = audience
        self._lifetime = lifetime
        self._renew_at = self._signed_at = self._until = 0.0
        self._token = b""

    @property
    def key_id(self) -> str:
        """Tell by which name the key is known."""
        return self._signer.key_id

    @property
    def until(self) -> float:
        """Until when the newest token may be sent (unix time)."""
        return self._until

    def over(self, now: float) -> str | None:
        """Say why nothing may be sent at `now` on account of the key, for people; None while it is good.

        It counts as over a little before it is: what is sent by then arrives while sidecars still take it.
        """
        return ailing(self._signer, now + MARGIN) or ailing(self._signer, now)

    def token(self, now: float) -> bytes:
        """Give a token that is valid at `now` (unix time, seconds), if the key is not `over`.

        Renewed at half its lifetime, and if the clock has stepped back to before it was made. Never valid for longer
        than its key; when that is over it is the last token once more, which is not valid any more.
        """
        if not self._signed_at <= now < self._renew_at and not (self._token and self.over(now)):
            expires = int(now + self._lifetime)
            if self._signer.validity.not_after is not None:
                expires = min(expires, self._signer.validity.not_after)
            self._token = self._signer.sign(self._run_id, expires, self._audience).encode("ascii")
            self._signed_at = now
            self._until = expires - MARGIN
            self._renew_at = min(now + self._lifetime / 2, self._until)
        return self._token


def ailing(signer: Signer, now: float) -> str | None:
    """Say why a key is not good at `now`, for people, and what to do; None if it is."""
    validity = signer.validity
    reason = validity.reason(now)
    if reason is None:
        return None
    if reason == "key-early" and validity.not_before is not None:
        begins = write_moment(validity.not_before)
        return f"the key {signer.key_id} is not good before {begins}: wait until then, or use the key before it"
    ended = write_moment(validity.not_after or 0)
    return (
        f"the key {signer.key_id} was good until {ended}: make a new pair (reamp keygen), append its .pub to the file "
        "that the sidecars read (--public-key), have them read it again (SIGHUP), and give the new --key"
    )


def misdirected(signer: Signer, audience: str) -> str | None:
    """Say why a key is not good for an audience, for people; None if it is."""
    if signer.validity.admits(audience):
        return None
    good = ", ".join(signer.validity.audiences)
    return f"the key {signer.key_id} is good for {good}, and not for {audience}: give the --key that is meant for it"
