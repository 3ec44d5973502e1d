"""TLS that ends before both lanes."""

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest
from mitmproxy import exceptions, http

from addons.lanes import _tls
from tests.support.inprocess import App, answering, sidecar
from tests.support.origin import certificate as made

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost, and its key in the same file."""
    folder = tmp_path_factory.mktemp("tls")
    made(folder, "localhost")
    return folder / "server.pem"


class Seen:
    """Notes who asked for what, by what."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool, bytes | None, str | None]] = []
        self.clients: list[str] = []

    def client_connected(self, client: object) -> None:
        self.clients.append("connected")

    def client_disconnected(self, client: object) -> None:
        self.clients.append("disconnected")

    def request(self, flow: http.HTTPFlow) -> None:
        client = flow.client_conn
        self.seen.append((flow.request.http_version, client.tls, client.alpn, client.tls_version))


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("http2", "version", "alpn"), [(False, "HTTP/1.1", b"http/1.1"), (True, "HTTP/2.0", b"h2")])
async def test_a_client_by_tls(certificate: Path, fast: bool, http2: bool, version: str, alpn: bytes) -> None:
    app, seen = App(answering(OK)), Seen()
    trust = ssl.create_default_context(cafile=str(certificate))
    async with app.running() as port:
        async with sidecar(port, seen, reamp_tls_certificate=str(certificate), reamp_fast_lane=fast) as proxy:
            async with httpx.AsyncClient(http1=not http2, http2=http2, verify=trust, trust_env=False) as client:
                for _ in range(3):
                    answer = await client.get(f"https://localhost:{proxy.port}/a")
                    assert (answer.status_code, answer.text, answer.http_version) == (
                        200,
                        "ok",
                        version[:8].replace(".0", ""),
                    )
            async with asyncio.timeout(5):
                while "disconnected" not in seen.clients:
                    await asyncio.sleep(0.01)
    assert seen.seen == [(version, True, alpn, "TLSv1.3")] * 3
    assert seen.clients == ["connected", "disconnected"]


def test_certificates_that_can_t_be_used_are_told(tmp_path: Path) -> None:
    with pytest.raises(exceptions.OptionsError, match="nowhere"):
        _tls(str(tmp_path / "nowhere.pem"), "")
    (tmp_path / "wrong.pem").write_text("no certificate")
    with pytest.raises(exceptions.OptionsError, match=r"wrong\.pem"):
        _tls(str(tmp_path / "wrong.pem"), "")
    with pytest.raises(exceptions.OptionsError, match="no reamp_tls_certificate"):
        _tls("", "key.pem")
