"""A plugin changes requests or leaves them out; it can't break one, move one, free one, or end a run."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.records import Record
from loadtag import headers
from replayer.plugins import MOST_TOLD, Hook, Plugin, PluginRequest, load
from replayer.requests.encoding import Encoder, Request, Skip
from replayer.requests.fields import Names
from replayer.requests.hooking import PluginEncoder
from replayer.requests.rewriting import PathRule, Rewriting
from replayer.requests.writes import SAFE_METHODS, Writes
from rules.exits import UserError
from tests.support.recording import record

TOKEN = b"v1.key.run.1.shop.signature"
Spoil = Callable[[PluginRequest], Any]


def encoder(plugin: Plugin, **options: Any) -> PluginEncoder:
    return PluginEncoder("run", SAFE_METHODS, "target:80", Hook(plugin, "mod:it"), **options)


def encode(plugin: Plugin, item: Record | None = None, **options: Any) -> Request | Skip:
    return encoder(plugin, **options).encode(item or record())


def written(request: Request | Skip) -> bytes:
    assert isinstance(request, Request), request
    return request.prefix + TOKEN + request.tail


def same(request: PluginRequest) -> PluginRequest:
    return request


# --- what it sees and what it can do ---


def test_a_plugin_that_changes_nothing_changes_nothing() -> None:
    item = record(
        path="/a?b=1",
        headers=[(b"Accept", b"*/*"), (b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"baggage", b"u=1"), (b"X-Id", b"7")],
    )
    plain = Encoder("run", SAFE_METHODS, "target:80")
    assert written(encode(same, item)) == written(plain.encode(item))
    assert written(encode(lambda request: request.changed(), item)) == written(plain.encode(item))


def test_it_sees_what_would_be_sent() -> None:
    seen: list[PluginRequest] = []

    def see(request: PluginRequest) -> PluginRequest:
        seen.append(request)
        return request

    item = record(
        path="/v1/a",
        body=b"{}",
        headers=[
            *((b"accept", b"*/*"), (b"Host", b"h"), (b"Content-Length", b"2"), (b"Connection", b"close, x-hop")),
            *((b"X-Hop", b"1"), (b"traceparent", b"t"), (b"X-Gone", b"1"), (b"baggage", b"u=1")),
        ],
    )
    rewriting = Rewriting(((b"X-Set", b"1"),), Names(["x-gone"]), paths=(PathRule.parse("^/v1 => /v2"),))
    encode(see, item, rewriting=rewriting)
    assert seen == [
        PluginRequest("GET", "/v2/a", "target:80", ((b"accept", b"*/*"), (b"baggage", b"u=1"), (b"X-Set", b"1")), b"{}")
    ]


def test_it_can_change_everything_of_a_request() -> None:
    def change(_: PluginRequest) -> PluginRequest:
        return PluginRequest("OPTIONS", "/other?x", "shop.test", ((b"traceparent", b"own"), (b"A", b"1")), b"body")

    assert written(encode(change, rewriting=Rewriting(removed=Names(["a"])))) == (
        b"OPTIONS /other?x HTTP/1.1\r\nHost: shop.test\r\ntraceparent: own\r\nA: 1\r\nContent-Length: 4\r\n"
        b"baggage: loadtest=" + TOKEN + b"\r\nx-load-test: run\r\n\r\nbody"
    )


def test_helpers() -> None:
    request = PluginRequest("GET", "/", "h", ((b"Accept", b"a"), (b"X", b"1"), (b"accept", b"b")))
    assert request.header("ACCEPT") == b"a"
    assert request.header("none") is None
    assert request.with_header("accept", "ü").headers == ((b"X", b"1"), (b"accept", "ü".encode()))
    assert request.without_header("accept").headers == ((b"X", b"1"),)
    assert request.changed(path="/b") == PluginRequest("GET", "/b", "h", request.headers)
    with pytest.raises(AttributeError):
        request.path = "/x"  # type: ignore[misc]


def test_none_leaves_a_request_out_and_is_counted_under_its_own_name() -> None:
    assert encode(lambda _: None) == "plugin"


def test_its_keys_are_renewed_for_every_copy() -> None:
    request = encode(lambda request: request.with_header("Idempotency-Key", "mine"))
    assert isinstance(request, Request)
    assert b"mine" not in request.prefix
    assert request.another().prefix != request.prefix


@pytest.mark.parametrize("plugin", [same, lambda request: request.changed(path="/b")])
def test_what_it_gave_is_offered_for_comparison_as_any_other(plugin: Plugin) -> None:
    offered: list[Request] = []
    found = encoder(plugin)
    found.offer = offered.append
    request = found.encode(record())
    assert isinstance(request, Request)
    assert offered == [request]


# --- what it can not do ---


def test_a_write_has_to_be_allowed_as_it_is_sent() -> None:
    post: Plugin = lambda request: request.changed(method="POST", path="/orders")  # noqa: E731
    assert encode(post) == "unsafe"
    assert isinstance(encode(post, writes=Writes(["POST /orders"])), Request)
    assert encode(lambda request: request.changed(method="CONNECT", path="shop:443")) == "connect"
    read: Plugin = lambda request: request.changed(method="GET")  # noqa: E731
    assert isinstance(encode(read, record(method="POST")), Request)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (record(headers=[(b"baggage", b"loadtest=v1.a.b.1.c.d")]), "tagged"),
        (record(headers=[(b"X-Load-Test", b"r")]), "tagged"),
        (record(method="CONNECT"), "connect"),
        (record(headers=[(b"upgrade", b"websocket")]), "upgrade"),
        (record(body=b"half", body_size=8), "truncated"),
        (record(headers=[(b"a b", b"1")]), "malformed"),
    ],
)
def test_it_is_not_asked_about_what_can_not_be_replayed(item: Record, reason: str) -> None:
    def never(_: PluginRequest) -> PluginRequest:
        raise AssertionError

    found = encoder(never)
    assert found.encode(item) == reason
    assert found.reasons == {}


def test_it_sees_no_offer_to_upgrade_and_trailers_stay_understood() -> None:
    seen = []

    def change(request: PluginRequest) -> PluginRequest:
        seen.append(request.headers)
        return request.with_header("X-New", "1")

    offer = [(b"Upgrade", b"h2c"), (b"Connection", b"upgrade"), (b"TE", b"trailers"), (b"accept", b"*/*")]
    request = encode(change, record(headers=offer))
    assert isinstance(request, Request)
    assert request.trailers
    plain = encode(change, record(headers=[(b"te", b"gzip"), (b"accept", b"*/*")]))
    assert isinstance(plain, Request)
    assert not plain.trailers
    assert seen == [((b"accept", b"*/*"),)] * 2


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda r: r.changed(path="/a b"), "can't be written as one"),
        (lambda r: r.changed(path="/a\r\nX: 1"), "can't be written as one"),
        (lambda r: r.changed(path=""), "can't be written as one"),
        (lambda r: r.changed(path="http://evil/"), "can't be written as one"),
        (lambda r: r.changed(authority="a\r\nX: 1"), "can't be written as one"),
        (lambda r: r.changed(authority="a/b"), "can't be written as one"),
        (lambda r: r.with_header("X", "1\r\nHost: evil"), "can't be written as one"),
        (lambda r: r.with_header("X: 1\r\nY", "1"), "can't be written as one"),
        (lambda r: r.with_header("X", b"\0"), "can't be written as one"),
        (lambda r: r.with_header("baggage", "loadtest=v1.a.b.1.c.d"), "bears a load tag"),
        (lambda r: r.with_header("x_load_test", "run"), "bears a load tag"),
        (lambda r: r.with_header("Upgrade", "websocket"), "switch to another protocol"),
        (lambda r: r.changed(path="/\ud800"), "path holds what is no text"),
        (lambda r: r.changed(path=b"/"), "path is bytes and not str"),
        (lambda r: r.changed(method=1), "method is int"),
        (lambda r: r.changed(body="text"), "body is str and not bytes"),
        (lambda r: r.changed(headers=[(b"a", b"b")]), "not a tuple of pairs of bytes"),
        (lambda r: r.changed(headers=(("a", "b"),)), "not a tuple of pairs of bytes"),
        (lambda r: r.changed(headers=(b"ab",)), "not a tuple of pairs of bytes"),
        (lambda r: r.changed(wrong=1), "TypeError: "),
        (lambda _: "GET /", "it gave str, which is neither"),
        (lambda _: 1 / 0, "ZeroDivisionError: division by zero (test_plugins.py:"),
        (lambda _: sys.exit(3), "SystemExit: 3 (test_plugins.py:"),
    ],
)
def test_what_can_not_be_sent_is_told_and_counted(spoil: Spoil, told: str) -> None:
    found = encoder(spoil)
    assert [found.encode(record()), found.encode(record())] == ["plugin-error", "plugin-error"]
    (words,) = found.news()
    assert words.startswith("mod:it: ")
    assert told in words
    assert found.news() == []
    assert found.reasons == {"plugin-error": f"{words} (2 times)"}
    found.forget()
    assert found.reasons == {}


def test_framing_is_left_to_the_sender() -> None:
    def frame(request: PluginRequest) -> PluginRequest:
        for name, value in (("Content-Length", "99"), ("Transfer-Encoding", "chunked"), ("Host", "evil"), ("TE", "x")):
            request = request.with_header(name, value)
        return request.with_header("X", "1").with_header("Connection", "x")

    assert written(encode(frame)) == (
        b"GET / HTTP/1.1\r\nHost: target:80\r\naccept: */*\r\n"
        b"baggage: loadtest=" + TOKEN + b"\r\nx-load-test: run\r\n\r\n"
    )


def test_failures_of_many_kinds_are_bounded() -> None:
    numbers = iter(range(10_000))

    def fail(_: PluginRequest) -> PluginRequest:
        raise ValueError(next(numbers))

    found = encoder(fail)
    for _ in range(1000):
        found.encode(record())
    assert len(found.news()) == MOST_TOLD + 1
    assert "others (980 times)" in found.reasons["plugin-error"]


def test_what_it_takes_is_measured_where_somebody_asks() -> None:
    ticks = iter(range(1000))
    hook = Hook(lambda request: None if request.path == "/no" else request)
    request = PluginRequest("GET", "/", "h")
    with hook.timed(lambda: float(next(ticks))) as took:
        assert hook(request) is request
        assert hook(request.changed(path="/no")) == "plugin"
    assert took == [1.0, 1.0]
    assert hook(request) is request
    assert (len(took), next(ticks)) == (2, 4)


texts = st.one_of(st.text(max_size=8), st.sampled_from(["GET", "POST", "/", "/a", "*", "h", "a\r\nb: c"]))
fields = st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=12)), max_size=4).map(tuple)


@given(texts, texts, texts, fields, st.binary(max_size=8))
def test_whatever_it_gives_is_one_tagged_request_or_none(
    method: str, path: str, authority: str, given_fields: tuple[tuple[bytes, bytes], ...], body: bytes
) -> None:
    outcome = encode(lambda _: PluginRequest(method, path, authority, given_fields, body))
    if isinstance(outcome, str):
        assert outcome in ("plugin-error", "unsafe", "connect")
        return
    head, _, rest = written(outcome).partition(b"\r\n\r\n")
    assert rest == body
    line, *lines = head.split(b"\r\n")
    assert line.split(b" ")[0].decode() in SAFE_METHODS
    assert line.count(b" ") == 2
    pairs = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    assert [name.lower() for name, _ in pairs].count(b"host") == 1
    found = headers.find(pairs)
    assert found is not None
    assert found.token == TOKEN.decode()


# --- loading ---


def test_the_plugin_in_the_document_does_what_it_says() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs/replay.md").read_text()
    (source,) = re.findall(r"```python\n(# shop_plugin.*?)```", text, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(source, scope)
    assert encode(scope["newest"], record(path="/admin/users")) == "plugin"
    assert b"\r\nX-Api-Version: 2\r\n" in written(encode(scope["newest"], record(path="/")))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder of its own, from which modules are imported, and forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("own_plugin", "broken_plugin"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_a_plugin_of_the_current_folder_is_found(folder: Path) -> None:
    (folder / "own_plugin.py").write_text(
        "class Shop:\n    @staticmethod\n    def newest(request):\n        return request.with_header('X-New', '2')\n"
    )
    assert b"X-New: 2\r\n" in written(encode(load("own_plugin:Shop.newest")))


@pytest.mark.parametrize(
    ("source", "name", "told"),
    [
        ("", "own_plugin:it", "own_plugin has no it"),
        ("it = 3", "own_plugin:it", "it is no function but int"),
        ("async def it(request): ...", "own_plugin:it", "no async"),
        ("def it(request): yield request", "own_plugin:it", "no async and no yield"),
        ("def it(): ...", "own_plugin:it", "it has to take one argument"),
        ("def it(a, b): ...", "own_plugin:it", "it has to take one argument"),
        (
            "1 / 0",
            "own_plugin:it",
            "own_plugin can't be imported: ZeroDivisionError: division by zero (own_plugin.py:1)",
        ),
        ("def it(", "own_plugin:it", "own_plugin can't be imported: SyntaxError"),
        ("raise SystemExit", "own_plugin:it", "own_plugin can't be imported: SystemExit"),
        ("", "no_such_plugin:it", "ModuleNotFoundError: No module named 'no_such_plugin' (in the current folder"),
    ],
)
def test_what_can_not_be_loaded_is_told(folder: Path, source: str, name: str, told: str) -> None:
    (folder / "own_plugin.py").write_text(source)
    with pytest.raises(UserError) as error:
        load(name)
    assert f"--plugin {name}: " in str(error.value)
    assert told in str(error.value)
