import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.bodies import DEFAULT, BodyPolicy
from captures.records import Headers

LIMIT = 64 << 10


def of(kind: str | None) -> Headers:
    host = ((b"Host", b"shop.example"),)
    return host if kind is None else (*host, (b"Content-Type", kind.encode()))


@pytest.mark.parametrize(
    ("rules", "kind", "kept"),
    [
        (DEFAULT, "image/png", 0),
        (DEFAULT, "IMAGE/PNG; q=1", 0),
        (DEFAULT, "application/json", LIMIT),
        (DEFAULT, None, LIMIT),
        ("application/json=1KiB, *=drop", "application/json; charset=utf-8", 1024),
        ("application/json=1KiB, *=drop", "text/plain", 0),
        ("application/json=1KiB, *=drop", None, 0),
        ("application/json=1MiB", "application/json", 1 << 20),
        ("application/*+json=drop,application/*=keep", "application/problem+json", 0),
        ("application/*+json=drop,application/*=keep", "application/xml", LIMIT),
        ("multipart/*=4KiB", "multipart/form-data; boundary=x", 4096),
        ("", "image/png", LIMIT),
    ],
)
def test_the_first_rule_that_fits_decides(rules: str, kind: str | None, kept: int) -> None:
    policy = BodyPolicy.parse(rules, LIMIT)
    assert [policy.keeps(of(kind)) for _ in range(2)] == [kept, kept]


def test_a_policy_prints_as_it_is_written() -> None:
    text = "image/*=drop, application/json=4KiB, *=keep"
    assert str(BodyPolicy.parse(text, LIMIT)) == text


@pytest.mark.parametrize("text", ["image/*", "=drop", "image/*=", "image/*=64", "a b=drop", "json/=keep", "x=y=z"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write it like image/\*=drop|keep, drop or a size"):
        BodyPolicy.parse(text, LIMIT)


def test_too_many_rules_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 100"):
        BodyPolicy.parse("a=drop," * 101, LIMIT)


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_whatever_a_client_says_gets_one_of_the_limits(kinds: list[bytes]) -> None:
    policy = BodyPolicy.parse("image/*=drop, text/*=5B, *=keep", LIMIT)
    for kind in kinds:
        assert policy.keeps(((b"content-type", kind),)) in {0, 5, LIMIT}


def test_made_up_types_do_not_fill_the_memory() -> None:
    policy = BodyPolicy.parse(DEFAULT, LIMIT)
    for number in range(5000):
        assert policy.keeps(of(f"x/{number}")) == LIMIT
    assert len(policy._known) <= 1000
