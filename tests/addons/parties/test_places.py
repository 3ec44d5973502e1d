"""Hosts and paths: whoever names the same host another way means the same host."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.parties.places import DEFAULT, OURS, Glob, Hosts, Place, host, inside_pattern, path
from rules.units import UnitError

USUAL = Hosts(OURS)


@pytest.mark.parametrize(
    "name",
    [
        *("payments", "localhost", "LOCALHOST", "localhost.", "a.localhost", "db.local", "payments.shop.svc"),
        *("payments.shop.svc.cluster.local.", "x.internal", "127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "0177.1"),
        *("10.2.3.4", "172.31.0.1", "192.168.1.1", "[::1]", "::1", "::ffff:10.0.0.1", "fd00::1", "fe80::1%eth0"),
    ],
)
def test_what_can_not_be_reached_from_elsewhere_is_inside(name: str) -> None:
    assert USUAL.fits(name)


@pytest.mark.parametrize(
    "name",
    [
        *("api.stripe.com", "api.stripe.com.", "com.", "local", "x.local.com", "notlocal", "internal.example.com"),
        *("8.8.8.8", "134744072", "0x8.8.8.8", "172.32.0.1", "::ffff:8.8.8.8", "2001:db8::1", "1.2.3.4.5", "256.1.1.1"),
        *("", "a b", "a/b", "a\x00", "*", "a..b", "x" * 254, "99999999999", "0x", "127.0.0.1 evil.com", "-", "xn--"),
    ],
)
def test_everything_else_is_outside_however_it_is_written(name: str) -> None:
    """A number without a dot is an address to the C library, and `com.` a top-level domain."""
    assert USUAL.fits(name) is (name in ("local", "notlocal"))  # which have no dot


@given(st.text(max_size=80) | st.ip_addresses().map(str))
def test_no_host_makes_it_raise(name: str) -> None:
    found = host(name)
    assert found is None or USUAL.fits(name) in (True, False)
    if isinstance(found, str):
        assert host(found) == found  # compared as it stands
        assert USUAL.fits(name.upper()) == USUAL.fits(name) or not name.isascii()


@given(st.ip_addresses(v=4))
def test_all_notations_of_an_address_are_one(address: object) -> None:
    number = int(address)  # type: ignore[call-overload]
    ways = [str(number), hex(number), f"{number >> 24}.{number & 0xFFFFFF}", f"::ffff:{address}", f"0{number:o}"]
    assert {host(way) for way in ways} == {host(str(address))}


@pytest.mark.parametrize(
    ("pattern", "fits", "not_"),
    [
        (
            "api.stripe.com",
            ["api.stripe.com", "API.Stripe.com."],
            ["stripe.com", "xapi.stripe.com", "api.stripe.com.x"],
        ),
        (
            "*.sendgrid.net",
            ["a.sendgrid.net", "a.b.sendgrid.net"],
            ["sendgrid.net", "asendgrid.net", "a.sendgrid.net.x"],
        ),
        ("api-*.x.com", ["api-eu.x.com", "api-1-2.x.com"], ["api-a.b.x.com", "api.x.com"]),
        ("müller.de", ["xn--mller-kva.de", "MÜLLER.de"], ["muller.de"]),
        ("10.1.2.3", ["10.1.2.3", "::ffff:10.1.2.3"], ["10.1.2.30", "x10.1.2.3"]),
        ("[::1]", ["::1", "[0:0:0:0:0:0:0:1]"], ["127.0.0.1"]),
        ("*", ["anything.at.all", "8.8.8.8", "x"], [""]),
    ],
)
def test_patterns(pattern: str, fits: list[str], not_: list[str]) -> None:
    hosts = Hosts([Place.parse(pattern).host])
    assert [name for name in fits + not_ if hosts.fits(name)] == fits


def test_inside_is_said_by_names_networks_and_default() -> None:
    hosts = Hosts([*inside_pattern("*.shop.example"), *inside_pattern("10.0.0.0/8"), *inside_pattern("db.example")])
    assert [hosts.fits(name) for name in ("a.shop.example", "10.9.9.9", "db.example", "payments", "127.0.0.1")] == [
        *(True, True, True),
        *(False, False),
    ]
    assert inside_pattern(DEFAULT) == OURS


@pytest.mark.parametrize("pattern", ["*", "10.0.0.1/8", "a.com/b", "a.com:80", "https://a.com", "", "*.1", "a b"])
def test_what_is_no_pattern_of_the_inside_is_told(pattern: str) -> None:
    with pytest.raises(UnitError):
        inside_pattern(pattern)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://api.stripe.com", "leave out http"),
        ("api.stripe.com/v1?x=1", "end it before"),
        ("api.stripe.com/", "api.stripe.com/*"),
        ("api.stripe.com/a/../b", "decoded"),
        ("api.stripe.com/a%20b", "decoded"),
        ("api.stripe.com:0/x", "names no host"),
        ("api.stripe.com:http", "names no host"),
        ("/v1/charges", "names no host"),
        ("*.*.1", "names no host"),
        ("a_b c.com", "names no host"),
        ("", "names no host"),
    ],
)
def test_what_is_no_place_is_told(text: str, words: str) -> None:
    with pytest.raises(UnitError, match=re.escape(words)):
        Place.parse(text)


@pytest.mark.parametrize("text", ["api.stripe.com", "*.x.com:8443/v1/*", "[::1]:80/x", "127.0.0.1/a b/ü"])
def test_a_place_is_printed_as_it_is_read(text: str) -> None:
    assert str(Place.parse(text)) == text
    assert Place.parse(str(Place.parse(text))) == Place.parse(text)


@given(st.text("ab*", max_size=12), st.text("ab", max_size=20))
def test_a_glob_is_what_the_expression_is(pattern: str, text: str) -> None:
    expression = ".*".join(map(re.escape, pattern.split("*")))
    assert Glob(pattern).fits(text) == bool(re.fullmatch(expression, text))


def test_no_text_makes_a_glob_slow() -> None:
    """An expression would try some 10^30 ways here."""
    assert not Glob("a*" * 30 + "b").fits("a" * 50_000)


@pytest.mark.parametrize(
    ("target", "text", "plain"),
    [
        ("/v1/charges?amount=1", "/v1/charges", True),
        ("/v1/%63harges", "/v1/charges", True),
        ("/a%20b/", "/a b/", True),
        ("/ü", "/ü", True),
        ("/v1/../charges", "/v1/../charges", False),
        ("/v1/%2e%2e/charges", "/v1/../charges", False),
        ("/v1//charges", "/v1//charges", False),
        ("/v1%2fcharges", "/v1/charges", False),
        ("/v1%252fcharges", "/v1%2fcharges", False),
        ("/v1\\charges", "/v1\\charges", False),
        ("/v1;x/charges", "/v1;x/charges", False),
        ("/v1/charges%00", "/v1/charges\x00", False),
        ("*", "*", False),
        ("", "", False),
    ],
)
def test_paths_that_servers_may_understand_in_two_ways_are_known(target: str, text: str, plain: bool) -> None:
    assert path(target) == (text, plain)


@given(st.text(max_size=100))
def test_no_path_makes_it_raise(target: str) -> None:
    path(target)
