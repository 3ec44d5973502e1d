"""Who may change something through the control port. Pure."""

import hmac
import ipaddress

from rules.wire import Problem


def refusal(client: str, host: str, authorization: str, content_type: str, token: str) -> Problem | None:
    """Say why a change is refused, or None if it is allowed.

    `client` is the peer's address, `host`, `authorization` and `content_type` the headers, `token` the configured one.
    From loopback a change needs no token; from elsewhere it needs the right one. Two checks keep web pages out that a
    browser on the same machine happens to show: a page can't send JSON to another origin without asking first, and a
    name of its own that resolves to loopback (DNS rebinding) shows in `host`.
    """
    if content_type.split(";", maxsplit=1)[0].strip().lower() != "application/json":
        return Problem(
            type="urn:reamp:content-type",
            title="Unsupported media type",
            status=415,
            detail="Send the change as application/json.",
        )
    scheme, _, given = authorization.partition(" ")
    if token and scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode()):
        return None
    if not _is_loopback(client):
        if authorization:
            return _forbidden(401, "The bearer token is not the control token of this sidecar.")
        return _forbidden(
            401,
            "Changing something from another machine needs the control token: start the sidecar with"
            " REAMP_SIDECAR_CONTROL_TOKEN set, and give the same token to this command (REAMP_CONTROL_TOKEN).",
        )
    if not _is_loopback(_without_port(host)):
        return _forbidden(403, f"Changes from this machine have to name it by a loopback address, not {host!r}.")
    return None


def _forbidden(status: int, detail: str) -> Problem:
    return Problem(type="urn:reamp:forbidden", title="Not allowed", status=status, detail=detail)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback
