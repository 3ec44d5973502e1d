"""What the fast lane leaves to the other one: nothing of it is lost, and the connection ends when it has to."""

import pytest

from tests.support.inprocess import App, answering, sidecar

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n"])
@pytest.mark.parametrize(
    "refused",
    [
        b"nonsense\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: five\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\nx : y\r\n\r\n",
    ],
)
async def test_what_is_refused_ends_its_connection(refused: bytes, first: bytes) -> None:
    """Also if all of it had come before the other lane took over."""
    async with App(answering(OK)).running() as port, sidecar(port) as proxy:
        answer = await proxy.ask(first + refused)
    assert answer.removeprefix(OK if first else b"").startswith(b"HTTP/1.1 400 Bad Request\r\n")
