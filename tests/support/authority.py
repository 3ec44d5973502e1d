"""A certificate authority for tests, and what it issues: PEM files with the key first, then the certificate."""

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_DAY = dt.timedelta(days=1)


class Authority:
    """Trusted by whom is given `ca.pem` of its folder. A `homemade` one has what ``openssl req -x509`` gives it."""

    def __init__(self, folder: Path, name: str = "ca", *, homemade: bool = False) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.trust = folder / f"{name}.pem"
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        building = self._build(self._name, self._key, -_DAY, _DAY, authority=True)
        made = (building if homemade else building.add_extension(usage, critical=True)).sign(self._key, hashes.SHA256())
        self.trust.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def issue(self, file: str, *names: str, begins: dt.timedelta = -_DAY, ends: dt.timedelta = _DAY) -> Path:
        """Issue a certificate for host names and addresses, valid from and until so long from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        alternatives: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
        ]
        made = (
            self._build(subject, key, begins, ends)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        path = self.folder / f"{file}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
        return path

    def serving(self, path: Path, *protocols: str) -> ssl.SSLContext:
        """Make what a server needs to show a certificate, and to offer protocols by ALPN."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(path)
        if protocols:
            context.set_alpn_protocols(protocols)
        return context

    def trusting(self, *protocols: str) -> ssl.SSLContext:
        """Make what a client needs to verify, and to offer protocols by ALPN."""
        context = ssl.create_default_context(cafile=self.trust)
        if protocols:
            context.set_alpn_protocols(protocols)
        return context

    def _build(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        begins: dt.timedelta,
        ends: dt.timedelta,
        *,
        authority: bool = False,
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        public = self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
