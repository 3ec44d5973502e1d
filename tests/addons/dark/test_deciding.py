"""What is copied, when it may be sent, and what differs: decisions, without clock and socket."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.dark.bounds import BURST, LONGEST_REST, REST, TROUBLE, Bounds
from addons.dark.choosing import Chooser
from addons.dark.comparison import Answer, Aspect, Aspects, Checksum, checksum, differing, words
from addons.dark.copying import Copy, asked, packed, unpacked
from addons.dark.mark import HEADER, is_mark, unmarked
from addons.glance import DARK, UPGRADE, glance
from rules.units import Share

# --- choosing ---


@pytest.mark.parametrize("share", ["1%", "10%", "50%"])
def test_the_share_is_kept_without_any_rhythm(share: str) -> None:
    chooser, n = Chooser(Share.parse(share), draw=random.Random(7).random), 100_000
    takes = [chooser.takes() for _ in range(n)]
    expected = n * int(Share.parse(share)) / 1e6
    assert abs(sum(takes) - expected) < 5 * expected**0.5
    # A page of ten requests, always in the same order: each of them has its turn.
    tenths = [sum(takes[at::10]) for at in range(10)]
    assert min(tenths) > 0.7 * expected / 10


def test_all_or_nothing() -> None:
    assert all(Chooser(Share.parse("100%")).takes() for _ in range(1000))
    assert not any(Chooser(Share(0)).takes() for _ in range(1000))


def test_only_what_changes_nothing_is_copied_unless_it_is_allowed() -> None:
    chooser = Chooser(Share.parse("10%"))
    assert all(chooser.may(method, 0) for method in (b"GET", b"HEAD", b"OPTIONS"))
    assert not any(chooser.may(method, 0) for method in (b"POST", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"get", b""))
    assert Chooser(Share.parse("10%"), ["POST"]).may(b"POST", 0)
    assert not Chooser(Share.parse("10%"), ["POST"]).may(b"PUT", 0)
    assert not chooser.may(b"GET", UPGRADE)


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "post", "", "PO ST", "É"])
def test_what_can_not_be_allowed(method: str) -> None:
    with pytest.raises(ValueError, match="can't be copied"):
        Chooser(Share.parse("10%"), [method])


# --- bounds ---


def test_never_more_at_once_than_allowed() -> None:
    bounds = Bounds(2, None, 0.0)
    for _ in range(2):
        assert bounds.wait(0.0) == 0
        bounds.begin(0.0)
    assert bounds.wait(0.0) is None
    bounds.end(0.0, answered=True)
    assert bounds.wait(0.0) == 0


@given(
    rate=st.floats(0.5, 1000),
    steps=st.lists(st.tuples(st.floats(0, 0.2), st.integers(0, 30)), max_size=60),
)
def test_never_more_a_second_than_allowed(rate: float, steps: list[tuple[float, int]]) -> None:
    """Whatever comes whenever: by any moment no more was sent than the rate allows, and one burst."""
    bounds, now, sent = Bounds(10**6, rate, 0.0), 0.0, 0
    for pause, wanted in steps:
        now += pause
        for _ in range(wanted):
            if bounds.wait(now) != 0:
                break
            bounds.begin(now)
            sent += 1
        assert sent <= now * rate + max(1.0, BURST * rate) + 1e-6


@given(rate=st.floats(0.5, 1000), sent=st.integers(1, 50))
def test_the_pause_that_is_told_is_long_enough(rate: float, sent: int) -> None:
    bounds, now = Bounds(10**6, rate, 0.0), 0.0
    for _ in range(sent):
        pause = bounds.wait(now)
        assert pause is not None
        now += pause + 1e-9
        assert bounds.wait(now) == pytest.approx(0, abs=1e-6)
        bounds.begin(now)


def test_a_service_in_trouble_is_left_alone_for_longer_and_longer_and_tried_with_one() -> None:
    bounds, now = Bounds(32, None, 0.0), 0.0
    for _ in range(TROUBLE):
        assert bounds.wait(now) == 0
        bounds.begin(now)
        bounds.end(now, answered=False)
    found = [bounds.resting]
    rest = REST
    for _ in range(10):
        assert bounds.wait(now) == pytest.approx(rest)
        now += rest
        assert bounds.wait(now) == 0
        bounds.begin(now)
        assert bounds.wait(now) is None  # one, to see
        bounds.end(now, answered=False)
        rest = min(2 * rest, LONGEST_REST)
    assert rest == LONGEST_REST
    now += rest
    bounds.begin(now)
    bounds.end(now, answered=True)
    assert [*found, bounds.resting] == [True, False]
    assert bounds.wait(now) == 0


def test_those_that_were_under_way_when_trouble_began_prolong_no_rest() -> None:
    bounds = Bounds(32, None, 0.0)
    for _ in range(32):
        bounds.begin(0.0)
    for _ in range(32):
        bounds.end(5.0, answered=False)
    assert bounds.wait(5.0) == pytest.approx(REST)


# --- comparison ---


def test_aspects_are_read_and_written() -> None:
    assert Aspects.parse("") == ()
    assert Aspects.parse("body-hash, status") == (Aspect.STATUS, Aspect.BODY_HASH)
    assert str(Aspects.parse("status,size,body-hash")) == "status,size,body-hash"
    with pytest.raises(ValueError, match="'stat' can't be compared: name some of status, size, body-hash"):
        Aspects.parse("stat")


def test_what_differs_is_found_and_told() -> None:
    every = Aspects.parse("status,size,body-hash")
    real, dark = Answer(200, 5, checksum(b"hello")), Answer(500, 5, checksum(b"world"))
    assert differing(every, real, real) == []
    assert differing(every, real, dark) == [Aspect.STATUS, Aspect.BODY_HASH]
    assert differing(Aspects.parse("size"), real, dark) == []
    assert words("GET", "/x", every, real, dark) == "GET /x: status 200, dark 500; 5 bytes, dark 5; another body"


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_a_body_in_pieces_has_the_checksum_of_the_whole(pieces: list[bytes]) -> None:
    sum_ = Checksum()
    for piece in pieces:
        sum_(piece)
    assert (sum_.value, sum_.size) == (checksum(b"".join(pieces)), len(b"".join(pieces)))


# --- copying and the mark ---

FIELD = st.tuples(st.binary(max_size=20), st.binary(max_size=20))
PROPER = st.tuples(st.from_regex(rb"[a-z-]{1,12}", fullmatch=True), st.from_regex(rb"[ -~]{0,12}", fullmatch=True))


def a_copy(fields: list[tuple[bytes, bytes]], body: bytes = b"") -> Copy:
    return Copy(1, b"GET", b"/x?y", b"shop.example", tuple(fields), body, 200, 5, 7, 9)


@given(st.lists(FIELD, max_size=20), st.binary(max_size=200))
def test_what_was_packed_is_unpacked(fields: list[tuple[bytes, bytes]], body: bytes) -> None:
    copy = a_copy(fields, body)
    assert unpacked(packed(copy)) == copy


@pytest.mark.parametrize("message", [b"", b"\xc1", b"\x01", packed(a_copy([]))[:-1], b"\x93\x01\x02\x03"])
def test_what_is_no_copy_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match="no copy"):
        unpacked(message)


@pytest.mark.parametrize(
    "name",
    [
        b"Authorization",
        b"cookie",
        b"X-API-Key",
        b"x-csrf-token",
        b"X-Auth-Token",
        b"x-session-id",
        b"X-Amz-Security-Token",
        b"x_access_token",
    ],
)
def test_without_secrets_nothing_goes_along_that_proves_who_somebody_is(name: bytes) -> None:
    fields = ((b"accept", b"*/*"), (name, b"hunter2"), (b"traceparent", b"00-1-1-01"))
    copy = Copy(0, b"GET", b"/", b"shop", fields, b"", 200, 0, 0, 0)
    assert (name.decode(), "hunter2") in asked(copy, "dark", b"", secrets=True).fields
    bare = asked(copy, "dark", b"", secrets=False).fields
    assert bare == [("host", "shop"), ("accept", "*/*"), ("traceparent", "00-1-1-01"), ("x-reamp-dark", "dark")]


def test_a_copy_is_what_the_app_got_but_for_the_connection_and_the_mark() -> None:
    came = [
        (b"Host", b"shop.example"),
        (b"Accept", b"*/*"),
        (b"Connection", b"keep-alive, X-Hop"),
        (b"X-Hop", b"1"),
        (b"Keep-Alive", b"timeout=5"),
        (b"TE", b"trailers"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Expect", b"100-continue"),
        (b"Cookie", b"a=1"),
        (b"Authorization", b"Bearer x"),
        (b"X_Reamp-Dark", b"forged"),
    ]
    sent = asked(a_copy(came, b"four"), "next", b"", secrets=True)
    assert (sent.method, sent.target, sent.body) == ("GET", "/x?y", b"four")
    assert sent.fields == [
        ("host", "shop.example"),
        ("Accept", "*/*"),
        ("Cookie", "a=1"),
        ("Authorization", "Bearer x"),
        ("content-length", "4"),
        (HEADER.decode(), "next"),
    ]
    sent = asked(a_copy(came), "next", b"dark.internal", secrets=False)
    assert sent.fields == [("host", "dark.internal"), ("Accept", "*/*"), (HEADER.decode(), "next")]


@given(
    st.lists(
        FIELD | PROPER | st.tuples(st.sampled_from([b"x-reamp-dark", b"X_REAMP_DARK", b"host"]), st.binary(max_size=9))
    )
)
def test_a_copy_bears_one_mark_and_one_host(fields: list[tuple[bytes, bytes]]) -> None:
    try:
        sent = asked(a_copy(fields), "next", b"", secrets=True).fields
    except ValueError:
        return
    assert not [part for field in sent for part in field if set(part) & set("\0\r\n")]
    assert [value for name, value in sent if is_mark(name.encode())] == ["next"]
    assert [value for name, value in sent if name.lower() == "host"] == ["shop.example"]


@pytest.mark.parametrize("name", [b"x-reamp-dark", b"X-Reamp-Dark", b"x_reamp_dark", b"X-REAMP_dark"])
def test_every_spelling_of_the_mark_is_known(name: bytes) -> None:
    assert is_mark(name)
    assert glance(((name, b"x"),))[0] & DARK
    assert unmarked([(b"a", b"1"), (name, b"x"), (b"b", b"2")]) == [(b"a", b"1"), (b"b", b"2")]
    assert not is_mark(name + b"x")
    assert not is_mark(name[:-1])
