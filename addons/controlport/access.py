"""Who may look at something through the control port, or change it. Pure.

                        from this machine    from elsewhere
    look                yes                  control token or admin token
    pull the lever      yes                  control token or admin token
    reset the lever     yes                  admin token

Two checks keep web pages out that a browser on this machine happens to show: a page can't send JSON to another origin
without asking first, and a name of its own that resolves to loopback (DNS rebinding) shows in the Host header.
"""

import hmac
import ipaddress
from dataclasses import dataclass
from enum import StrEnum

from rules.wire import Problem


class Act(StrEnum):
    """What somebody wants of the control port."""

    LOOK = "look"
    PULL = "pull"
    RESET = "reset"


@dataclass(frozen=True, repr=False)
class Tokens:
    """What requests from other machines have to bear. Empty: there is none. Never shown, not even by `repr`."""

    control: str = ""
    admin: str = ""

    def rights(self, authorization: str) -> frozenset[Act]:
        """Tell what the ``Authorization`` header allows. Takes as long for a token that is nearly right as for any."""
        scheme, _, given = authorization.partition(" ")
        shown = given.strip().encode()
        admin = hmac.compare_digest(shown, self.admin.encode()) and bool(self.admin)
        control = hmac.compare_digest(shown, self.control.encode()) and bool(self.control)
        if scheme.lower() != "bearer":
            return frozenset()
        return frozenset(Act) if admin else frozenset({Act.LOOK, Act.PULL}) if control else frozenset()


@dataclass(frozen=True, repr=False)
class Asker:
    """Who asks: the peer's address, and the Host and Authorization headers."""

    client: str
    host: str = ""
    authorization: str = ""

    @property
    def near(self) -> bool:
        """Whether it is this machine that asks, and a program that knows whom it talks to."""
        return is_loopback(self.client) and is_loopback(_without_port(self.host))


def refusal(act: Act, asker: Asker, tokens: Tokens, pause: int = 0) -> Problem | None:
    """Say why somebody may not do it, or None. A 401 with a token in the question is a wrong guess.

    `pause`: for so many seconds no tokens of the asker are looked at, as there were too many wrong ones. A stop with
    the right control token is let through even so: otherwise guessing would be a way to keep others from stopping. It
    helps to guess no token that could do more.
    """
    if asker.near:
        return None
    if pause and asker.authorization:
        stops = act is Act.PULL and act in Tokens(control=tokens.control).rights(asker.authorization)
        return None if stops else _too_many(pause)
    rights = tokens.rights(asker.authorization)
    return None if act in rights else _lacking(asker, may_do_something=bool(rights))


def _lacking(asker: Asker, *, may_do_something: bool) -> Problem:
    if may_do_something:
        return _forbidden(
            403,
            "Resetting the lever from another machine needs the admin token (REAMP_SIDECAR_ADMIN_TOKEN at the sidecar,"
            " REAMP_CONTROL_TOKEN for this command), not the control token. The sidecar's own machine needs none.",
        )
    if is_loopback(asker.client) and not asker.authorization:
        return _forbidden(403, f"From this machine, name it by a loopback address, not {asker.host!r}.")
    if asker.authorization:
        return _forbidden(401, "The bearer token is neither the control token nor the admin token of this sidecar.")
    return _forbidden(
        401,
        "From another machine this needs the control token: start the sidecar with REAMP_SIDECAR_CONTROL_TOKEN set,"
        " and give the same token to this command (REAMP_CONTROL_TOKEN).",
    )


def _too_many(pause: int) -> Problem:
    return Problem(
        type="urn:reamp:attempts",
        title="Too many attempts",
        status=429,
        detail=f"Too many wrong tokens from here: none is looked at for {pause} s, but the control token to stop.",
    )


def no_change(content_type: str) -> Problem | None:
    """Say why a change is refused for what it is sent as, or None."""
    if content_type.split(";", maxsplit=1)[0].strip().lower() == "application/json":
        return None
    return Problem(
        type="urn:reamp:content-type",
        title="Unsupported media type",
        status=415,
        detail="Send the change as application/json.",
    )


SHORTEST = 16
"""Characters of a token that may be shown from elsewhere. `openssl rand -hex 16` makes one of twice that."""


def objection(where: str, tokens: Tokens, *, tls: bool, insecure: bool) -> str:
    """Say what keeps a control port from being opened at the host `where`; nothing if it may be.

    `insecure`: the owner says that the network is one where nobody else listens. A token is needed even so.
    """
    named = [(name, token) for name, token in (("control", tokens.control), ("admin", tokens.admin)) if token]
    for name, token in named:
        if not (token.isascii() and token.isprintable() and " " not in token):
            return f"the {name} token holds characters that no HTTP header can carry"
    if tokens.control and tokens.control == tokens.admin:
        return "the control token and the admin token are the same: who may stop could reset as well"
    return "" if is_loopback(where) else _when_reachable(where, named, tls or insecure)


def _when_reachable(where: str, named: list[tuple[str, str]], private: bool) -> str:
    reachable = f"the control port at {where} can be reached from other machines, so it needs"
    if not named:
        return (
            f"{reachable} a token: set REAMP_SIDECAR_CONTROL_TOKEN (to look and to stop) and REAMP_SIDECAR_ADMIN_TOKEN"
            " (to reset as well), or open it on 127.0.0.1"
        )
    for name, token in named:
        if len(token) < SHORTEST:
            return f"the {name} token is too easily guessed: take {SHORTEST} characters or more (openssl rand -hex 16)"
    if not private:
        return (
            f"{reachable} TLS: give --control-cert and --control-key, or open it on 127.0.0.1 (where nobody else can"
            " listen, as in a pod's own network, --control-insecure does without)"
        )
    return ""


def _forbidden(status: int, detail: str) -> Problem:
    return Problem(type="urn:reamp:forbidden", title="Not allowed", status=status, detail=detail)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def is_loopback(address: str) -> bool:
    """Whether only this machine can be meant."""
    if address == "localhost":
        return True
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback
