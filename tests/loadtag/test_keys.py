"""Key files."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from loadtag import Verifier
from loadtag.keys import KeyFileError, generate, load_private, load_public

PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8


def private_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_a_pair_signs_and_verifies(tmp_path: Path) -> None:
    private, public = generate(tmp_path, "replayer")
    assert (private, public) == (tmp_path / "replayer.key", tmp_path / "replayer.pub")
    signer, keys = load_private(private), load_public(public)
    assert [key.key_id for key in keys] == [signer.key_id]
    assert Verifier(keys, "shop").verify(signer.sign("run-1", 100, "shop"), 0).run_id == "run-1"


def test_the_files_are_what_other_tools_read(tmp_path: Path) -> None:
    private, public = generate(str(tmp_path), "k")
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    assert key.public_key() == serialization.load_pem_public_key(public.read_bytes())


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_can_read_the_private_key(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        private, _ = generate(tmp_path, "k")
    finally:
        os.umask(before)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600


@pytest.mark.parametrize("taken", ["k.key", "k.pub"])
def test_nothing_is_overwritten_and_no_half_pair_is_left(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("precious")
    with pytest.raises(KeyFileError, match="never overwritten"):
        generate(tmp_path, "k")
    assert [path.name for path in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_text() == "precious"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "k.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError, match="never overwritten"):
        generate(tmp_path, "k")
    assert not (tmp_path / "elsewhere").exists()


def test_a_missing_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    private, _ = generate(tmp_path / "all" / "keys", "k")
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    assert load_private(private).key_id


def test_a_directory_that_can_not_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in ("file", "file/keys"):
        with pytest.raises(KeyFileError, match="can't make the folder"):
            generate(tmp_path / place, "k")


@pytest.mark.parametrize("name", ["", "../k", "a/b", ".k", "a b", "k\n", "k" * 101])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyFileError, match="can't name a key"):
        generate(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_private_key_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    private, _ = generate(tmp_path, "k")
    private.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_private(private)
    private.chmod(0o400)
    assert load_private(private).key_id


def test_the_public_key_in_the_place_of_the_private_one_is_told_apart(tmp_path: Path) -> None:
    _, public = generate(tmp_path, "load")
    for mode in (0o600, 0o644):  # whoever may read it, that is not what is wrong with it
        public.chmod(mode)
        with pytest.raises(KeyFileError, match="holds a public key: give the private one"):
            load_private(public)


def test_several_public_keys_in_one_file(tmp_path: Path) -> None:
    pairs = [generate(tmp_path, name) for name in ("old", "new")]
    both = tmp_path / "both.pub"
    both.write_bytes(b"# until March\n" + pairs[0][1].read_bytes() + b"\r\n# from now on\n" + pairs[1][1].read_bytes())
    keys = load_public(both)
    assert [key.key_id for key in keys] == [load_private(private).key_id for private, _ in pairs]


def test_what_is_no_private_key(tmp_path: Path) -> None:
    _, public = generate(tmp_path, "k")
    other = Ed448PrivateKey.generate()
    own = Ed25519PrivateKey.generate()
    cases = {
        b"": "no private key",
        b"rubbish": "no private key",
        public.read_bytes(): "holds a public key",
        other.private_bytes(PEM, PKCS8, serialization.NoEncryption()): "not an Ed25519 key",
        own.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"x")): "encrypted",
    }
    for content, message in cases.items():
        with pytest.raises(KeyFileError, match=message):
            load_private(private_file(tmp_path / "case", content))
    with pytest.raises(KeyFileError, match="No such file"):
        load_private(tmp_path / "missing")
    with pytest.raises(KeyFileError, match="directory"):
        load_private(tmp_path)


def test_what_are_no_public_keys(tmp_path: Path) -> None:
    private, public = generate(tmp_path, "k")
    good = public.read_bytes()
    other = Ed448PrivateKey.generate().public_key()
    cases = {
        b"": "must hold public keys",
        b"rubbish": "must hold public keys",
        good[:-10]: "must hold public keys",
        good + good[:-10]: "must hold public keys",
        good + b"-----BEGIN CERTIFICATE-----\n": "must hold public keys",
        good + private.read_bytes(): "holds a private key",
        good + good.replace(b"MCow", b"AAAA"): "public key 2 .* is damaged",
        other.public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo): "not an Ed25519 key",
    }
    for content, message in cases.items():
        (tmp_path / "case").write_bytes(content)
        with pytest.raises(KeyFileError, match=message):
            load_public(tmp_path / "case")
    with pytest.raises(KeyFileError, match="No such file"):
        load_public(tmp_path / "missing")


def test_no_message_holds_key_material(tmp_path: Path) -> None:
    private, _ = generate(tmp_path, "k")
    secret = private.read_text().splitlines()[1]
    messages = []
    for loader, content in ((load_private, private.read_bytes()[:-30]), (load_public, private.read_bytes())):
        with pytest.raises(KeyFileError) as caught:
            loader(private_file(tmp_path / "case", content))
        messages.append(repr(caught.value) + repr(caught.value.__context__))
    assert secret[10:30] not in "".join(messages)
