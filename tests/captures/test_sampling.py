import hashlib
import math
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.records import Headers
from captures.sampling import Sampler, SessionBy, session_of
from rules.units import Share
from tests.captures.making import KEY

AUTO = SessionBy.parse("auto")


def sampler(share: str = "10%", by: str = "auto", key: bytes = KEY) -> Sampler:
    return Sampler(key, Share.parse(share), SessionBy.parse(by))


def session(number: int, **more: str) -> Headers:
    fields = {"Host": "shop.example", "Cookie": f"theme=dark; sid=s{number}", **more}
    return tuple((name.encode(), value.encode()) for name, value in fields.items())


@pytest.mark.parametrize("share", ["0.1%", "1%", "10%", "50%", "99%"])
def test_the_share_is_what_was_asked_for(share: str) -> None:
    """Within five standard deviations of so many fair draws."""
    sessions, wanted = 50_000, Share.parse(share) / 1e6
    one = sampler(share)
    taken = sum(one.takes(session(number), "10.0.0.1") for number in range(sessions))
    deviation = math.sqrt(sessions * wanted * (1 - wanted))
    assert abs(taken - sessions * wanted) < 5 * deviation


def test_nobody_and_everybody() -> None:
    assert not any(sampler("0%").takes(session(number), "") for number in range(1000))
    assert all(sampler("100%").takes(session(number), "") for number in range(1000))


_shares = st.integers(0, 1_000_000).map(Share)
_headers = st.lists(
    st.tuples(
        st.sampled_from([b"Cookie", b"cookie", b"Authorization", b"User-Agent", b"X-Forwarded-For", b"X-Tenant", b"A"]),
        st.binary(max_size=30),
    ),
    max_size=6,
).map(tuple)
_by = st.sampled_from(["auto", "address", "cookie:sid", "header:X-Tenant"]).map(SessionBy.parse)


@given(_headers, st.text(max_size=20), _by, _shares, _shares, st.binary(min_size=32, max_size=32))
def test_who_is_in_a_sample_is_in_every_larger_one(
    headers: Headers, address: str, by: SessionBy, one: Share, other: Share, key: bytes
) -> None:
    small, large = sorted([one, other])
    assert Sampler(key, small, by).takes(headers, address) <= Sampler(key, large, by).takes(headers, address)


@given(_headers, st.text(max_size=20), _by, st.binary(min_size=32, max_size=32))
def test_two_that_have_the_key_decide_alike(headers: Headers, address: str, by: SessionBy, key: bytes) -> None:
    share = Share.parse("50%")
    one, other = Sampler(key, share, by), Sampler(key, share, by)
    other.takes(((b"cookie", b"sid=other"),), "")  # what came before makes no difference
    assert one.takes(headers, address) == other.takes(headers, address) == one.takes(headers, address)


def test_another_process_and_another_version_of_it_decide_alike() -> None:
    """The decision is part of what was promised: restarts and other machines must not change it."""
    taken = [number for number in range(200) if sampler().takes(session(number), "10.0.0.1")]
    program = (
        "from tests.captures.test_sampling import *\n"
        "print([n for n in range(200) if sampler().takes(session(n), '10.9.9.9')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(taken)
    by_hand = [
        number
        for number in range(200)
        if int.from_bytes(
            hashlib.blake2b(b"cookies\0sid=s%d" % number, key=KEY, digest_size=8, person=b"reamp sampling").digest()
        )
        < 2**64 // 10
    ]
    assert by_hand == taken


def test_another_key_makes_another_sample() -> None:
    one, other = sampler("50%"), sampler("50%", key=bytes(32))
    same = sum(one.takes(session(n), "") == other.takes(session(n), "") for n in range(10_000))
    assert 4_700 < same < 5_300


def test_a_session_is_taken_whole_or_not_at_all() -> None:
    dice, one = random.Random(1), sampler("30%")
    for number in range(500):
        decisions = set()
        for _ in range(10):
            cookies = [f"sid=s{number}", f"_ga=GA1.{dice.random()}", f"csrftoken={dice.random()}"]
            dice.shuffle(cookies)
            headers = session(number, Cookie="; ".join(cookies), Accept=f"text/{dice.random()}")
            decisions.add(one.takes(headers, f"10.0.0.{dice.randrange(256)}"))
        assert len(decisions) == 1


@pytest.mark.parametrize(
    ("by", "headers", "expected"),
    [
        ("auto", {"Authorization": "Bearer a", "Cookie": "sid=1"}, b"authorization\0Bearer a"),
        ("auto", {"cookie": "b=2; PHPSESSID=x; a=1"}, b"cookies\0PHPSESSID=x"),
        ("auto", {"cookie": "connect.sid=x; csrf_token=9; xsrf-session=8"}, b"cookies\0connect.sid=x"),
        ("auto", {"cookie": "b=2; a=1"}, b"cookies\0a=1;b=2"),
        ("auto", {"cookie": "inside=1; residence=2"}, b"cookies\0inside=1;residence=2"),
        ("auto", {"cookie": " ; =", "User-Agent": "u"}, b"address\x0010.0.0.1\0u"),
        ("auto", {"X-Forwarded-For": "1.2.3.4, 5.6.7.8"}, b"address\x001.2.3.4"),
        ("address", {"Cookie": "sid=1", "User-Agent": "u"}, b"address\x0010.0.0.1\0u"),
        ("cookie:SID", {"cookie": "sid=2; SID=1"}, b"cookie\x001"),
        ("cookie:SID", {"cookie": "sid=2"}, b"cookies\0sid=2"),
        ("header:X-Tenant", {"x-tenant": "acme", "Authorization": "a"}, b"header\0acme"),
        ("header:X-Tenant", {"Authorization": "a"}, b"authorization\0a"),
    ],
)
def test_what_makes_a_session(by: str, headers: dict[str, str], expected: bytes) -> None:
    fields = tuple((name.encode(), value.encode()) for name, value in headers.items())
    assert session_of(fields, "10.0.0.1", SessionBy.parse(by)) == expected


def test_cookies_in_several_headers_are_as_good_as_in_one() -> None:
    apart = ((b"cookie", b"sid=1"), (b"cookie", b"token=2"))
    assert session_of(apart, "", AUTO) == session_of(((b"Cookie", b"token=2; sid=1"),), "", AUTO)


@pytest.mark.parametrize("text", ["auto", "address", "cookie:sid", "header:x-tenant"])
def test_it_prints_as_it_is_written(text: str) -> None:
    assert str(SessionBy.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "cookie", "cookie:", "cookie:a b", "cookie:a;b", "header:", "auto:x", "ip", "x:y"]
)
def test_what_names_no_session_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write auto, address, cookie:NAME or header:NAME"):
        SessionBy.parse(text)
