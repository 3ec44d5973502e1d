"""Recipients and identities: files and keys as age and ssh-keygen write them."""

import shutil
import subprocess
from pathlib import Path

import pyrage
import pytest

from captures import keyring
from captures.errors import CaptureError
from captures.keyring import Identities, Recipients
from captures.sealing import Encryption

SECRET, PUBLIC = keyring.generate()


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    return put(tmp_path / "me.txt", keyring.identity_file(SECRET, PUBLIC, "2026-11-21T12:00:00Z"))


def put(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def ssh_key(path: Path, kind: str, passphrase: str = "") -> Path:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "me@home", "-f", str(path)]
    subprocess.run(command, check=True, timeout=50)
    return path


def test_each_recipient_unwraps_and_nobody_else(identity: Path, tmp_path: Path) -> None:
    secrets = [keyring.generate() for _ in range(3)]
    key, encryption = Recipients([PUBLIC, *(public for _, public in secrets[:2])]).new_key()
    assert keyring.load_identities([identity]).unwrap(encryption) == key
    files = [put(tmp_path / f"{n}.txt", secret) for n, (secret, _) in enumerate(secrets)]
    assert keyring.load_identities([files[0]]).unwrap(encryption) == key
    assert keyring.load_identities([files[2], files[1]]).unwrap(encryption) == key
    assert keyring.load_identities([files[2]]).unwrap(encryption) is None
    assert Identities().unwrap(encryption) is None


def test_each_segment_gets_a_key_of_its_own() -> None:
    recipients = Recipients([PUBLIC])
    assert recipients.new_key()[0] != recipients.new_key()[0]


def test_the_wrapped_key_is_an_age_file_like_any_other() -> None:
    """What docs/encryption.md says: any age opens it, without reamp."""
    key, encryption = Recipients([PUBLIC]).new_key()
    assert encryption.key.startswith("-----BEGIN AGE ENCRYPTED FILE-----\n")
    assert pyrage.decrypt(encryption.key.encode(), [pyrage.x25519.Identity.from_str(SECRET)]) == key


def test_a_header_says_to_whom_but_not_enough_to_be_used() -> None:
    _, encryption = Recipients([PUBLIC]).new_key()
    assert encryption.recipients == [PUBLIC[:12] + "…"]
    assert PUBLIC not in encryption.model_dump_json()


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_ssh_keys_serve_as_well(kind: str, tmp_path: Path) -> None:
    path = ssh_key(tmp_path / "id", kind)
    public = path.with_suffix(".pub").read_text()
    key, encryption = Recipients([public]).new_key()
    assert keyring.load_identities([path]).unwrap(encryption) == key
    listed = subprocess.run(["ssh-keygen", "-lf", str(path)], capture_output=True, text=True, check=True).stdout
    (name,) = encryption.recipients
    assert name.startswith(f"ssh-{kind} SHA256:")
    assert name.removeprefix(f"ssh-{kind} ").removesuffix("…") in listed


def test_an_ssh_key_under_a_passphrase_is_refused(tmp_path: Path) -> None:
    path = ssh_key(tmp_path / "id", "ed25519", "secret")
    with pytest.raises(CaptureError, match="protected by a passphrase, and reamp asks for none"):
        keyring.load_identities([path])


@pytest.mark.parametrize("armored", [False, True])
def test_an_identity_under_a_passphrase_is_refused_with_what_to_do(tmp_path: Path, *, armored: bool) -> None:
    path = put(tmp_path / "locked", pyrage.passphrase.encrypt(SECRET.encode(), "pw", armored=armored))
    with pytest.raises(CaptureError, match=r"protected by a passphrase.*age -d"):
        keyring.load_identities([path])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no identity"),
        (b"# only a remark\n", "holds no identity"),
        pytest.param(PUBLIC, "holds a public key", id="public"),
        (b"AGE-PLUGIN-YUBIKEY-1QQQ", "needs an age plugin"),
        (b"\xff\xfe\x00", "is no identity file"),
        pytest.param(SECRET[:-1], "is no identity file", id="cut"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nrubbish\n", "cannot be used as an identity"),
        (b"#" * (2 << 20), "too large"),
    ],
)
def test_what_is_no_identity_is_named_and_never_shown(tmp_path: Path, content: str | bytes, said: str) -> None:
    with pytest.raises(CaptureError, match=said) as raised:
        keyring.load_identities([put(tmp_path / "x", content)])
    assert SECRET[20:-1] not in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="nowhere: No such file"):
        keyring.load_identities([tmp_path / "nowhere"])
    with pytest.raises(CaptureError, match="nowhere: No such file"):
        keyring.recipient_keys([str(tmp_path / "nowhere")])


def test_recipients_come_from_files_and_from_the_command_line(tmp_path: Path) -> None:
    other, third = keyring.generate()[1], keyring.generate()[1]
    file = put(tmp_path / "team", f"# the team\n\n{other}\n  {PUBLIC}  \n")
    assert keyring.recipient_keys([third, str(file), third]) == [third, other, PUBLIC]
    assert keyring.recipient_keys([]) == []
    with pytest.raises(CaptureError, match="holds no recipient"):
        keyring.recipient_keys([str(put(tmp_path / "none", "# nobody\n"))])


@pytest.mark.parametrize("text", ["age1nonsense", "age1yubikey1qqq", "ssh-dss AAAA", "ssh-ed25519 %%%", "ecdsa x", "ä"])
def test_what_is_no_recipient_is_named(text: str) -> None:
    with pytest.raises(CaptureError, match="is no recipient"):
        Recipients([text])


@pytest.mark.parametrize("text", [SECRET, SECRET.lower()], ids=["upper", "lower"])
def test_a_secret_key_given_as_recipient_is_not_repeated(text: str) -> None:
    with pytest.raises(CaptureError, match="that is a secret key") as raised:
        keyring.recipient_keys([text])
    assert text[20:40] not in str(raised.value)


def test_a_hostile_header_is_no_more_than_unreadable() -> None:
    mine = Identities([pyrage.x25519.Identity.from_str(SECRET)])
    _, good = Recipients([PUBLIC]).new_key()
    for key in ("", "rubbish", good.key[:200], good.key.replace("A", "B"), "age-encryption.org/v1\n" * 999):
        assert mine.unwrap(good.model_copy(update={"key": key})) is None
    with pytest.raises(CaptureError, match="encrypted with 'rot13'"):
        mine.unwrap(good.model_copy(update={"scheme": "rot13"}))
    short = pyrage.encrypt(b"x", [pyrage.x25519.Recipient.from_str(PUBLIC)], armored=True).decode()
    with pytest.raises(CaptureError, match="has 1 bytes instead of 32"):
        mine.unwrap(Encryption(scheme=good.scheme, key=short, recipients=[]))


def test_without_recipients_nothing_is_encrypted() -> None:
    assert not Recipients()
    assert Recipients([PUBLIC])
