"""Key files: PEM, as every other tool reads and writes them. The only module here that touches the disk.

A private key is PKCS #8 in a file that only its owner can read (``NAME.key``); a public key is a SubjectPublicKeyInfo
(``NAME.pub``, RFC 8410). For a change of keys without a gap, append the new public key to the sidecars' file, switch
the replayer over, then remove the old one from the file.

Importing this module needs the extra ``loadtag[keys]``; `import loadtag` alone does not.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Union

from loadtag.signing import PublicKey, Signer

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
except ImportError as error:
    raise ImportError("key files need cryptography: install loadtag[keys]") from error

PathLike = Union[str, "os.PathLike[str]"]

_PUBLIC_BLOCK = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


class KeyFileError(ValueError):
    """A key file that can't be made or used. The message says what to do and never holds key material."""


def generate(directory: PathLike, name: str) -> tuple[Path, Path]:
    """Make a new key pair ``(directory/NAME.key, directory/NAME.pub)`` and return the two paths.

    Never overwrites a file. Raises KeyFileError.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", name):
        raise KeyFileError(f"{name!r} can't name a key: use letters, digits, '.', '_' and '-'")
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    private_path, public_path = Path(directory, f"{name}.key"), Path(directory, f"{name}.pub")
    _create(public_path, public, 0o644)
    try:
        _create(private_path, private, 0o600)
    except KeyFileError:
        public_path.unlink()  # made just now, and half a pair is of no use
        raise
    return private_path, public_path


def load_private(path: PathLike) -> Signer:
    """Read a private key. Raises KeyFileError, also if anybody but the file's owner may use it."""
    try:
        with Path(path).open("rb") as file:
            # Asked of the open file, so that it can't be exchanged between the question and the reading.
            shared = os.fstat(file.fileno()).st_mode & 0o077
            pem = file.read()
    except OSError as error:
        raise KeyFileError(f"can't read the private key {path}: {error.strerror}") from error
    if b"PUBLIC KEY-----" in pem and b"PRIVATE KEY-----" not in pem:
        raise KeyFileError(f"{path} holds a public key: give the private one of the pair, the .key file")
    if shared:
        raise KeyFileError(f"the private key {path} is open to others than its owner: run chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise KeyFileError(f"the private key {path} is encrypted: give one without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError(f"{path} holds no private key in PEM: make one with reamp keygen") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"the private key {path} is not an Ed25519 key: make one with reamp keygen")
    return Signer(key)


def load_public(path: PathLike) -> list[PublicKey]:
    """Read all public keys of a file, at least one, in their order. Raises KeyFileError."""
    try:
        pem = Path(path).read_bytes()
    except OSError as error:
        raise KeyFileError(f"can't read the public key {path}: {error.strerror}") from error
    if b"PRIVATE KEY-----" in pem:
        raise KeyFileError(f"{path} holds a private key, which must not lie here: give the .pub file of the pair")
    blocks = _PUBLIC_BLOCK.findall(pem)
    # Every block has to count. A damaged one that was passed over would be noticed only when it is needed.
    if not blocks or len(blocks) != pem.count(b"-----BEGIN"):
        raise KeyFileError(f"{path} must hold public keys in PEM, whole and nothing else: give the .pub file of a pair")
    return [_public(block, number, path) for number, block in enumerate(blocks, 1)]


def _public(block: bytes, number: int, path: PathLike) -> PublicKey:
    try:
        key = serialization.load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError(f"public key {number} in {path} is damaged: copy it anew from the .pub file") from None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"public key {number} in {path} is not an Ed25519 key: make a pair with reamp keygen")
    return PublicKey(key)


def _create(path: Path, content: bytes, mode: int) -> None:
    """Write a new file that has its mode from the first moment on."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise KeyFileError(f"{path} is there already and is never overwritten: choose another name") from None
    except OSError as error:
        raise KeyFileError(f"can't make {path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:  # a full disk, say
        path.unlink()
        raise KeyFileError(f"can't write {path}: {error.strerror}") from error
