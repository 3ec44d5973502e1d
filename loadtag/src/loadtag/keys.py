"""Key files: PEM, as every other tool reads and writes them. The only module here that touches the disk.

A private key is PKCS #8 in a file that only its owner can read (``NAME.key``); a public key is a SubjectPublicKeyInfo
(``NAME.pub``, RFC 8410). What a key is good for stands in lines before its block, see `validity`; they are not signed,
so they hold as much as the file is protected. For a change of keys without a gap, append the new .pub file to the
sidecars' one, switch the replayer over, then remove the old one from the file.

Importing this module needs the extra ``loadtag[keys]``; `import loadtag` alone does not.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Union

from loadtag.signing import PublicKey, Signer
from loadtag.validity import ALWAYS, Validity, read_validity, write_validity

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
except ImportError as error:
    raise ImportError("key files need cryptography: install loadtag[keys]") from error

PathLike = Union[str, "os.PathLike[str]"]

_BLOCK = re.compile(rb"-----BEGIN (?P<label>[^\r\n]*?)-----(?:(?!-----BEGIN ).)*?-----END (?P=label)-----", re.DOTALL)

MAX_FILE = 1 << 20
"""Bytes that a key file may have: some thousand public keys."""


class KeyFileError(ValueError):
    """A key file that can't be made or used. The message says what to do and never holds key material."""


def generate(directory: PathLike, name: str, validity: Validity = ALWAYS) -> tuple[Path, Path]:
    """Make a new key pair ``(directory/NAME.key, directory/NAME.pub)`` and return the two paths.

    Both files say what the pair is good for. Never overwrites a file; makes the directory, for its owner only, if it is
    not there. Raises KeyFileError.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", name):
        raise KeyFileError(f"{name!r} can't name a key: use letters, digits, '.', '_' and '-'")
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        said = write_validity(validity, PublicKey(key.public_key()).key_id)
        read_validity(said, PublicKey(key.public_key()).key_id)  # what could not be read is not written
    except ValueError as error:
        raise KeyFileError(str(error)) from None
    private_path, public_path = Path(directory, f"{name}.key"), Path(directory, f"{name}.pub")
    try:
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KeyFileError(f"can't make the folder {directory}: {error.strerror}") from None
    _create(public_path, said.encode() + public, 0o644)
    try:
        _create(private_path, said.encode() + private, 0o600)
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
            pem = file.read(MAX_FILE + 1)
    except OSError as error:
        raise KeyFileError(f"can't read the private key {path}: {error.strerror}") from error
    if b"PUBLIC KEY-----" in pem and b"PRIVATE KEY-----" not in pem:
        raise KeyFileError(f"{path} holds a public key: give the private one of the pair, the .key file")
    if shared:
        raise KeyFileError(f"the private key {path} is open to others than its owner: run chmod 600 {path}")
    blocks = list(_BLOCK.finditer(pem))
    if len(blocks) != 1 or pem.count(b"-----BEGIN") != 1:
        raise KeyFileError(f"{path} holds no private key in PEM, one and whole: make one with reamp keygen")
    try:
        key = serialization.load_pem_private_key(blocks[0][0], password=None)
    except TypeError:
        raise KeyFileError(f"the private key {path} is encrypted: give one without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError(f"{path} holds no private key in PEM: make one with reamp keygen") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"the private key {path} is not an Ed25519 key: make one with reamp keygen")
    key_id = PublicKey(key.public_key()).key_id
    return Signer(key, _validity(pem, blocks, 0, key_id, f"the private key {path}"))


def load_public(path: PathLike) -> list[PublicKey]:
    """Read all public keys of a file, at least one, in their order. Raises KeyFileError."""
    try:
        with Path(path).open("rb") as file:
            pem = file.read(MAX_FILE + 1)
    except OSError as error:
        raise KeyFileError(f"can't read the public key {path}: {error.strerror}") from error
    if len(pem) > MAX_FILE:
        raise KeyFileError(f"{path} is too large for a file of keys: give the .pub file of a pair")
    if b"PRIVATE KEY-----" in pem:
        raise KeyFileError(f"{path} holds a private key, which must not lie here: give the .pub file of the pair")
    blocks = [block for block in _BLOCK.finditer(pem) if block["label"] == b"PUBLIC KEY"]
    # Every block has to count. A damaged one that was passed over would be noticed only when it is needed.
    if not blocks or len(blocks) != pem.count(b"-----BEGIN"):
        raise KeyFileError(f"{path} must hold public keys in PEM, whole and nothing else: give the .pub file of a pair")
    keys: dict[str, PublicKey] = {}
    for number, block in enumerate(blocks):
        what = f"public key {number + 1} in {path}"
        raw = _public(block[0], what)
        key = PublicKey(raw, _validity(pem, blocks, number, PublicKey(raw).key_id, what))
        if keys.setdefault(key.key_id, key).validity != key.validity:
            raise KeyFileError(f"{what} stands there twice, good for different times or audiences: remove one of them")
    return list(keys.values())


def _validity(pem: bytes, blocks: list[re.Match[bytes]], number: int, key_id: str, what: str) -> Validity:
    """Read what a file says before one of its blocks. After the last one it has nothing to say."""
    start, end = blocks[number - 1].end() if number else 0, blocks[number].start()
    try:
        if number == len(blocks) - 1:
            _nothing_more(pem, blocks[number].end())
        return read_validity(pem[start:end].decode("utf-8", "replace"), key_id, _line(pem, start))
    except ValueError as error:
        raise KeyFileError(f"{what}: {error}") from None


def _nothing_more(pem: bytes, position: int) -> None:
    for number, line in enumerate(pem[position:].splitlines(), _line(pem, position)):
        if line.strip() and not line.strip().startswith(b"#"):
            raise ValueError(f"line {number} stands after the last key: attributes stand before theirs")


def _line(pem: bytes, position: int) -> int:
    return pem.count(b"\n", 0, position) + 1


def _public(block: bytes, what: str) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError(f"{what} is damaged: copy it anew from the .pub file") from None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"{what} is not an Ed25519 key: make a pair with reamp keygen")
    return key


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
