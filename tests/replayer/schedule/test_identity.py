"""A copy of a session is somebody else, in the same shape, and the same somebody in all of its requests."""

import ipaddress
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from captures.records import Headers
from captures.sampling import SessionBy, session_of
from replayer.schedule.identity import Disguise

values = st.binary(min_size=8, max_size=200).map(lambda value: re.sub(rb"[^!-~]|[;,]", b"x", value))
numbers = st.integers(1, 2**60)
AUTO = SessionBy("auto")


def shape(value: bytes) -> bytes:
    return re.sub(rb"[0-9]", b"0", re.sub(rb"[a-z]", b"a", re.sub(rb"[A-Z]", b"A", value)))


@given(values, numbers, numbers)
def test_a_pseudonym_has_the_shape_is_the_same_again_and_another_for_each_copy(
    value: bytes, number: int, other: int
) -> None:
    disguise = Disguise(AUTO, 1)
    made = disguise.pseudonym(value, number)
    assert len(made) == len(value)
    assert b"%" in value or shape(made) == shape(value)
    assert made == Disguise(AUTO, 1).pseudonym(value, number)
    assume(number != other and sum(map(str.isalnum, value.decode())) >= 12 and b"%" not in value)
    assert made != value
    assert made != disguise.pseudonym(value, other)
    assert made != Disguise(AUTO, 2).pseudonym(value, number)


@given(st.lists(st.uuids(), min_size=2, max_size=20, unique=True), numbers)
def test_what_is_told_apart_stays_apart_and_hexadecimal_stays_hexadecimal(uuids: list[object], number: int) -> None:
    disguise = Disguise(AUTO, 7)
    made = [disguise.pseudonym(str(one).encode(), number) for one in uuids]
    assert len(set(made)) == len(uuids)
    assert all(re.fullmatch(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", one) for one in made)


def test_escapes_stay_escapes() -> None:
    made = Disguise(AUTO, 1).pseudonym(b"s%3Aabcdefgh.12345678%2F", 3)
    assert re.fullmatch(rb"[a-z]%3A[a-z]{8}\.[0-9]{8}%2F", made)


def test_a_long_value_becomes_another_in_a_moment() -> None:
    disguise, value = Disguise(AUTO, 1), b"a" * 10_000_000
    made = disguise.pseudonym(value, 1)
    assert len(made) == len(value)
    assert made != value
    assert made[1024:] == value[1024:]


@pytest.mark.parametrize(
    ("by", "headers", "changed"),
    [
        ("auto", [(b"Authorization", b"Bearer abcdefgh12"), (b"Cookie", b"lang=de")], rb"Bearer [a-z]{8}\d\d\nlang=de"),
        ("auto", [(b"authorization", b"abcdefgh12")], rb"[a-z]{8}\d\d"),
        ("auto", [(b"Cookie", b"lang=de; sid=abcd1234; _csrf=xyzw")], rb"lang=de; sid=[a-z]{4}\d{4}; _csrf=xyzw"),
        ("auto", [(b"Cookie", b"sid=abcd"), (b"cookie", b"a=b")], rb"sid=[a-z]{4}\na=b"),
        ("auto", [(b"Cookie", b"who=abcd1234; lang=de")], rb"who=[a-z]{4}\d{4}; lang=[a-z]{2}"),
        ("cookie:who", [(b"Cookie", b"who=abcd1234; sid=abcd")], rb"who=[a-z]{4}\d{4}; sid=abcd"),
        ("cookie:who", [(b"Cookie", b"sid=abcd1234")], rb"sid=[a-z]{4}\d{4}"),
        ("header:x-user", [(b"X-User", b"abcd"), (b"Cookie", b"sid=abcd")], rb"[a-z]{4}\nsid=abcd"),
        ("header:x-user", [(b"Cookie", b"sid=abcd1234")], rb"sid=[a-z]{4}\d{4}"),
        ("address", [(b"X-Forwarded-For", b"10.1.2.3, 10.0.0.1")], rb"198\.1[89]\.\d+\.\d+, 10\.0\.0\.1"),
        ("auto", [(b"X-Forwarded-For", b"2001:db8::1")], rb"2001:2:0:[0-9a-f:]+|2001:2::[0-9a-f:]+"),
        ("auto", [(b"X-Forwarded-For", b"_hidden12")], rb"_[a-z]{6}\d\d"),
        ("auto", [(b"User-Agent", b"curl/8"), (b"Accept", b"*/*")], rb"curl/8\n\*/\*"),
    ],
)
def test_what_identifies_is_replaced_and_nothing_else(
    by: str, headers: list[tuple[bytes, bytes]], changed: bytes
) -> None:
    given_headers: Headers = tuple(headers)
    made = Disguise(SessionBy.parse(by), 1).headers(given_headers, 5)
    assert [name for name, _ in made] == [name for name, _ in given_headers]
    assert re.fullmatch(changed, b"\n".join(value for _, value in made)), made
    if b"curl" not in changed:
        assert made != given_headers
        parsed = SessionBy.parse(by)
        assert session_of(made, "", parsed) != session_of(given_headers, "", parsed)


@given(st.ip_addresses(), numbers)
def test_addresses_are_those_set_aside_for_tests(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, number: int
) -> None:
    headers = ((b"x-forwarded-for", str(address).encode()),)
    ((_, made),) = Disguise(SessionBy("address"), 1).headers(headers, number)
    found = ipaddress.ip_address(made.decode())
    assert found.version == address.version
    assert found in ipaddress.ip_network("198.18.0.0/15" if address.version == 4 else "2001:2::/48")
