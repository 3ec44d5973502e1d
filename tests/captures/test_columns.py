import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import columns
from captures.columns import MAX_EXPANDED, MAX_RECORDS, check, decode, encode, packer
from captures.errors import CaptureError
from captures.records import Record
from tests.captures import making
from tests.captures.making import NOON, record

alike = st.lists(
    st.builds(
        record,
        at=st.integers(NOON, NOON + 10**12),
        path=st.sampled_from(["/", "/a", "/b", b"/\xff".decode("utf-8", "surrogateescape")]),
        headers=st.lists(
            st.tuples(st.sampled_from([b"cookie", b"referer", b"a"]), st.binary(max_size=3)), max_size=4
        ).map(tuple),
        body=st.sampled_from([b"", b"{}", b"x" * 300]),
        body_size=st.integers(300, 500),
        ttfb_ns=st.integers(-1, 50).map(lambda ms: ms * making.MS if ms >= 0 else -1),
        duration_ns=st.integers(50, 99).map(lambda ms: ms * making.MS),
    ),
    min_size=1,
    max_size=400,
)
"""Records as of one site: much of them is equal."""


def content(block: list[Record]) -> bytes:
    return b"".join(encode(packer(), block))


@given(st.lists(making.records, min_size=1, max_size=30) | alike)
def test_a_block_gives_back_every_record_exactly(block: list[Record]) -> None:
    read = decode(content(block), len(block))
    assert read.records(range(len(block))) == block
    assert list(read.arrivals) == [one.arrival_ns for one in block]


@given(alike, st.randoms(use_true_random=False))
def test_any_records_are_made_in_any_order(block: list[Record], dice: random.Random) -> None:
    read = decode(content(block), len(block))
    places = dice.sample(range(len(block)), dice.randint(0, len(block)))
    assert read.records(places) == [block[place] for place in places]


def test_headers_that_vary_cost_no_template_each() -> None:
    """A cookie for each user, a referer for each page: stored apart, they do not multiply."""
    block = [
        record(NOON + n, headers=((b"a", b"b"), (b"cookie", b"%d" % (n % 40)), (b"referer", b"/%d" % (n % 31))))
        for n in range(2000)
    ]
    fields, (_, templates), fillings = msgpack.unpackb(content(block))[10]
    assert [field[0] for field in fields if len(field) == 1] == [b"cookie", b"referer"]
    assert (len(templates), len(fillings)) == (1, 2)
    assert decode(content(block), 2000).records(range(2000)) == block


def test_the_same_varying_header_twice_keeps_its_order() -> None:
    block = [record(headers=((b"x", b"%d" % n), (b"y", b""), (b"x", b"%d" % -n))) for n in range(100)]
    assert decode(content(block), 100).records(range(100)) == block


def test_times_in_whole_microseconds_cost_nothing_for_the_rest() -> None:
    dice = random.Random(1)
    coarse = [record(NOON + dice.randrange(10**6) * 1000, ttfb_ns=-1 if n == 7 else 5000) for n in range(1000)]
    _, _, steps, ttfbs, *_ = msgpack.unpackb(content(coarse))
    assert steps[1] % 1000 == 0
    assert ttfbs[1] == 10_000, "no answer is stored as minus one unit"
    assert decode(content(coarse), 1000).records(range(1000)) == coarse


def test_records_without_headers_and_a_full_block_read() -> None:
    block = [record(NOON + n, headers=()) for n in range(MAX_RECORDS)]
    assert decode(content(block), MAX_RECORDS).records([0, MAX_RECORDS - 1]) == [block[0], block[-1]]
    with pytest.raises(ValueError, match="a block holds 1 to 65536 records, not 65537"):
        content([*block, record()])
    with pytest.raises(ValueError, match="not 0"):
        content([])


UNFIT = [
    record(arrival_ns=-1),
    record(arrival_ns=2**63),
    record(path="\ud800"),
    record(body_size=2**70),
    record(status=1.5),
    record(status=False),
    record(arrival_ns=float(NOON)),
    record(ttfb_ns=-2),
    record(method=b"GET"),
    record(body="text"),
    record(headers=((b"a", object()),)),
    record(headers=((b"a", b"b"),) * 5000),
    record(headers=((b"a",),)),
    record(headers=((b"a", b"b", b"c"),)),
]


@pytest.mark.parametrize("bad", UNFIT)
def test_what_the_format_cannot_hold_is_refused(bad: Record) -> None:
    for block in ([record(), bad], [bad]):
        with pytest.raises((ValueError, TypeError, OverflowError)):
            content(block)
    with pytest.raises(ValueError, match=r"[a-z]"):
        check(bad)


@given(making.records)
def test_what_passes_the_check_can_be_packed(one: Record) -> None:
    check(one)
    assert decode(content([one]), 1).records([0]) == [one]


def changed(place: int, to: Any) -> Callable[[list[Any]], None]:
    def change(items: list[Any]) -> None:
        items[place] = to

    return change


def _deeper(*places: int, to: Any) -> Callable[[list[Any]], None]:
    def change(items: list[Any]) -> None:
        for place in places[:-1]:
            items = items[place]
        items[places[-1]] = to

    return change


WRONG: tuple[Any, ...] = (None, 1.5, b"", "", [], [[]], [1, 2], [None] * 3, -1)
NUMBERS: tuple[tuple[int, Any], ...] = ((0, 2**63), (0, "1"), (1, None), (2, b"1"), (2, bytes(99)))

HOSTILE = [
    *(changed(place, to) for place in range(12) for to in WRONG),
    changed(1, -1),
    changed(1, 2**63),
    *(_deeper(2, place, to=to) for place, to in NUMBERS),
    *(_deeper(column, 0, to=bytes([9] * 20)) for column in (8, 9, 11)),
    *(_deeper(column, 1, to=[]) for column in (8, 9, 11)),
    _deeper(8, 1, 0, to=["GET", "http", "a"]),
    _deeper(8, 1, 0, to=["GET", "http", "a", 1]),
    _deeper(9, 1, 0, to=1),
    _deeper(11, 1, 0, to="text"),
    _deeper(10, 0, 0, to=[]),
    _deeper(10, 0, 0, to=[b"a", b"b", b"c"]),
    _deeper(10, 0, 0, to=["a", b"b"]),
    _deeper(10, 0, 1, to=[b"c"]),
    _deeper(10, 1, 1, to=[[0, 99]]),
    _deeper(10, 1, 1, to=[[-1]]),
    _deeper(10, 1, 1, to=[["0"]]),
    _deeper(10, 1, 1, to=[[0] * 5000]),
    _deeper(10, 2, to=[[b"", [b"x"]]] * 9),
    _deeper(11, 1, to=[b"%d" % n for n in range(21)]),
    _deeper(5, to=[-1, 1, b""]),
    _deeper(5, to=[b"", [-1]]),
    _deeper(5, to=[b"", [True]]),
    _deeper(5, to=[b"", [2**63]]),
    _deeper(6, to=[2**63, 1, b""]),
    _deeper(7, to=[-1, 1, b""]),
    _deeper(4, to=[-(2**40), 1, b""]),
    _deeper(4, to=[2**63, 1, b""]),
    _deeper(3, to=[2**63, 1, b""]),
    _deeper(0, to=20.0),
]


@pytest.mark.parametrize("change", HOSTILE)
def test_columns_of_a_wrong_shape_are_named(change: Callable[[list[Any]], None]) -> None:
    block = [record(NOON + n, headers=((b"a", b"%d" % n), (b"c", b"d"))) for n in range(20)]
    items = msgpack.unpackb(content(block))
    change(items)
    with pytest.raises(CaptureError):
        decode(msgpack.packb(items), 20)


@pytest.mark.parametrize("promised", [0, 1, 21, 2**16 + 1])
def test_a_block_that_holds_another_number_than_its_head_says_is_named(promised: int) -> None:
    with pytest.raises(CaptureError):
        decode(content([record(NOON + n) for n in range(20)]), promised)


@pytest.mark.parametrize(
    "large",
    [{"body": bytes(2000)}, {"headers": ((b"a", bytes(2000)),)}, {"path": "/" * 2000}, {"authority": "a" * 2000}],
)
def test_a_small_block_cannot_stand_for_more_than_the_bound(large: dict[str, Any]) -> None:
    """What is stored once may be meant many times: a bomb by reference."""
    count = MAX_EXPANDED // 2000 + 100
    block = [record(NOON, **large)] * count
    small = content(block)
    assert len(small) < 10_000
    with pytest.raises(CaptureError, match="larger than the format allows"):
        decode(small, count)
    assert len(columns.decode(content(block[: count // 2]), count // 2).arrivals) == count // 2


def block_of(number: int, headers: Any) -> bytes:
    """Pack a block by hand, of requests that have nothing but headers."""
    plain = (0, 1, b"")
    lines, paths, bodies = [b"", [["GET", "http", "a", "HTTP/1.1"]]], [b"", ["/"]], [b"", [b""]]
    items = [number, NOON, plain, plain, plain, plain, plain, plain, lines, paths, headers, bodies]
    return msgpack.packb(items)  # type: ignore[no-any-return]


BOMBS = {
    "arrays in arrays that never come": b"\x9c" + b"\xdc\xff\xff" * 1000,
    "arrays of one": b"\x9c" + b"\xdc\xff\xff" + (b"\xdc\xff\xff" + b"\x91\x00" * 0xFFFF) * 100,
    "fields without a byte": block_of(MAX_RECORDS, [[[b"", b""]], [b"", [[0] * 4096]], []]),
    "holes without a byte": block_of(MAX_RECORDS, [[[b""]], [b"", [[0] * 4096]], [[b"", [b""]]]]),
    "holes that no set has": block_of(
        1, [[[b""]] * 0xFFFF, [b"\0", [[0] * 4096] * 3000], [[b"\0" * 4096 * 3000, [b""]], *([[b"", []]] * 0xFFFE)]]
    ),
    "many sets": block_of(3000, [[[b"", b""]], [bytes(3000), [[0] * 4096] * 3000], []]),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_hostile_block_costs_neither_memory_nor_time(bomb: str) -> None:
    """In a process of its own: what msgpack has begun to unpack when it fails is not even freed, nor seen by Python."""
    program = """
import resource, sys, time
from captures import columns
from captures.errors import CaptureError
content = sys.stdin.buffer.read()
def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, begun = most(), time.process_time()
for number in (1, 3000, columns.MAX_RECORDS):
    try:
        columns.decode(content, number)
    except CaptureError as error:
        print("refused:", error)
print(most() - before, time.process_time() - begun)
"""
    done = subprocess.run([sys.executable, "-c", program], input=BOMBS[bomb], capture_output=True, check=True)
    *refused, figures = done.stdout.decode().splitlines()
    assert len(refused) == 3
    memory, seconds = map(float, figures.split())
    assert memory < 100 << 10, "KiB"
    assert seconds < 5
