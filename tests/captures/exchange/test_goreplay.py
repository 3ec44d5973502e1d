import gzip
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from captures.errors import CaptureError
from captures.exchange import goreplay
from captures.exchange.goreplay import SEPARATOR
from captures.exchange.notes import Notes
from captures.exchange.options import ReadOptions
from tests.captures.exchange.reading import endless, packed, read
from tests.captures.making import MS, NOON

ID = b"932079936fa4306fc308d67588178d17d823647c"
POST = b"POST /cart?a=b HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 7\r\n\r\na=1&b=2"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def entry(kind: int, numbers: bytes, message: bytes, id_: bytes = ID) -> bytes:
    return b"%d %b %b\n%b%b" % (kind, id_, numbers, message, SEPARATOR)


def test_requests_and_their_answers_are_joined() -> None:
    """As GoReplay 1.x writes it: when the answer began, and how long the whole took."""
    data = entry(1, b"%d -1" % NOON, POST) + entry(2, b"%d %d" % (NOON + 2 * MS, 9 * MS), OK)
    (one,), notes = read("goreplay", data)
    assert (one.method, one.path, one.authority, one.body) == ("POST", "/cart?a=b", "shop.example", b"a=1&b=2")
    assert (one.arrival_ns, one.ttfb_ns, one.duration_ns) == (NOON, 2 * MS, 9 * MS)
    assert (one.status, one.response_size) == (200, 5)
    assert not notes.bad


@pytest.mark.parametrize(
    ("numbers", "ttfb", "duration"),
    [
        (b"%d" % (9 * MS), 9 * MS, 9 * MS),  # the first versions: the duration alone
        (b"%d %d" % (NOON, 9 * MS), 9 * MS, 9 * MS),  # 0.16: the request's own time
        (b"%d 1" % (NOON + 4 * MS), 4 * MS, 4 * MS),  # a duration that ends before the answer began
        (b"%d -1" % (NOON + 4 * MS), 4 * MS, 4 * MS),
    ],
)
def test_the_numbers_of_all_versions_are_understood(numbers: bytes, ttfb: int, duration: int) -> None:
    (one,), _ = read("goreplay", entry(1, b"%d" % NOON, POST) + entry(2, numbers, OK))
    assert (one.ttfb_ns, one.duration_ns) == (ttfb, duration)


def test_an_original_answer_counts_more_than_a_replays() -> None:
    replayed = entry(3, b"%d 5" % (NOON + 1), b"HTTP/1.1 500 X\r\n\r\n")
    original = entry(2, b"%d 7" % (NOON + 1), OK)
    asked = entry(1, b"%d" % NOON, POST)
    assert [one.status for one in read("goreplay", asked + replayed)[0]] == [500]
    assert [one.status for one in read("goreplay", asked + replayed + original)[0]] == [200]
    found, notes = read("goreplay", asked + original + replayed)
    assert [one.status for one in found] == [200]
    assert sum(notes.skipped.values()) == 1


def test_a_request_without_an_answer_stays_one() -> None:
    (one,), _ = read("goreplay", entry(1, b"%d" % NOON, POST))
    assert (one.status, one.ttfb_ns, one.duration_ns) == (0, -1, 0)


def test_a_body_may_hold_the_separator() -> None:
    body = b"x" + SEPARATOR + b"1 is a number\n" + SEPARATOR
    message = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    found, notes = read("goreplay", entry(1, b"%d" % NOON, message) + entry(1, b"%d" % (NOON + 1), POST, b"b" * 24))
    assert [one.body for one in found] == [body, b"a=1&b=2"]
    assert not notes.bad


def test_chunks_are_joined_and_cut_bodies_keep_their_size() -> None:
    chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    torn = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"
    cut = b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nabc"
    messages = [entry(1, b"%d" % NOON, message, b"%d" % n) for n, message in enumerate((chunked, torn, cut))]
    found, _ = read("goreplay", b"".join(messages))
    assert [(one.body, one.body_size) for one in found] == [(b"abcde", 5), (b"abc", 4), (b"abc", 100)]


def test_gzip_is_told_by_content() -> None:
    assert len(read("goreplay", gzip.compress(entry(1, b"%d" % NOON, POST)))[0]) == 1


@pytest.mark.parametrize(
    "message",
    [
        b"nonsense",
        POST + b"more",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nno header\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: x\r\n\r\n",
    ],
)
def test_a_broken_entry_costs_itself_only(message: bytes) -> None:
    good = entry(1, b"%d" % NOON, POST, b"c" * 24)
    found, notes = read("goreplay", good + entry(1, b"%d" % NOON, message) + entry(1, b"%d" % NOON, POST))
    assert len(found) == 2
    assert [line.split(":")[0] for line in notes.bad] == ["entry 2"]


def test_a_torn_end_is_told() -> None:
    found, notes = read("goreplay", entry(1, b"%d" % NOON, POST) + entry(1, b"%d" % NOON, POST)[:-5])
    assert len(found) == 1
    assert notes.bad == ["entry 2: the file ends within it"]


def test_an_entry_without_end_fills_no_memory() -> None:
    start = entry(1, b"%d" % NOON, POST) + b"1 abc 5\nPOST / HTTP/1.1\r\n\r\n"
    file, notes = endless(start, b"x" * 65536, 200 << 20), Notes()
    tracemalloc.start()
    try:
        found = list(goreplay.read(file, ReadOptions(iter(())), notes))
        assert tracemalloc.get_traced_memory()[1] < 80 << 20
    finally:
        tracemalloc.stop()
    assert len(found) == 1
    assert notes.bad_count == 2, notes.bad


def test_separators_without_end_fill_no_memory() -> None:
    start = entry(1, b"%d" % NOON, POST) + b"1 abc 5\nPOST / HTTP/1.1\r\n\r\n"
    file, notes = endless(start, SEPARATOR * 4000, 40 << 20), Notes()
    assert len(list(goreplay.read(file, ReadOptions(iter(())), notes))) == 1
    assert "larger than 16 MiB" in notes.bad[0]


def test_requests_whose_answers_never_come_fill_no_memory() -> None:
    data = b"".join(entry(1, b"%d" % (NOON + number), POST, b"%d" % number) for number in range(25_000))
    found, _ = read("goreplay", data)
    assert [one.arrival_ns - NOON for one in found] == list(range(25_000))


@given(st.binary(max_size=300), st.integers(0, 3))
@example(b"\x28\xb5\x2f\xfd", 0)  # what a zstd file begins with
@settings(max_examples=300)
def test_no_bytes_break_the_reader(noise: bytes, where: int) -> None:
    good = entry(1, b"%d" % NOON, POST) + entry(2, b"%d 5" % NOON, OK)
    cut = len(good) * where // 3
    data = good[:cut] + noise + good[cut:]
    try:
        read("goreplay", data)
    except CaptureError:
        assert packed(data), "of what is no GoReplay file, requests are left out"
