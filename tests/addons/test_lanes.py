"""Add-ons can't tell which lane they are in: the same hooks in the same order, with the same facts, to the same end."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http, io
from mitmproxy.addons.anticache import AntiCache
from mitmproxy.addons.anticomp import AntiComp
from mitmproxy.addons.blocklist import BlockList
from mitmproxy.addons.maplocal import MapLocal
from mitmproxy.addons.mapremote import MapRemote
from mitmproxy.addons.modifybody import ModifyBody
from mitmproxy.addons.modifyheaders import ModifyHeaders
from mitmproxy.addons.save import Save
from mitmproxy.addons.serverplayback import ServerPlayback
from mitmproxy.addons.stickycookie import StickyCookie

from tests.support.differential.origin import Script
from tests.support.lanes import LANES
from tests.support.watching import AddOns, Conversation, converse

HOOKS = ("requestheaders", "request", "responseheaders", "response")

LARGE = b"<p>" + b"hello " * 40_000
SCRIPTS = {
    b"/chunked": Script(
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",)
    ),
    b"/large": Script((b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE), LARGE)),
    b"/cookie": Script((b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=1; path=/\r\n\r\nok",)),
    b"/none": Script((b"HTTP/1.1 204 No Content\r\n\r\n",)),
    b"/unchanged": Script((b'HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: "x"\r\n\r\n',)),
    b"/until-close": Script((b"HTTP/1.1 200 OK\r\n\r\nhello",), "close"),
    b"/last": Script((b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",), "close"),
    b"/head": Script((b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n",)),
    b"/broken": Script((b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello",), "close"),
    b"/short": Script((b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",), "close"),
    b"/gone": Script((), "close"),
}


def _request(line: bytes, *fields: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((line + b" HTTP/1.1", b"Host: shop.example", *fields, b"", b"")) + body


GET = _request(b"GET /a?b=c", b"If-None-Match: x", b"Accept-Encoding: gzip")
POST = _request(b"POST /b", b"Content-Length: 5", body=b"hello")
CHUNKED = _request(b"POST /c", b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
HEAD = _request(b"HEAD /d")
UPLOAD = _request(b"PUT /e", b"Content-Length: %d" % len(LARGE), body=LARGE)
EVERYTHING = [
    *(GET, POST, CHUNKED, HEAD, UPLOAD),
    *(_request(b"GET " + path) for path in (b"/chunked", b"/large", b"/cookie", b"/none", b"/unchanged")),
    *(_request(b"HEAD /head"), _request(b"GET /last")),
    *(_request(b"GET /until-close"), GET),
]
FAILING = [_request(b"GET " + path) for path in (b"/broken", b"/short", b"/until-close")] + [
    _request(b"POST /gone", b"Content-Length: 5", body=b"hello"),
    GET,
]


async def both(
    addons: AddOns, requests: Sequence[bytes] = EVERYTHING, **settings: Any
) -> tuple[Conversation, Conversation]:
    """Have the same conversation in both lanes, and compare everything that has to be the same."""
    fast, full = [await converse(lane, addons, requests, SCRIPTS, **settings) for lane in LANES]
    for one, other in zip(_told(fast), _told(full), strict=False):
        assert one[:2] == other[:2]
        assert one[2] == other[2], (*one[:2], _apart(one[2], other[2]))
    assert len(fast.watcher.calls) == len(full.watcher.calls)
    assert _reached(fast) == _reached(full)
    for mine, theirs in zip(_answered(fast), _answered(full), strict=True):
        assert mine == theirs
    assert len(fast.watcher.updates) == len(full.watcher.updates)
    for conversation in (fast, full):
        _check_connections(conversation)
    return fast, full


def _apart(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """For people: what is different, the fast lane's first."""
    return {name: (one.get(name), other.get(name)) for name in one | other if one.get(name) != other.get(name)}


def _told(conversation: Conversation) -> list[tuple[str, int, dict[str, Any]]]:
    """The hook calls, with the flows numbered as they came."""
    return conversation.watcher.calls


def _reached(conversation: Conversation) -> list[Any]:
    return [
        (
            seen.request.method,
            seen.request.target,
            seen.request.body,
            conversation.anonymous(sorted(one for one in seen.request.fields if one[0].lower() != b"connection")),
        )
        for seen in conversation.seen
    ]


