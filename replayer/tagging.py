"""The load tag of a run: one token at a time, renewed before it expires. Pure: the time comes in."""

from loadtag import Signer

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

    def token(self, now: float) -> bytes:
        """Give a token that is valid at `now` (unix time, seconds).

        Renewed at half its lifetime, and if the clock has stepped back to before it was made.
        """
        if not self._signed_at <= now < self._renew_at:
            expires = int(now + self._lifetime)
            self._token = self._signer.sign(self._run_id, expires, self._audience).encode("ascii")
            self._signed_at = now
            self._until = expires - MARGIN
            self._renew_at = min(now + self._lifetime / 2, self._until)
        return self._token
