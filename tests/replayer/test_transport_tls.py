"""What TLS is set up from: each mistake in a file is explained, before anything is sent."""

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from replayer.plan import Plan
from replayer.transport.tls import to_target
from rules.exits import UserError
from tests.support.authority import Authority


def plan(**changes: Any) -> Plan:
    return Plan.model_validate({"recording": "r", "to": "https://shop.example", "idle_target": True, **changes})


@pytest.fixture
def files(tmp_path: Path) -> Path:
    authority = Authority(tmp_path)
    for name in ("one", "other"):
        whole = authority.issue(name, f"{name}.example").read_bytes()
        start = whole.index(b"-----BEGIN CERTIFICATE")
        (tmp_path / f"{name}.key").write_bytes(whole[:start])
        (tmp_path / f"{name}.crt").write_bytes(whole[start:])
    key = load_pem_private_key((tmp_path / "one.key").read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    (tmp_path / "encrypted.key").write_bytes(pem)
    (tmp_path / "empty.pem").write_bytes(b"")
    return tmp_path


def test_the_target_is_verified_unless_told_otherwise(files: Path) -> None:
    verified = to_target(plan(ca=files / "ca.pem"))
    assert verified is not None
    assert (verified.verify_mode, verified.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert [found["subject"] for found in verified.get_ca_certs()] == [((("commonName", "ca"),),)]
    trusting = to_target(plan(insecure=True))
    assert trusting is not None
    assert (trusting.verify_mode, trusting.check_hostname) == (ssl.CERT_NONE, False)
    assert to_target(plan(to="http://shop.example")) is None


def shaken(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    """Shake hands in memory. Raises SSLError."""
    there, here = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking, answering = client.wrap_bio(here, there, server_hostname=name), server.wrap_bio(there, here, True)
    for _ in range(3):
        for end in (asking, answering):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    assert asking.getpeercert()


def test_an_authority_of_ones_own_is_verified_with_and_need_not_be_perfect(tmp_path: Path) -> None:
    authority = Authority(tmp_path, homemade=True)
    server = authority.serving(authority.issue("one", "one.example"))
    trusting = to_target(plan(ca=authority.trust))
    assert trusting is not None
    shaken(trusting, server, "one.example")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shaken(trusting, server, "other.example")
    (tmp_path / "other").mkdir()
    stranger = to_target(plan(ca=Authority(tmp_path / "other", homemade=True).trust))
    assert stranger is not None
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        shaken(stranger, server, "one.example")


@pytest.mark.parametrize(("cert", "key"), [("one.pem", None), ("one.crt", "one.key")])
def test_a_client_certificate_is_loaded(files: Path, cert: str, key: str | None) -> None:
    assert to_target(plan(cert=files / cert, cert_key=files / key if key else None)) is not None


@pytest.mark.parametrize(
    ("cert", "key", "advice"),
    [
        ("none.pem", None, r"--cert .*none\.pem: there is no such file"),
        ("one.crt", "none.key", r"--cert-key .*none\.key: there is no such file"),
        ("one.crt", None, "--cert-key"),
        ("one.crt", "other.key", "does not belong"),
        ("one.crt", "encrypted.key", "decrypt it first"),
        ("empty.pem", None, "no certificate"),
        (".", None, "--cert "),
    ],
)
def test_what_is_wrong_with_a_client_certificate_is_explained(
    files: Path, cert: str, key: str | None, advice: str
) -> None:
    with pytest.raises(UserError, match=advice):
        to_target(plan(cert=files / cert, cert_key=files / key if key else None))


@pytest.mark.parametrize("name", ["none.pem", "empty.pem"])
def test_so_is_what_is_wrong_with_authorities(files: Path, name: str) -> None:
    with pytest.raises(UserError, match=rf"--ca .*{name}"):
        to_target(plan(ca=files / name))