def _answered(conversation: Conversation) -> list[Any]:
    """What the client got. How the text of the proxy's own errors reads is up to each lane."""
    return [
        answer
        and (
            answer.status,
            answer.body if answer.status < 500 else b"",
            answer.whole,
            sorted(_end_to_end(answer.fields)) if answer.status < 500 else [],
        )
        for answer in conversation.answers
    ]


def _end_to_end(fields: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Without what says how this very connection goes on. That the body is whole is compared by itself."""
    hop_by_hop = (b"connection", b"keep-alive", b"content-length", b"transfer-encoding")
    return [(name.lower(), value) for name, value in fields if name.lower() not in hop_by_hop]


def _check_connections(conversation: Conversation) -> None:
    """Each lane has connections to the app of its own number; what is said of each is the same."""
    watcher = conversation.watcher
    ids = dict.fromkeys(one for _, one in watcher.connections)
    lives = {tuple(watcher.life_of(one)) for one in ids}
    assert lives <= {
        ("client_connected", "client_disconnected"),
        ("server_connect", "server_connected", "server_disconnected"),
        ("server_connect", "server_connected"),  # kept for the next client when this conversation was over
        ("server_connect", "server_connect_error"),
    }
    assert all(watcher.announced)


def _none(_port: int, _other: int) -> Sequence[Any]:
    return ()


def addon(**hooks: Callable[[http.HTTPFlow], Any]) -> AddOns:
    """Make an add-on of functions."""
    return lambda _port, _other: [
        type("Own_" + "_".join(hooks), (), {name: staticmethod(hook) for name, hook in hooks.items()})()
    ]


async def test_nobody_does_anything() -> None:
    fast, _ = await both(_none)
    assert [answer.status for answer in fast.answers if answer][:5] == [200] * 5
    assert len(fast.answers) == len(EVERYTHING)
    assert None not in fast.answers


async def test_apps_that_fail() -> None:
    fast, _ = await both(_none, FAILING)
    assert [answer and answer.status for answer in fast.answers] == [502, 502, 200, 502, 200]


async def test_an_app_that_is_not_there() -> None:
    def elsewhere(flow: http.HTTPFlow) -> None:
        flow.request.port = 9

    fast, _ = await both(addon(request=elsewhere), [GET, POST])
    assert [answer and answer.status for answer in fast.answers] == [502, 502]
    assert [name for name, _, _ in fast.watcher.calls] == ["requestheaders", "request", "error"] * 2


# --- mitmproxy's own


async def test_modified_headers() -> None:
    settings: dict[str, Any] = {"modify_headers": ["/~q/X-A/1", "/~s/X-B/2", "/~q/If-None-Match/", "|~s|Content-Type|"]}
    fast, _ = await both(lambda *_: [ModifyHeaders()], **settings)
    assert all((b"X-A", b"1") in seen.request.fields for seen in fast.seen)
    assert all(answer and (b"X-B", b"2") in answer.fields for answer in fast.answers)


async def test_modified_bodies() -> None:
    fast, _ = await both(lambda *_: [ModifyBody()], modify_body=["/hello/good bye"])
    assert [seen.request.body for seen in fast.seen if seen.request.target == b"/b"] == [b"good bye"]


async def test_local_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"from a file")
    fast, _ = await both(lambda *_: [MapLocal()], map_local=[f"|/a|{tmp_path / 'a'}"])
    assert fast.answers[0]
    assert fast.answers[0].body == b"from a file"


async def test_another_app() -> None:
    def remote(_port: int, other: int) -> Sequence[Any]:
        class Redirect:
            def request(self, flow: http.HTTPFlow) -> None:
                if flow.request.path.startswith(("/a", "/c", "/e")):
                    flow.request.host, flow.request.port = "127.0.0.1", other

        return [Redirect()]

    await both(remote)


async def test_mapped_remotely() -> None:
    await both(lambda *_: [MapRemote()], map_remote=["|/b|/a"])


async def test_blocked() -> None:
    fast, _ = await both(lambda *_: [BlockList()], block_list=["|~u /a|404", "|~m HEAD|444"])
    assert fast.answers[0]
    assert fast.answers[0].status == 404
    assert fast.answers[3] is None


async def test_sticky_cookies() -> None:
    fast, _ = await both(lambda *_: [StickyCookie()], stickycookie=".*")
    assert (b"cookie", b"a=1") in [(name.lower(), value) for name, value in fast.seen[-1].request.fields]


async def test_no_caches_and_no_compression() -> None:
    fast, _ = await both(lambda *_: [AntiCache(), AntiComp()], anticache=True, anticomp=True)
    names = {name.lower() for name, _ in fast.seen[0].request.fields}
    assert b"if-none-match" not in names


@pytest.mark.parametrize("settings", [{"stream_large_bodies": "1k"}, {"body_size_limit": "100k"}])
async def test_options_of_mitmproxys_own_stack(settings: dict[str, Any]) -> None:
    await both(_none, **settings)


async def test_saved(tmp_path: Path) -> None:
    saved: list[list[Any]] = []

    def save(_port: int, _other: int) -> Sequence[Any]:
        return [Save()]

    for lane in LANES:
        file = tmp_path / lane
        await converse(lane, save, EVERYTHING, SCRIPTS, save_stream_file=str(file))
        with file.open("rb") as opened:
            flows = [flow for flow in io.FlowReader(opened).stream() if isinstance(flow, http.HTTPFlow)]
        saved.append(
            [
                (flow.request.method, flow.request.path, flow.request.raw_content, flow.request.headers.fields)
                + ((flow.response.status_code, flow.response.raw_content) if flow.response else (None, None))
                for flow in flows
            ]
        )
    assert saved[0] == saved[1]
    assert len(saved[0]) == len(EVERYTHING)


async def test_played_back(tmp_path: Path) -> None:
    file = tmp_path / "flows"
    await converse("full", lambda *_: [Save()], [GET, POST], SCRIPTS, save_stream_file=str(file))
    settings = {"server_replay": [str(file)], "server_replay_ignore_port": True, "server_replay_reuse": True}
    fast, _ = await both(lambda *_: [ServerPlayback()], [GET, POST, GET], **settings)
    assert fast.seen == []


# --- that take their time


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("seconds", [0, 0.001])
async def test_a_hook_that_waits(name: str, seconds: float) -> None:
    async def wait(flow: http.HTTPFlow) -> None:
        await asyncio.sleep(seconds)
        flow.metadata["waited"] = name

    await both(addon(**{name: wait}))


async def test_every_hook_waits() -> None:
    async def wait(_: http.HTTPFlow) -> None:
        await asyncio.sleep(0)

    await both(addon(**dict.fromkeys(HOOKS, wait)))


async def test_a_hook_that_waits_for_a_thread() -> None:
    async def wait(flow: http.HTTPFlow) -> None:
        flow.request.headers["x-answer"] = await asyncio.get_running_loop().run_in_executor(None, lambda: "42")

    fast, _ = await both(addon(request=wait), [GET, POST])
    assert (b"x-answer", b"42") in fast.seen[0].request.fields


@pytest.mark.parametrize("name", HOOKS)
async def test_intercepted_and_let_go(name: str) -> None:
    def hold(flow: http.HTTPFlow) -> None:
        flow.intercept()
        asyncio.get_running_loop().call_later(0.002, flow.resume)

    await both(addon(**{name: hold}))


@pytest.mark.parametrize("name", HOOKS)
async def test_intercepted_and_killed(name: str) -> None:
    def hold(flow: http.HTTPFlow) -> None:
        flow.intercept()
        asyncio.get_running_loop().call_later(0.002, _kill, flow)

    await both(addon(**{name: hold}), [GET, POST, CHUNKED, HEAD])


def _kill(flow: http.HTTPFlow) -> None:
    flow.resume()  # first: who kills without it leaves the connection waiting
    flow.kill()


async def test_intercepted_and_changed_meanwhile() -> None:
    def change(flow: http.HTTPFlow) -> None:
        flow.request.path = "/changed"
        flow.request.content = b"changed"
        flow.resume()

    def hold(flow: http.HTTPFlow) -> None:
        flow.intercept()
        asyncio.get_running_loop().call_later(0.002, change, flow)

    fast, _ = await both(addon(request=hold), [GET, POST, CHUNKED])
    assert {seen.request.target for seen in fast.seen} == {b"/changed"}


# --- that fail


def _fail(_: http.HTTPFlow) -> None:
    raise LookupError("on purpose")


async def _fail_later(_: http.HTTPFlow) -> None:
    await asyncio.sleep(0)
    raise LookupError("on purpose")


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("fail", [_fail, _fail_later])
async def test_a_hook_that_fails(name: str, fail: Callable[[http.HTTPFlow], Any]) -> None:
    fast, _ = await both(addon(**{name: fail}))
    assert None not in fast.answers


@pytest.mark.parametrize("fail", [_fail, _fail_later])
async def test_the_hook_for_errors_fails(fail: Callable[[http.HTTPFlow], Any]) -> None:
    await both(addon(error=fail), FAILING)


# --- that decide


@pytest.mark.parametrize("name", HOOKS)
async def test_killed(name: str) -> None:
    fast, _ = await both(addon(**{name: lambda flow: flow.kill()}), [GET, POST, CHUNKED, HEAD, UPLOAD])
    assert fast.answers == [None] * 5


@pytest.mark.parametrize("name", ["requestheaders", "request"])
@pytest.mark.parametrize("status", [200, 204, 304, 403, 503])
async def test_answered_by_an_add_on(name: str, status: int) -> None:
    def answer(flow: http.HTTPFlow) -> None:
        body = b"" if flow.request.method == "HEAD" or status in (204, 304) else b"no"
        flow.response = http.Response.make(status, body, {"x-by": "add-on"})

    fast, _ = await both(addon(**{name: answer}), [GET, POST, CHUNKED, HEAD, GET])
    assert [answer and answer.status for answer in fast.answers] == [status] * 5
    assert fast.seen == []


async def test_answered_after_waiting() -> None:
    async def answer(flow: http.HTTPFlow) -> None:
        await asyncio.sleep(0.001)
        flow.response = http.Response.make(418, b"teapot")

    fast, _ = await both(addon(request=answer), [GET, POST, CHUNKED])
    assert [answer and answer.status for answer in fast.answers] == [418] * 3


# --- that change


def _method(flow: http.HTTPFlow) -> None:
    flow.request.method = "DELETE"


def _path(flow: http.HTTPFlow) -> None:
    flow.request.path = "/elsewhere?q=1"


def _fields(flow: http.HTTPFlow) -> None:
    flow.request.headers["X-New"] = "1"
    flow.request.headers.pop("accept-encoding", None)


def _host(flow: http.HTTPFlow) -> None:
    flow.request.headers["host"] = "other.example"


def _body(flow: http.HTTPFlow) -> None:
    flow.request.content = b"another body"


def _no_body(flow: http.HTTPFlow) -> None:
    flow.request.content = b""


def _query(flow: http.HTTPFlow) -> None:
    flow.request.query["x"] = "y"


def _same(flow: http.HTTPFlow) -> None:
    flow.request.headers["host"] = flow.request.headers["host"]
    flow.request.path = str(flow.request.path)


@pytest.mark.parametrize("name", ["requestheaders", "request"])
@pytest.mark.parametrize("change", [_method, _path, _fields, _host, _query, _same])
async def test_a_changed_request(name: str, change: Callable[[http.HTTPFlow], None]) -> None:
    await both(addon(**{name: change}), [GET, POST, CHUNKED, UPLOAD])


@pytest.mark.parametrize("change", [_body, _no_body])
async def test_a_changed_request_body(change: Callable[[http.HTTPFlow], None]) -> None:
    fast, _ = await both(addon(request=change), [GET, POST, CHUNKED, UPLOAD])
    assert {seen.request.body for seen in fast.seen} == {b"another body" if change is _body else b""}


def _status(flow: http.HTTPFlow) -> None:
    assert flow.response
    flow.response.status_code = 299
    flow.response.reason = "Changed"


def _response_fields(flow: http.HTTPFlow) -> None:
    assert flow.response
    flow.response.headers["X-New"] = "1"
    flow.response.headers.pop("content-type", None)


def _response_body(flow: http.HTTPFlow) -> None:
    assert flow.response
    flow.response.content = b"" if flow.request.method == "HEAD" else b"another body"


def _another_response(flow: http.HTTPFlow) -> None:
    flow.response = http.Response.make(418, b"" if flow.request.method == "HEAD" else b"teapot")


_ANSWERS = [
    *(GET, POST, HEAD, _request(b"GET /chunked"), _request(b"GET /large"), _request(b"GET /last")),
    *(_request(b"GET /until-close"), GET),
]


@pytest.mark.parametrize("name", ["responseheaders", "response"])
@pytest.mark.parametrize("change", [_status, _response_fields])
async def test_a_changed_answer(name: str, change: Callable[[http.HTTPFlow], None]) -> None:
    await both(addon(**{name: change}), _ANSWERS)


@pytest.mark.parametrize("change", [_response_body, _another_response])
async def test_a_changed_answer_body(change: Callable[[http.HTTPFlow], None]) -> None:
    await both(addon(response=change), _ANSWERS)


# --- that stream


def _stream_request(stream: Any) -> AddOns:
    def hook(flow: http.HTTPFlow) -> None:
        flow.request.stream = stream

    return addon(requestheaders=hook)


def _stream_response(stream: Any) -> AddOns:
    def hook(flow: http.HTTPFlow) -> None:
        assert flow.response
        flow.response.stream = stream

    return addon(responseheaders=hook)


def _upper(data: bytes) -> bytes:
    return data.upper()


def _in_pieces(data: bytes) -> list[bytes]:
    return [data[:1].upper(), data[1:].upper()] if data else []


def _with_an_end(data: bytes) -> bytes:
    return data or b"the end"


@pytest.mark.parametrize("stream", [True, _upper])
async def test_a_streamed_request(stream: Any) -> None:
    fast, _ = await both(_stream_request(stream), [POST, CHUNKED, UPLOAD, GET])
    assert next(seen.request.body for seen in fast.seen) == (b"hello" if stream is True else b"HELLO")


@pytest.mark.parametrize("stream", [True, _upper])
async def test_a_streamed_answer(stream: Any) -> None:
    fast, _ = await both(_stream_response(stream), _ANSWERS)
    assert fast.answers[3]
    assert fast.answers[3].body == (b"hello world" if stream is True else b"HELLO WORLD")


@pytest.mark.parametrize("stream", [_in_pieces, _with_an_end])
async def test_streams_of_another_length(stream: Any) -> None:
    """Where the length is not told before, a function may give whatever it likes."""
    fast, _ = await both(_stream_request(stream), [CHUNKED, GET])
    sent = fast.seen[0].request.body
    fast, _ = await both(_stream_response(stream), [_request(b"GET /chunked"), _request(b"GET /until-close"), GET])
    assert fast.answers[0]
    if stream is _with_an_end:
        assert sent == fast.answers[0].body == b"hello worldthe end"
    else:
        assert sent.lower() == fast.answers[0].body.lower() == b"hello world"


async def test_a_streamed_request_whose_hook_waits() -> None:
    async def later(flow: http.HTTPFlow) -> None:
        await asyncio.sleep(0.001)
        flow.request.stream = _upper

    await both(addon(requestheaders=later), [POST, CHUNKED, UPLOAD, GET])


def _stream(flow: http.HTTPFlow) -> None:
    flow.request.stream = True


@pytest.mark.parametrize("name", ["responseheaders", "response"])
async def test_killed_while_it_streams(name: str) -> None:
    hooks: dict[str, Callable[[http.HTTPFlow], Any]] = {"requestheaders": _stream, name: lambda flow: flow.kill()}
    await both(addon(**hooks), [POST, CHUNKED])


async def test_killed_when_all_but_the_end_has_been_streamed() -> None:
    """The one difference there is: mitmproxy goes on to the answer, though the flow is killed."""
    made = addon(requestheaders=_stream, request=lambda flow: flow.kill())
    fast, full = [await converse(lane, made, [CHUNKED, GET], SCRIPTS) for lane in LANES]
    assert [name for name, number, _ in fast.watcher.calls if not number] == ["requestheaders", "request", "error"]
    assert fast.answers == [None, None]
    assert [seen.request.target for seen in fast.seen] == []
    assert [seen.request.target for seen in full.seen] == [b"/c"]


# --- together


async def test_many_of_them_at_once() -> None:
    async def slow(_: http.HTTPFlow) -> None:
        await asyncio.sleep(0)

    def some(_port: int, _other: int) -> Sequence[Any]:
        return [
            *addon(request=_fields, response=_response_fields)(0, 0),
            ModifyBody(),
            *addon(requestheaders=_fail, responseheaders=slow)(0, 0),
            StickyCookie(),
        ]

    await both(some, modify_body=["/hello/good bye"], stickycookie=".*")
