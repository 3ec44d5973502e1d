"""What a certificate is loaded from: each mistake in a file is explained, in the words of the options."""

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from rules.certificates import load_certificate
from rules.exits import UserError
from tests.support.authority import Authority


@pytest.fixture
def context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    authority = Authority(tmp_path)
    whole = authority.issue("one", "one.example").read_bytes()
    authority.issue("other", "other.example")
    start = whole.index(b"-----BEGIN CERTIFICATE")
    (tmp_path / "one.key").write_bytes(whole[:start])
    (tmp_path / "one.crt").write_bytes(whole[start:])
    key = serialization.load_pem_private_key(whole[:start], None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    locked = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    (tmp_path / "locked.key").write_bytes(locked)
    (tmp_path / "locked.pem").write_bytes(locked + whole[start:])
    (tmp_path / "text.pem").write_text("no certificate")
    return tmp_path


@pytest.mark.parametrize(("cert", "key"), [("one.pem", None), ("one.crt", "one.key")])
def test_a_certificate_is_loaded_from_one_file_or_two(
    context: ssl.SSLContext, files: Path, cert: str, key: str | None
) -> None:
    load_certificate(context, files / cert, files / key if key else None, "--a", "--b")


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("one.crt", "locked.key", "--b {}/locked.key: the key is encrypted"),
        ("locked.pem", None, "--b {}/locked.pem: the key is encrypted"),
        ("one.crt", "other.pem", "--a {}/one.crt: the key does not belong to the certificate"),
        ("text.pem", None, "--a {}/text.pem: no certificate and key in PEM form can be read from it ("),
        ("one.crt", None, "; a key in a file of its own is named with --b"),
    ],
)
def test_what_is_wrong_is_explained(
    context: ssl.SSLContext, files: Path, cert: str, key: str | None, words: str
) -> None:
    with pytest.raises(UserError) as told:
        load_certificate(context, files / cert, files / key if key else None, "--a", "--b")
    assert words.format(files) in str(told.value)
    assert ("named with" in str(told.value)) == (key is None and "encrypted" not in words)


def test_a_file_that_can_t_be_read_is_for_whoever_asked(context: ssl.SSLContext, files: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_certificate(context, files / "none.pem", None, "--a", "--b")
