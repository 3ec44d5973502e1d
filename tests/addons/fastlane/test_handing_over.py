"""What the fast lane leaves to the other one: nothing of it is lost, and the connection ends when it has to."""

import asyncio

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


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n"])
@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET / HTTP/1.1\r\nhost: shop\r\nx: a\r\n b\r\n\r\n", id="a fold"),
        pytest.param(b"GET / HTTP/1.1\r\n host: shop\r\n\r\n", id="a blank before the first field"),
        pytest.param(b"GET / HTTP/1.1\r\nhost: shop\r\nx: a\rtransfer-encoding: chunked\r\n\r\n", id="a bare CR"),
        pytest.param(b"\rGET / HTTP/1.1\r\nhost: shop\r\n\r\n", id="a CR first"),
        pytest.param(b"GET / HTTP/1.1\r\nhost: shop\r\nx: a\x00b\r\n\r\n", id="a NUL"),
        pytest.param(b"POST / HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: \x0bchunked\r\n\r\n", id="a vertical tab"),
        pytest.param(b"POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 5\x0c\r\n\r\n", id="a form feed"),
        pytest.param(b"GET  / HTTP/1.1\r\nhost: shop\r\n\r\n", id="two blanks"),
        pytest.param(b"GET\t/ HTTP/1.1\r\nhost: shop\r\n\r\n", id="a tab for a blank"),
        pytest.param(b"G@T / HTTP/1.1\r\nhost: shop\r\n\r\n", id="a method that is no token"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"GET / HTTP/0.9\r\nhost: shop\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"GET /\r\n\r\n", id="no version"),
    ],
)
async def test_a_head_that_can_be_read_in_more_than_one_way_is_refused(head: bytes, first: bytes) -> None:
    app = App(answering(OK))
    async with app.running() as port, sidecar(port) as proxy:
        answer = await proxy.ask(first + head + b"GET /smuggled HTTP/1.1\r\nhost: shop\r\n\r\n")
    refusal = answer.removeprefix(OK if first else b"")
    assert refusal.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"more than one way" in refusal
    assert b"".join(app.received) == first


@pytest.mark.parametrize(
    ("head", "line"),
    [
        pytest.param(b"GET / HTTP/1.1\nhost: shop\nconnection: close\n\n", b"GET / HTTP/1.1", id="bare LFs"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.0", id="HTTP/1.0"),
        pytest.param(
            b"GET http://shop/a HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n",
            b"GET http://shop/a HTTP/1.1",
            id="an absolute target",
        ),
        pytest.param(
            b"sEt / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n", b"sEt / HTTP/1.1", id="any token as a method"
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nhost: shop\r\nx: \t\x80 \xff\t\r\nconnection: close\r\n\r\n",
            b"GET / HTTP/1.1",
            id="tabs and high bytes",
        ),
    ],
)
async def test_a_head_that_is_merely_unusual_is_passed_on(head: bytes, line: bytes) -> None:
    app = App(answering(OK))
    async with app.running() as port, sidecar(port) as proxy:
        assert await proxy.ask(head) == OK
    assert [received.partition(b"\r\n")[0] for received in app.received] == [line]


@pytest.mark.parametrize("pieces", [(b"\r\n",), (b"\n\n",), (b"\r\n\r\n\r\n",), (b"\r", b"\n"), (b"\n\r", b"\n\n")])
async def test_blank_lines_before_a_request_do_not_keep_it_waiting(pieces: tuple[bytes, ...]) -> None:
    app = App(answering(OK))
    request = b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n"
    async with app.running() as port, sidecar(port) as proxy, asyncio.timeout(5):
        reader, writer = await proxy.connect()
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01)  # so that it comes by itself; nothing depends on it
        for _ in range(2):
            writer.write(b"\r\n" + request)
            assert await reader.readexactly(len(OK)) == OK
        writer.close()
    assert b"".join(app.received) == 2 * request
