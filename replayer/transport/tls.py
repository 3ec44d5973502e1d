"""TLS towards the target and towards control ports: verified unless the plan says otherwise. Edge: reads files."""

import errno
import os
import ssl
from pathlib import Path

from replayer.plan import Plan
from rules.certificates import load_certificate
from rules.exits import UserError

_ALPN = {"never": ["http/1.1"], "auto": ["h2", "http/1.1"], "always": ["h2"]}


def to_target(plan: Plan) -> ssl.SSLContext | None:
    """Make the context for connections to the target, None if it speaks no TLS. Raises UserError."""
    if not plan.tls:
        return None
    context = verified(plan)
    if plan.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if plan.cert is not None:
        _show(context, plan.cert, plan.cert_key)
    context.set_alpn_protocols(_ALPN[plan.http2])
    return context


def verified(plan: Plan) -> ssl.SSLContext:
    """Make a context that trusts whom the plan trusts. Raises UserError."""
    return trusting(plan.ca, "--ca")


def trusting(ca: Path | None, option: str) -> ssl.SSLContext:
    """Make a context that trusts these certificate authorities; None: the system's. Raises UserError."""
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError as error:
        raise UserError(f"{option} {ca}: no certificates in PEM form can be read from it ({error})") from None
    except OSError as error:
        raise UserError(f"{option} {ca}: {os.strerror(error.errno or 0)}") from None
    if ca is not None:
        # Authorities of one's own rarely say all that RFC 5280 asks for (`openssl req -x509` leaves the key usage out).
        # Python insists on it from 3.13 on, curl and browsers do not; without this, --insecure would be the way out.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _show(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    if key is not None and key.is_dir():
        raise UserError(f"--cert-key {key}: {os.strerror(errno.EISDIR)}")
    try:
        load_certificate(context, cert, key, "--cert", "--cert-key")
    except FileNotFoundError:
        missing = next(path for path in (cert, key or cert) if not path.exists())
        raise UserError(f"--{'cert' if missing == cert else 'cert-key'} {missing}: there is no such file") from None
    except OSError as error:
        raise UserError(f"--cert {cert}: {os.strerror(error.errno or 0)}") from None
