"""Who may read: recipients, to whom data keys are wrapped, and identities, which unwrap them. Both are age's.

age (https://age-encryption.org) is a file format and tool with small keys and no options; pyrage is its Rust
implementation. A data key goes into a header as an age file of 32 bytes, in age's armor, so `age -d` reads it too.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import pyrage

from captures import sealing
from captures.errors import CaptureError
from captures.sealing import Encryption, Seal
from rules.files import read_small

_SSH = ("ssh-ed25519", "ssh-rsa")
_SECRET = "AGE-SECRET-KEY-"  # noqa: S105 - what a secret key begins with, so that none is ever shown
_LOCKED = (b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED FILE-----")
_MAX_FILE = 1 << 20

Recipient = pyrage.x25519.Recipient | pyrage.ssh.Recipient
Identity = pyrage.x25519.Identity | pyrage.ssh.Identity


class Recipients:
    """Those who may read what is written. Empty: nothing is encrypted."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        """Read public keys: ``age1...``, or a line of an SSH public key. Raises CaptureError."""
        self.keys = tuple(dict.fromkeys(key.strip() for key in keys))
        self._recipients = [_recipient(key) for key in self.keys]

    def __bool__(self) -> bool:
        return bool(self.keys)

    @property
    def names(self) -> list[str]:
        """The keys in short."""
        return list(map(short, self.keys))

    def new_key(self) -> tuple[bytes, Encryption]:
        """Draw a data key for one segment; give it, and what its header says about it."""
        key = sealing.new_key()
        wrapped = pyrage.encrypt(key, self._recipients, armored=True).decode()
        return key, Encryption(scheme=sealing.SCHEME, key=wrapped, recipients=self.names)


class Identities:
    """The secret keys that were given for reading."""

    def __init__(self, identities: Sequence[Identity] = ()) -> None:
        self._identities = list(identities)

    def __bool__(self) -> bool:
        return bool(self._identities)

    def unwrap(self, encryption: Encryption) -> bytes | None:
        """Give a segment's data key; None if it is for none of these identities.

        Raises CaptureError if the header holds no such key, or is encrypted in a way that this version does not know.
        """
        if encryption.scheme != sealing.SCHEME:
            raise CaptureError(
                f"it is encrypted with {encryption.scheme!r}, and this version of reamp knows {sealing.SCHEME!r}"
            )
        try:
            key = pyrage.decrypt(encryption.key.encode(), self._identities) if self._identities else None
        except pyrage.DecryptError:
            return None
        except (ValueError, OSError) as error:
            raise CaptureError(f"its data key does not unwrap ({error})") from None
        if key is not None and len(key) != sealing.KEY:
            raise CaptureError(f"its data key has {len(key)} bytes instead of {sealing.KEY}")
        return key


NOBODY = Identities()


class SegmentLock:
    """The lock of one segment, opened when it is first needed. `header`: all of it, as it stands in the file."""

    def __init__(self, encryption: Encryption, header: bytes, identities: Identities) -> None:
        self.recipients = encryption.recipients
        self.header = header
        self._encryption = encryption
        self._identities = identities
        self.problem = ""
        """Why no identity whatever opens it, if that turned out."""

    @cached_property
    def seal(self) -> Seal | None:
        """The segment's seal; None if none of the identities unwraps its key."""
        try:
            key = self._identities.unwrap(self._encryption)
        except CaptureError as error:
            self.problem = str(error)
            return None
        return None if key is None else Seal(key, self.header)


def recipient_keys(given: Iterable[str]) -> list[str]:
    """Read what was given as ``--encrypt-to``: public keys, and files with one on each line. Raises CaptureError."""
    keys: list[str] = []
    for text in map(str.strip, given):
        if text.lower().startswith(("age1", "age-", *_SSH)):
            keys.append(text)
            continue
        lines = _read(Path(text)).decode("utf-8", "replace").splitlines()
        found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not found:
            raise CaptureError(f"{text} holds no recipient: write one public key on each line, like age1...")
        keys += found
    return list(Recipients(keys).keys)


def load_identities(paths: Iterable[Path]) -> Identities:
    """Read identity files: as ``age-keygen`` writes them, or SSH private keys. Raises CaptureError."""
    return Identities([identity for path in paths for identity in _identities(path)])


def generate() -> tuple[str, str]:
    """Make a pair of keys; give the secret one and the public one."""
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())


def identity(secret: str) -> Identity:
    """Read one age identity, as it stands in a file. Raises CaptureError."""
    return _identity(secret, Path("the identity"))


def identity_file(secret: str, public: str, created: str) -> str:
    """Give the text of an identity file, laid out as ``age-keygen`` does it."""
    return f"# created: {created}\n# public key: {public}\n{secret}\n"


def short(key: str) -> str:
    """Shorten a public key, so that its owner knows it and nobody can use it: ``age1qyqszqgp…``.

    Of an SSH key it is the beginning of the fingerprint that ``ssh-keygen -l`` prints.
    """
    kind, _, rest = key.partition(" ")
    if kind not in _SSH:
        return f"{key[:12]}…"
    try:
        blob = base64.b64decode(rest.split(" ")[0], validate=True)
    except binascii.Error:
        return kind
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode()
    return f"{kind} SHA256:{digest[:12]}…"


def _recipient(key: str) -> Recipient:
    if key.upper().startswith("AGE-"):
        raise CaptureError(
            "that is a secret key, and recipients are public ones (`age-keygen -y FILE` prints it). "
            "Consider the secret one known to whoever can see this command line"
        )
    try:
        if key.startswith(_SSH):
            return pyrage.ssh.Recipient.from_str(key)
        return pyrage.x25519.Recipient.from_str(key)
    except pyrage.RecipientError as error:
        raise CaptureError(
            f"{key[:80]!r} is no recipient ({error}): it has to be a public key like age1..., ssh-ed25519 ... or "
            "ssh-rsa ..., or a file of them"
        ) from None


def _identities(path: Path) -> list[Identity]:
    data = _read(path)
    if data.startswith(_LOCKED):
        raise CaptureError(
            f"{path} is protected by a passphrase, and reamp asks for none: "
            f"decrypt it first, `age -d {path} > FILE`, to where only you can read, and give that file"
        )
    if data.startswith(b"-----BEGIN") and b"PRIVATE KEY-----" in data[:80]:
        try:
            return [pyrage.ssh.Identity.from_buffer(data)]
        except pyrage.IdentityError as error:
            locked = "decrypted" in str(error)
            why = "it is protected by a passphrase, and reamp asks for none" if locked else str(error)
            raise CaptureError(f"{path} cannot be used as an identity: {why}") from None
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise CaptureError(f"{path} holds no identity")
    return [_identity(line, path) for line in lines]


def _identity(line: str, path: Path) -> Identity:
    if line.startswith("AGE-PLUGIN-"):
        raise CaptureError(f"{path} needs an age plugin, which reamp does not run")
    if line.startswith(("age1", *_SSH)):
        raise CaptureError(f"{path} holds a public key: to read, the secret one is needed ({_SECRET}...)")
    try:
        return pyrage.x25519.Identity.from_str(line)
    except pyrage.IdentityError:
        # What it says is not shown: it may be a secret key with a slip.
        raise CaptureError(f"{path} is no identity file: it has to hold a line like {_SECRET}1...") from None


def _read(path: Path) -> bytes:
    try:
        return read_small(path, _MAX_FILE, "too large to be a file of keys")
    except OSError as error:
        raise CaptureError(f"{path}: {error.strerror}") from None
