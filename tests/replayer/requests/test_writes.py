"""Requests that change things are sent only where the plan names their route."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.templates import template
from replayer.requests.encoding import Encoder, Request
from replayer.requests.rewriting import PathRule, Rewriting
from replayer.requests.writes import READING, SAFE_METHODS, RoutePattern, Writes
from tests.support.recording import record


@pytest.mark.parametrize(
    ("route", "path", "allowed"),
    [
        ("POST /cart", "/cart", True),
        ("post /cart", "/cart", True),
        ("POST /cart", "/cart?x=1", True),
        ("POST /cart", "/cart/", False),
        ("POST /cart", "/cart/7", False),
        ("POST /cart", "/CART", False),
        ("PUT /cart", "/cart", False),
        ("POST /cart/{id}", "/cart/17", True),
        ("POST /cart/{id}", "/cart/%31%37", True),
        ("POST /cart/{id}", "/cart/checkout", False),  # no accident: it does not look like an id
        ("POST /cart/{id}", "/cart/17/pay", False),
        ("POST /cart/{id}/items/{id}", "/cart/17/items/3", True),
        ("POST /days/{date}/{id}", "/days/2026-11-22/5", True),
        ("POST /orders/2026/{id}", "/orders/2026/17", True),
        ("POST /orders/2026/{id}", "/orders/2025/17", False),
        ("POST /files/{id}.json", "/files/17.json", True),
        ("POST /user/*", "/user/alice", True),
        ("POST /user/{slug}", "/user/alice", True),
        ("POST /user/*", "/user/", False),
        ("POST /user/*", "/user/alice/pay", False),
        ("POST /v*/cart", "/v2/cart", True),
        ("POST /v*/cart", "/v2/x/cart", False),
        ("POST /api/**", "/api/a/b", True),
        ("POST /api/**", "/api/", True),
        ("POST /api/**", "/api", False),
        ("POST /api/{rest}", "/api/a/b", True),
        ("POST /**", "/a/b", True),
        ("POST *", "/a/../b", True),
        # What a server may take for another path is not what was allowed.
        ("POST /api/**", "/api/../orders", False),
        ("POST /api/**", "/api/%2E%2e/orders", False),
        ("POST /api/**", "/api/..%2forders", False),
        ("POST /api/**", "/api/..;x/orders", False),
        ("POST /api/*", "/api/..\\orders", False),
        ("POST /api/**", "//api/orders", False),
        ("POST /*/cart", "//cart", False),
        ("POST /api/**", "*", False),
        ("POST /api/**", "", False),
    ],
)
def test_routes(route: str, path: str, allowed: bool) -> None:
    writes = Writes([route])
    assert [writes.allow("POST", path), writes.allow("POST", path)] == [allowed, allowed]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("POST", "write a method and a path"),
        ("/cart", "write a method and a path"),
        ("POST cart", "write a method and a path"),
        ("* /cart", "write a method and a path"),
        ("P@ST /cart", "write a method and a path"),
        ("GET /cart", "GET only reads; --methods says"),
        ("CONNECT *", "never replayed"),
        ("POST /cart?x=1", "without its query"),
        ("POST /a b", "without its query"),
        ("POST /cart/{cartId}", r"\{cartId\} is none of \{id\}, .*; write \* for any one part"),
        ("POST /cart/{id", r"\{id is none of"),
        ("POST /**/x", "as the last part"),
        ("POST /a**", "as the last part"),
    ],
)
def test_mistakes(text: str, part: str) -> None:
    with pytest.raises(ValueError, match=part):
        RoutePattern.parse(text)


def encode(writes: list[str], rewriting: Rewriting | None = None, **fields: Any) -> Request | str:
    return Encoder("run", SAFE_METHODS, "h", rewriting=rewriting or Rewriting(), writes=Writes(writes)).encode(
        record(**fields)
    )


def test_only_what_is_allowed_is_sent() -> None:
    assert isinstance(encode(["POST /cart"], method="POST", path="/cart", body=b"x"), Request)
    assert encode(["POST /cart"], method="POST", path="/orders", body=b"x") == "unsafe"
    assert encode(["POST *"], method="DELETE", path="/cart") == "unsafe"
    assert encode(["POST *"], method="CONNECT", path="/cart") == "connect"
    assert isinstance(encode([], path="/orders"), Request)


def test_what_is_sent_has_to_be_allowed_and_not_what_was_recorded() -> None:
    moved = Rewriting(paths=(PathRule.parse("^/cart => /orders"),))
    assert encode(["POST /cart"], moved, method="POST", path="/cart") == "unsafe"
    assert isinstance(encode(["POST /orders"], moved, method="POST", path="/cart"), Request)


def test_a_method_in_disguise_has_to_be_allowed_too() -> None:
    for name in (b"X-HTTP-Method-Override", b"x_http_method_override", b"X-Method-Override"):
        fields: dict[str, Any] = {"method": "POST", "path": "/cart", "headers": [(name, b"delete")]}
        assert encode(["POST /cart"], **fields) == "unsafe"
        allowed = encode(["POST /cart", "DELETE /cart"], **fields)
        assert isinstance(allowed, Request)
        assert name + b": delete\r\n" in allowed.prefix
        assert encode([], path="/cart", headers=[(name, b"POST")]) == "unsafe"
    search: dict[str, Any] = {"method": "POST", "path": "/search", "headers": [(b"X-HTTP-Method-Override", b"GET")]}
    assert encode([], **search) == "unsafe"
    assert isinstance(encode(["POST /search"], **search), Request)


paths = st.lists(
    st.sampled_from(["cart", "orders", "17", "..", "a-b", "%2e%2e", "", "x.json", "2026-11-22", "é"]), max_size=5
).map(lambda parts: "/" + "/".join(parts))


@given(paths, st.sampled_from(["POST", "PUT", "DELETE", "PATCH"]))
def test_a_path_is_allowed_by_its_own_template_unless_it_is_a_trick(path: str, method: str) -> None:
    writes = Writes([f"{method} {template(path)}"])
    assert writes.allow(method, path) == (".." not in path.split("/") and "%2e" not in path)
    assert not Writes([f"{method} /elsewhere{template(path)}"]).allow(method, path)


@given(paths, st.text(max_size=8))
def test_without_a_route_nothing_that_writes_is_sent(path: str, method: str) -> None:
    outcome = encode([], method=method, path=path)
    if method not in SAFE_METHODS:
        assert outcome in ("unsafe", "connect")


def test_the_safe_ones_only_read() -> None:
    assert set(SAFE_METHODS) <= READING
