"""The certificate that one end of a connection shows the other, with its key. Edge: reads files."""

import ssl
from pathlib import Path

from rules.exits import UserError


class _EncryptedError(Exception):
    pass


def _ask() -> str:
    raise _EncryptedError


def load_certificate(context: ssl.SSLContext, cert: Path, key: Path | None, cert_option: str, key_option: str) -> None:
    """Have `context` show a certificate with its chain (PEM). `key`: None: it is in the same file.

    Raises UserError, which names an option and its file, if they hold no such thing; OSError if one can't be read.
    """
    try:
        # Without a function, a key with a pass phrase would have the process ask for it on its terminal.
        context.load_cert_chain(cert, key, password=_ask)
    except _EncryptedError:
        raise UserError(
            f"{key_option} {key or cert}: the key is encrypted, and nobody is there to be asked for its pass phrase: "
            "decrypt it first (openssl pkey), into a file that only you can read"
        ) from None
    except ssl.SSLError as error:
        why = f"no certificate and key in PEM form can be read from it ({error})"
        if error.reason == "KEY_VALUES_MISMATCH":
            why = "the key does not belong to the certificate"
        hint = "" if key else f"; a key in a file of its own is named with {key_option}"
        raise UserError(f"{cert_option} {cert}: {why}{hint}") from None
