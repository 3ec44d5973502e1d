"""Whole blocks become the same requests, byte for byte, or are left out for the same reason, as record by record."""

import ctypes
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import columns
from captures.errors import CaptureError
from captures.reader import Capture
from captures.records import Record
from replayer.counting.accounts import Accounts
from replayer.lanes.bulk import Bulk, Packed, fits
from replayer.lanes.loading import Loader
from replayer.plan import Plan
from replayer.requests.encoding import Encoder, Request
from replayer.requests.rewriting import Rewriting
from replayer.selection import Selection, span
from replayer.stock import stocked, supply
from tests.support.recording import record, write

CODE: Any = None
RUN = "20261121-210305-k3f9"


@pytest.fixture(scope="module", autouse=True)
def _code(native: Any) -> None:
    global CODE  # noqa: PLW0603 - Hypothesis makes no fixture's arguments
    CODE = native


def encoder(recorded_host: bool = False, rewriting: Rewriting | None = None) -> Encoder:
    return Encoder(RUN, ("GET", "HEAD", "OPTIONS"), "target:8080", recorded_host, rewriting=rewriting or Rewriting())


def blocked(records: Sequence[Record]) -> bytes:
    return b"".join(columns.encode(columns.packer(), records))


def test_who_unpacks_a_block_rests_between_the_steps() -> None:
    """Else the thread that sends would wait for all of it, where both have but one core."""
    records = [record(place / 100, f"/{place}/{'abcdefgh'[place % 8]}") for place in range(300)]
    rests: list[int] = []
    Packed(blocked(records), len(records), encoder(), CODE, lambda: rests.append(1))
    assert len(rests) >= 8


def same(records: Sequence[Record], **options: Any) -> Counter[str]:
    """Hold one way against the other; tell how often which way was taken."""
    whole, plain = encoder(**options), encoder(**options)
    block = Packed(blocked(records), len(records), whole, CODE)
    slow = set(block.slow(range(len(records))))
    taken = Counter[str]()
    assert block.records(range(len(records))) == list(records)
    assert block.arrivals == [item.arrival_ns for item in records]
    for place, item in enumerate(records):
        request = plain.encode(item)
        if place in slow:
            taken["slow"] += 1
            continue
        taken["quick"] += 1
        assert isinstance(request, Request), request
        assert (block.prefix(place), request.tail, request.keys) == (request.prefix, whole.plain_tag[1], None)
        mine, other = whole.routes.all[block.route(place)], plain.routes.all[request.route]
        assert (mine.method, mine.template) == (other.method, other.template)
    return taken


names = st.sampled_from(
    [
        b"accept", b"Accept", b"user-agent", b"cookie", b"Cookie", b"host", b"content-length", b"connection", b"te",
        b"upgrade", b"baggage", b"x-load-test", b"traceparent", b"if-none-match", b"date", b"referer", b"expect",
        b"x-http-method-override", b"idempotency-key", b"x-request-id", b"transfer-encoding", b"keep-alive",
        b"bad name", b"", b"x-other", b"x\r\ny",
    ]
)  # fmt: skip
values = st.one_of(
    st.sampled_from(
        [
            b"",
            b"*/*",
            b"close",
            b"keep-alive, x-other",
            b"x-Other",
            b"a=1",
            b"b=2",
            b"loadtest=v1.x",
            b"user=7",
            b"DELETE",
            b"GET",
        ]
    ),
    st.binary(max_size=6),
)
paths = st.one_of(
    st.sampled_from(["/", "/item/7?full=1", "/item/8", "*", "/a b", "//x", "item", "/\x7f", "/é", "/x\r\n"]),
    st.text(max_size=4).map(lambda text: "/" + text),
)
records = st.builds(
    record,
    at=st.integers(0, 5).map(float),
    path=paths.filter(lambda path: not any("\ud800" <= letter <= "\udfff" for letter in path)),
    method=st.sampled_from(["GET", "GET", "GET", "HEAD", "OPTIONS", "POST", "CONNECT", "get", ""]),
    headers=st.lists(st.tuples(names, values), max_size=5),
    body=st.sampled_from([b"", b"", b"", b"body"]),
    body_size=st.sampled_from([0, 4, 9]),
    authority=st.sampled_from(["shop.example", "", "a b", "other:80"]),
    status=st.sampled_from([0, 200, 503]),
    ttfb_ns=st.sampled_from([-1, 0, 5_000]),
    duration_ns=st.integers(0, 10**9),
)


@given(st.lists(records, min_size=1, max_size=40), st.booleans())
def test_any_records(found: list[Record], recorded_host: bool) -> None:
    same(found, recorded_host=recorded_host)


def test_fields_that_vary_are_filled_in_their_order() -> None:
    def one(number: int) -> Record:
        headers = [(b"host", b"x"), (b"referer", b"/%d" % (number % 50)), (b"cookie", b"id=%d" % (number % 70))]
        if number % 3 == 0:
            headers.append((b"connection", b"x-gone"))
            headers.append((b"x-gone", b"%d" % number))
        if number % 5 == 0:
            headers.append((b"baggage", b"user=%d" % (number % 60)))
        if number % 7 == 0:
            headers.insert(1, (b"referer", b"/again/%d" % number))
        return record(number / 1000, f"/item/{number % 90}", headers=headers)

    taken = same([one(number) for number in range(700)])
    assert taken["quick"] == 560
    assert taken["slow"] == 140


def test_what_is_rewritten_for_all_alike_is_rewritten_here_too() -> None:
    plan = Plan.model_validate(
        {
            "recording": "r", "to": "http://127.0.0.1:1", "idle_target": True, "amplify": "1x",
            "set_header": ["X-Env: test"], "remove_header": ["referer"], "rewrite": ["^/item/(\\d+) => /thing/\\1"],
        }
    )  # fmt: skip
    found = [record(n / 10, f"/item/{n}", headers=[(b"referer", b"/"), (b"accept", b"%d" % n)]) for n in range(40)]
    assert same(found, rewriting=plan.rewriting)["quick"] == 40


def test_any_number_of_methods_takes_no_more_room() -> None:
    found = [record(n / 1000, f"/{n}", method=f"M{n}" if n % 3 else "GET") for n in range(3000)]
    tracemalloc.start()
    try:
        taken = same(found)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken == Counter(quick=1000, slow=2000)
    assert most < 20 << 20  # every method with every path would be 9 million pairs


@given(st.lists(records, min_size=2, max_size=20), st.data())
def test_a_broken_block_is_broken_here_too(found: list[Record], data: st.DataObject) -> None:
    content = bytearray(blocked(found))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        expected: object = columns.decode(bytes(content), len(found)).records(range(len(found)))
    except CaptureError:
        expected = None
    try:
        mine: object = Packed(bytes(content), len(found), encoder(), CODE).records(range(len(found)))
    except CaptureError:
        mine = None
    assert mine == expected


def test_runs_of_a_capture_are_its_records(tmp_path: Path) -> None:
    made = [record(number / 50 % 7, f"/item/{number}") for number in range(4000)]
    capture = Capture(write(tmp_path / "recordings", made))
    unpack = partial(Packed, encoder=encoder(), code=CODE)
    runs = [item for block, places in capture.runs(unpack=unpack) for item in block.records(places)]
    assert runs == list(capture.records())


def test_what_can_not_be_read_on_has_not_come_to_its_end(tmp_path: Path) -> None:
    capture = Capture(write(tmp_path / "recordings", [record(0, "/")]))
    whole = encoder()
    whole.plain_targets = None  # type: ignore[assignment, method-assign] # an error that nobody thought of
    plan = Plan.model_validate({"recording": "r", "to": "http://127.0.0.1:1", "idle_target": True})
    found = Bulk(plan, Selection(capture, begin_ns=0), whole, Accounts(), CODE, 0).supply()
    bulk: Any = found.stock
    with pytest.raises(CaptureError, match="can't be read on"):
        bulk.load(Loader(CODE, None), 1)
    assert not found.demand.exhausted


class Kept(Loader):
    """Keeps what would be loaded: when it is due, and how it begins."""

    def __init__(self) -> None:
        super().__init__(CODE, None)
        self.found: list[tuple[int, bytes]] = []

    def load(self, requests: Sequence[tuple[int, Request]]) -> None:
        self.found += [(due, request.prefix) for due, request in requests]

    def push(self, make: Any, places: int, count: int, shift_ns: int) -> None:
        (reference,) = make.args
        arrivals = ctypes.cast(reference._obj.arrivals, ctypes.POINTER(ctypes.c_int64))
        room = ctypes.create_string_buffer(1 << 12)
        for place in (ctypes.c_uint32 * count).from_address(places):
            length = CODE.block_prefix(reference, place, room, len(room))
            self.found.append((arrivals[place] + shift_ns, room.raw[:length]))


@pytest.mark.parametrize("of", [1, 2, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_requests": 700},
        {"max_requests": 1},
        {"loop": True, "max_requests": 3000},
        {"loop": True, "duration": "20s"},
        {"loop": True, "max_requests": 2000, "from": "+1s", "until": "+2s"},
    ],
    ids=["once", "some", "one", "rounds", "rounds-for-some-time", "rounds-of-a-part"],
)
def test_rounds_and_a_last_one_are_those_of_any_other_lane(tmp_path: Path, changes: dict[str, Any], of: int) -> None:
    """Also where other parts' records decide: what can't be replayed counts for none of them."""

    def one(number: int) -> Record:
        method = "POST" if number % 7 < 2 else "GET"
        fields = (
            [(b"idempotency-key", b"%d" % number)] if number % 5 == 0 else [(b"upgrade", b"x")] * (number % 11 == 1)
        )
        return record(number // 3 * 0.004, f"/item/{number}", method=method, headers=fields)

    path = write(tmp_path / "recordings", map(one, range(2000)))
    given = {"recording": path, "to": "http://127.0.0.1:1", "idle_target": True, "renew_header": "idempotency-key"}
    plan = Plan.model_validate({**given, **changes})
    capture = Capture(path)
    selection = Selection(capture, span(capture, plan.from_, plan.until))
    begin, until = 10**9, 16 * 10**9
    accounts, plain = Accounts(), encoder(rewriting=plan.rewriting)
    alone = supply(plan, stocked(plan, selection, plain, accounts), selection.first_ns or 0, begin)
    expected = []
    while not alone.demand.exhausted:
        due = alone.demand.due()
        if due is not None and due > until:
            break
        if due is not None:
            expected.append((due, alone.demand.take().prefix))
    assert fits(plan, selection, plain)

    found, wanted, left_out, skipped = [], 0, 0, Counter[str]()
    for number in range(of):
        mine, own, judge = Accounts(), encoder(rewriting=plan.rewriting), encoder(rewriting=plan.rewriting)
        bulk = Bulk(plan, selection, own, mine, CODE, begin, (number, of), judge)
        loader = Kept()
        while bulk.load(loader, until):
            pass
        assert bulk.exhausted or "duration" in changes
        assert len(loader.found) == bulk.wanted > 0 or plan.max_requests == 1
        found += loader.found
        wanted += bulk.wanted
        skipped += mine.skipped
        left_out += sum(route.left_out for route in own.left_out.all)
    assert sorted(found) == sorted(expected)
    assert wanted == len(expected)
    if plan.duration is None:  # of what lies ahead, one reads more than the other
        assert skipped == accounts.skipped
        assert left_out == sum(route.left_out for route in plain.left_out.all) == skipped["unsafe"]
