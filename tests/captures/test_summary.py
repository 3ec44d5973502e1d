"""A capture in figures, held against counting the plain way."""

import random
import statistics
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captures.bursts import MS, WIDTHS_MS, Bursts
from captures.distribution import Distribution
from captures.records import Headers, Record
from captures.sessions import SessionCounter, session
from captures.summary import OTHERS, summarise
from tests.captures.making import NOON, record, records

SECOND = 1000 * MS


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=200))
def test_windows_are_what_counting_by_hand_gives(offsets: list[int]) -> None:
    arrivals = sorted(NOON + offset * 7 * MS for offset in offsets)
    bursts = Bursts()
    for at in arrivals:
        bursts.add(at)
    windows, rate = bursts.result()
    assert sum(rate.counts) == len(arrivals)
    for window, width_ms in zip(windows, WIDTHS_MS, strict=True):
        width = width_ms * MS
        counts = Counter((at - arrivals[0]) // width for at in arrivals)
        whole = (arrivals[-1] - arrivals[0]) // width
        assert (window.windows, window.peak) == (whole, max(counts.values()))
        if whole:
            by_hand = [counts[index] for index in range(whole)]
            assert window.mean == pytest.approx(statistics.fmean(by_hand))
            if whole >= 10:
                assert window.dispersion == pytest.approx(
                    statistics.pvariance(by_hand) / statistics.fmean(by_hand), abs=1e-9
                )
            else:
                assert window.dispersion is None


def dispersion(arrivals: list[int]) -> list[float | None]:
    bursts = Bursts()
    for at in arrivals:
        bursts.add(at)
    return [window.dispersion for window in bursts.result()[0]]


def test_strangers_give_one_a_metronome_less_and_bursts_more() -> None:
    dice = random.Random(1)
    at, poisson = float(NOON), []
    for _ in range(40_000):
        at += dice.expovariate(100 / 1e9)
        poisson.append(int(at))
    for found, error in zip(dispersion(poisson), (0.05, 0.1, 0.3, 0.9), strict=True):  # of ever fewer windows
        assert found == pytest.approx(1, abs=error)
    steady = [NOON + number * 10 * MS + MS for number in range(40_000)]
    assert max(found or 0 for found in dispersion(steady)) < 0.01
    bursty = [NOON + second * SECOND + number * MS for second in range(400) for number in range(100)]
    ten_ms, tenth, second, _ = dispersion(bursty)
    assert ten_ms == pytest.approx(9, rel=0.05)
    assert tenth == pytest.approx(90, rel=0.05)
    assert second == pytest.approx(0, abs=0.01)


def test_a_year_long_picture_has_few_buckets() -> None:
    bursts = Bursts()
    for day in range(365):
        bursts.add(NOON + day * 86_400 * SECOND)
    _, rate = bursts.result()
    assert len(rate.counts) <= 2048
    assert sum(rate.counts) == 365
    assert len(rate.counts) * rate.bucket_seconds > 364 * 86_400


@given(st.lists(st.integers(-1, 2**60), min_size=1, max_size=100))
@settings(max_examples=25)
def test_quantiles_are_exact_to_three_digits(values: list[int]) -> None:
    distribution = Distribution()
    for value in values:
        distribution.add(value)
    found = distribution.quantiles()
    exact = sorted(max(0, value) for value in values)
    assert (found.count, found.max) == (len(values), float(exact[-1]))
    assert found.sum == pytest.approx(sum(exact))
    assert found.p50 is not None
    middle = exact[(len(exact) + 1) // 2 - 1]
    assert found.p50 == pytest.approx(min(middle, 1 << 50), rel=0.002, abs=1)
    assert (found.p50 or 0) <= (found.p90 or 0) <= (found.p99 or 0) <= (found.max or 0)


def test_of_nothing_there_are_no_quantiles() -> None:
    assert Distribution().quantiles().p50 is None
    empty = summarise([])
    assert (empty.records, empty.first_ns, empty.per_second, empty.bursts) == (0, None, None, [])


def cookies(text: str) -> Headers:
    return ((b"User-Agent", b"x"), (b"Cookie", text.encode()))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (cookies("session=redacted-a; cart=1"), cookies("cart=2; session=redacted-a"), True),
        (cookies("session=redacted-a"), cookies("session=redacted-b"), False),
        (cookies("JSESSIONID=1; csrftoken=x"), cookies("JSESSIONID=1; csrftoken=y"), True),
        (cookies("connect.sid=1; theme=dark"), cookies("connect.sid=1"), True),
        (((b"x-forwarded-for", b"192.0.2.1"),), ((b"x-forwarded-for", b"192.0.2.2"),), False),
        (((b"x-forwarded-for", b"192.0.2.1"),), ((b"x-forwarded-for", b"192.0.2.1, 10.0.0.1"),), True),
        (cookies("video=1; theme=dark"), cookies("video=2; theme=dark"), False),
        (((b"authorization", b"Bearer redacted-a"),), ((b"Authorization", b"Bearer redacted-a"), (b"a", b"b")), True),
        (((b"authorization", b"Bearer redacted-a"),), ((b"authorization", b"Bearer redacted-b"),), False),
        (((b"user-agent", b"a"), (b"sec-ch-ua", b"b")), ((b"user-agent", b"a"), (b"sec-ch-ua", b"c")), False),
        (((b"user-agent", b"a"), (b"accept", b"b")), ((b"User-Agent", b"a"), (b"accept", b"c")), True),
        (((b"cookie", b"sid=1"), (b"cookie", b"a=2")), ((b"cookie", b"sid=1"),), True),
    ],
)
def test_what_belongs_together(one: Headers, other: Headers, same: bool) -> None:
    assert (session(one) == session(other)) == same


