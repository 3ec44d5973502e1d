"""Where the tag may go."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtag import goes_to, keep_inside


@pytest.fixture(autouse=True)
def everywhere() -> Iterator[None]:
    keep_inside()
    yield
    keep_inside()


def test_it_goes_everywhere_unless_told_otherwise() -> None:
    assert goes_to("api.stripe.com")
    assert goes_to(None)


@pytest.mark.parametrize(
    "host",
    [
        "orders.internal",
        "ORDERS.Internal.",
        "orders.internal:8080",
        "http://orders.internal",
        "https://user:pass@orders.internal:8443/path?x=https://api.stripe.com/#y",
        "payments",
        "payments:80",
        b"payments:80",
        "10.1.2.3",
        "10.1.2.3:443",
        "http://10.1.2.3/",
        "[fd00::1]:50051",
        "fd00::1",
        "http://[fd00::1]/",
        "[::1]",
        None,
    ],
)
def test_hosts_inside(host: str) -> None:
    keep_inside("*.internal", "payments", "10.0.0.0/8", "fd00::/8", "[::1]")
    assert goes_to(host)


@pytest.mark.parametrize(
    "host",
    [
        "api.stripe.com",
        "internal",
        "orders.internal.example.com",
        "http://orders.internal@api.stripe.com/",
        "https://api.stripe.com/?to=orders.internal",
        "https://api.stripe.com#.internal",
        "api.stripe.com/?to=http://orders.internal/",
        "https://api.stripe.com\\.internal",
        "payments.example.com",
        "xpayments",
        "11.0.0.1",
        "10.0.0.1.example.com",
        "[fe80::1]",
        "",
    ],
)
def test_hosts_outside(host: str) -> None:
    keep_inside("*.internal", "payments", "10.0.0.0/8", "fd00::/8")
    assert not goes_to(host)


@pytest.mark.parametrize("pattern", ["", "a b", "http://x", "10.0.0.0/33", "x/y", "user@host"])
def test_patterns_that_are_none_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        keep_inside("orders", pattern)
    assert goes_to("anywhere.com")


@given(st.text())
def test_no_host_however_strange_raises(host: str) -> None:
    keep_inside("*.internal", "10.0.0.0/8")
    try:
        assert goes_to(host) in {True, False}
    finally:
        keep_inside()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("*.internal, localhost", [True, False]),
        ("  *.internal\n", [True, False]),
        ("", [True, True]),
        ("*.internal 10.0.0.0/99", [False, False]),
    ],
)
def test_the_environment_tells_too_and_never_breaks_the_app(value: str, expected: list[bool]) -> None:
    code = "import json, loadtag; print(json.dumps([loadtag.goes_to(h) for h in ('a.internal', 'api.stripe.com')]))"
    environment = os.environ | {"LOADTAG_INSIDE": value}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, timeout=50)
    assert json.loads(done.stdout) == expected
    assert (b"LOADTAG_INSIDE" in done.stderr) is (expected == [False, False])
