"""The control port's certificate: read from files, and read again without a pause. Edge: reads files."""

import os
import ssl
from pathlib import Path

from rules.certificates import load_certificate
from rules.exits import UserError


class Certificate:
    """A TLS context that goes on with another certificate when it is told to.

    Connections that are open keep the one they began with.
    """

    def __init__(self, cert: Path, key: Path | None) -> None:
        """Raise UserError if it can't be used."""
        self._current = _load(cert, key)
        # Each handshake asks which context it is for: so an exchange takes effect whole or not at all.
        self.context = _load(cert, key)
        self.context.sni_callback = self._choose

    def reload(self, cert: Path, key: Path | None) -> None:
        """Use what the files hold now. Raises UserError, and all stays as it was."""
        self._current = _load(cert, key)

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current


def _load(cert: Path, key: Path | None) -> ssl.SSLContext:
    secret = key or cert
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    try:
        if secret.stat().st_mode & 0o007:
            raise UserError(f"--control-key {secret}: it is open to everybody on this machine: chmod o-rwx {secret}")
        load_certificate(context, cert, key, "--control-cert", "--control-key")
    except OSError as error:
        option, missing = ("--control-cert", cert) if not cert.exists() else ("--control-key", secret)
        raise UserError(f"{option} {missing}: {os.strerror(error.errno or 0)}") from None
    return context