def test_what_sessions_are_known_by() -> None:
    kinds = [
        session(headers)[0]
        for headers in (
            cookies("sid=1"),
            (*cookies("theme=1"), (b"authorization", b"x")),
            cookies("theme=1"),
            ((b"user-agent", b"x"),),
            ((b"host", b"x"),),
        )
    ]
    assert kinds == ["cookie", "authorization", "cookie", "hints", "none"]
    assert session(((b"x-forwarded-for", b"192.0.2.1"),))[0] == "hints"


def test_more_sessions_than_are_kept_are_estimated_and_that_is_said() -> None:
    counter = SessionCounter(most=1000)
    for number in range(20_000):
        for again in range(1 + number % 3):
            counter.add(cookies(f"session={number}"), NOON + number + again * SECOND)
    found = counter.result()
    assert not found.exact
    assert found.count == pytest.approx(20_000, rel=4 * found.standard_error)
    assert found.requests_by == {"cookie": sum(1 + number % 3 for number in range(20_000))}
    assert found.requests.mean == pytest.approx(2, rel=0.1)
    assert (found.requests.max, found.seconds.max) == (3, 2)


def test_few_sessions_are_counted_exactly() -> None:
    counter = SessionCounter()
    for number in range(300):
        counter.add(cookies(f"session={number % 100}"), NOON + (300 - number) * SECOND)
    found = counter.result()
    assert (found.count, found.exact, found.standard_error) == (100, True, 0)
    assert found.requests.p50 == 3
    assert found.seconds.p50 == pytest.approx(200, rel=0.001)


@given(st.lists(records, max_size=30))
def test_every_record_is_in_every_count(made: list[Record]) -> None:
    made.sort(key=lambda one: one.arrival_ns)
    found = summarise(made)
    assert found.records == len(made)
    for counts in (found.methods, found.statuses, found.hosts, found.versions, found.sessions.requests_by):
        assert sum(counts.values()) == len(made)
    assert sum(found.rate.counts) == len(made)
    assert found.seconds.count == sum(one.status != 0 for one in made)


def test_what_strangers_make_up_does_not_fill_the_memory() -> None:
    dice = random.Random(2)

    def strange() -> Record:
        noise = dice.randbytes(300).hex()
        return record(method=noise, authority=noise, http_version=noise, headers=((b"cookie", noise.encode()),))

    summarise([record()])
    tracemalloc.start()
    try:
        found = summarise(strange() for _ in range(70_000))
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()
    assert found.methods[OTHERS] == 70_000 - 64
    assert not found.sessions.exact
    assert found.sessions.count == pytest.approx(70_000, rel=0.05)


def test_no_answer_is_told_from_one_that_nobody_knows() -> None:
    nothing = {"status": 0, "response_size": 0, "ttfb_ns": -1}
    told = summarise([record(duration_ns=0, **nothing), record(duration_ns=1000, **nothing), record(status=200)])
    assert told.statuses == {"200": 1, "none": 1, "unknown": 1}
