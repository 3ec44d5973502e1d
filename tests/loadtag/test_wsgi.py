"""The WSGI middleware in a real app on a real server."""

import http.client
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.validate import validator

import pytest

from loadtag import LoadTag, current_run, format_token
from loadtag.headers import put
from loadtag.wsgi import LoadTagMiddleware
from tests.support.serving import in_thread

closed: list[str | None] = []


def token(run: str) -> str:
    return format_token(LoadTag("key", run, 1_800_000_000, "shop"), bytes(64))


def tagged(run: str) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in put([], token(run), run)}


class Chunks:
    """A response whose code runs while the server iterates over it and closes it."""

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(3):
            yield f"{current_run()} ".encode()

    def close(self) -> None:
        closed.append(current_run())


meeting = threading.Barrier(2)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    seen = str(current_run()).encode()
    path = environ["PATH_INFO"]
    if path == "/fail":
        raise RuntimeError("the app's own error")
    if path == "/meet":
        meeting.wait(10)
        seen += b" " + str(current_run()).encode()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Chunks() if path == "/stream" else [seen]


class ThreadedServer(ThreadingMixIn, WSGIServer):
    daemon_threads = False  # joined when the server closes, so that no test leaves one behind


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        pass


@contextmanager
def served() -> Iterator[int]:
    # The validator on both sides: the middleware must be a proper app to the server and a proper server to the app.
    wrapped = validator(LoadTagMiddleware(validator(app)))
    with in_thread(make_server("127.0.0.1", 0, wrapped, server_class=ThreadedServer, handler_class=Quiet)) as port:
        yield port


def get(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_a_tagged_request_is_told_from_a_real_one() -> None:
    with served() as port:
        assert get(port, "/", tagged("run-1")) == (200, "run-1")
        assert get(port, "/", {"baggage": "user=alice"}) == (200, "None")


def test_the_tag_holds_while_the_response_is_iterated_over_and_closed() -> None:
    closed.clear()
    with served() as port:
        assert get(port, "/stream", tagged("run-1")) == (200, "run-1 run-1 run-1 ")
        assert get(port, "/stream") == (200, "None None None ")
    assert closed == ["run-1", None]


def test_requests_at_the_same_time_do_not_mix() -> None:
    with served() as port, ThreadPoolExecutor(2) as threads:
        synthetic = threads.submit(get, port, "/meet", tagged("run-1"))
        real = threads.submit(get, port, "/meet")
        assert synthetic.result() == (200, "run-1 run-1")
        assert real.result() == (200, "None None")


def test_a_broken_tag_is_no_tag() -> None:
    with served() as port:
        for value in ("loadtest=rubbish", "LoadTest=" + token("a"), f"loadtest={token('a')},loadtest={token('b')}"):
            assert get(port, "/", {"baggage": value}) == (200, "None")
        assert get(port, "/", {"x-load-test": "run-1"}) == (200, "None")


def start(status: str, headers: list[tuple[str, str]]) -> None:
    pass


def environ(path: str, run: str | None) -> dict[str, Any]:
    return {"PATH_INFO": path} | ({"HTTP_BAGGAGE": f"loadtest={token(run)}"} if run else {})


def test_no_tag_is_left_behind_in_the_servers_thread() -> None:
    response = iter(LoadTagMiddleware(app)(environ("/stream", "run-1"), start))
    assert current_run() is None
    assert next(response) == b"run-1 "
    assert current_run() is None
    with pytest.raises(RuntimeError, match="own error"):
        LoadTagMiddleware(app)(environ("/fail", "run-1"), start)
    assert current_run() is None


def test_two_responses_may_be_iterated_over_in_turn() -> None:
    """As a server with greenlets does in one thread."""
    first = iter(LoadTagMiddleware(app)(environ("/stream", "run-1"), start))
    second = iter(LoadTagMiddleware(app)(environ("/stream", "run-2"), start))
    seen = [next(first), next(second), next(first), next(second)]
    assert seen == [b"run-1 ", b"run-2 ", b"run-1 ", b"run-2 "]


def test_a_real_request_inside_a_synthetic_one_is_real() -> None:
    inner = LoadTagMiddleware(app)

    def outer(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return [str(current_run()).encode(), *inner(environ("/stream", None), start_response)]

    assert list(LoadTagMiddleware(outer)(environ("/", "run-1"), start)) == [b"run-1", b"None ", b"None ", b"None "]


def test_the_response_to_a_real_request_is_handed_on_untouched() -> None:
    assert isinstance(LoadTagMiddleware(app)(environ("/stream", None), start), Chunks)


def test_a_strange_environment_does_not_raise() -> None:
    for value in ("loadtest=\u20ac", b"loadtest", None, 5):
        assert list(LoadTagMiddleware(app)({"PATH_INFO": "/", "HTTP_BAGGAGE": value}, start)) == [b"None"]
