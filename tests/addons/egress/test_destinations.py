"""Where calls go, and which tunnels are looked into."""

import pytest

from addons.egress.destinations import Destinations


def test_a_name_goes_where_the_map_says() -> None:
    made = Destinations(
        ["payments=http://10.0.0.7:8080", "Users.Internal = https://users.example/", "six:81=http://[::1]"]
    )
    assert made.target("PAYMENTS", 80) == made.target("payments", 443) == ("http", "10.0.0.7", 8080)
    assert made.target("users.internal", 80) == ("https", "users.example", 443)
    assert made.target("six", 81) == ("http", "::1", 80)
    assert made.target("six", 80) is made.target("users.example", 443) is None
    assert [(one.authority, one.is_address) for one in made.targets] == [
        *(("10.0.0.7:8080", True), ("users.example", False), ("[::1]", True))
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("", "payments", "=http://x", "payments=", "payments=10.0.0.7:8080", "payments=ftp://x", "payments=http://"),
        *("payments=http://x/path", "payments=http://u:p@x", "payments=http://x?q", "payments=http://x:99999"),
        *("pay ments=http://x", "http://payments=http://x"),
    ],
)
def test_a_map_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it like payments=http"):
        Destinations([text])


def test_a_name_stands_in_the_map_once() -> None:
    with pytest.raises(ValueError, match="x stands there twice"):
        Destinations(["x=http://a", "X=http://b"])


@pytest.mark.parametrize(
    ("patterns", "looked_into"),
    [
        ([], []),
        (["*"], ["api.stripe.com:443", "10.0.0.7:443", "localhost:50051"]),
        (["api.stripe.com"], ["api.stripe.com:443"]),
        (["*.stripe.com", "localhost:50051"], ["api.stripe.com:443", "localhost:50051"]),
        (["*.STRIPE.com:444"], []),
        (["10.0.0.*"], ["10.0.0.7:443"]),
    ],
)
def test_tunnels_are_looked_into_as_chosen(patterns: list[str], looked_into: list[str]) -> None:
    made = Destinations([], patterns)
    hosts = [("api.stripe.com", 443), ("10.0.0.7", 443), ("localhost", 50051), ("stripe.com.evil.example", 443)]
    found = [f"{host}:{port}" for host, port in hosts if made.looks_into(host, port)]
    assert found == ([*looked_into, "stripe.com.evil.example:443"] if patterns == ["*"] else looked_into)


@pytest.mark.parametrize("pattern", ["", "a b", "https://x", "x/y", "a" * 300])
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="no pattern of hosts"):
        Destinations([], [pattern])
