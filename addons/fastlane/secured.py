"""What mitmproxy wants to know of a client whose TLS ended before it came here."""

import ssl
import time

from mitmproxy.connection import Client

_VERSIONS = frozenset(("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"))


def describe_tls(client: Client, secured: ssl.SSLObject) -> None:
    """Note in `client` what was agreed on."""
    client.tls = True
    client.timestamp_tls_setup = time.time()
    protocol = secured.selected_alpn_protocol()
    client.alpn = protocol.encode() if protocol else None
    cipher = secured.cipher()
    client.cipher = cipher[0] if cipher else None
    version = secured.version()
    client.tls_version = version if version in _VERSIONS else None  # type: ignore[assignment] # just looked at
