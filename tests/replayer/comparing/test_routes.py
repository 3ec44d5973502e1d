"""What came back by route: nothing is lost and nothing counted twice, however often it is taken and merged."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from captures.records import Record
from replayer.comparing.routes import MOST, OTHERS, Outline, Route, Routes, outline, rounded
from replayer.requests.encoding import Encoder, Request
from tests.support.recording import record


def test_of_a_record_its_answer_is_kept() -> None:
    seen = outline(record(status=503, response_size=7, ttfb_ns=8, duration_ns=9))
    assert seen == Outline(status=503, response_size=7, ttfb_ns=8, duration_ns=9)
    assert Outline._fields == Record._fields[-4:]
    request = Encoder("run", ("GET",), "x").encode(record(path="/a", status=503, response_size=7))
    assert isinstance(request, Request)
    assert request.recorded is not None
    assert request.recorded.status == 503


def test_paths_that_differ_by_an_identifier_are_one_route() -> None:
    routes = Routes()
    numbers = {routes.number("GET", f"/item/{n}?q={n}") for n in range(100)}
    assert len(numbers) == 1
    assert routes.number("POST", "/item/1") not in numbers
    assert [(route.method, route.template) for route in routes.all] == [("GET", "/item/{id}"), ("POST", "/item/{id}")]


def test_words_that_stand_for_things_are_merged_at_the_end() -> None:
    routes = Routes()
    for n in range(400):
        name = "".join(chr(97 + int(digit)) for digit in f"{n:04d}")
        route = routes.all[routes.number("GET", f"/blog/how-{name}-to")]
        route.sent += 1
        route.latency[1000 + n] += 1
        route.told.append(Outline(200, 10, 1_000_000, 2_000_000))
    (merged,) = routes.settled()
    assert (merged.template, merged.sent, merged.latency.total()) == ("/blog/{slug}", 400, 400)
    assert (merged.recorded.count, merged.recorded.bytes, merged.recorded.duration) == (400, 4000, Counter({2000: 400}))


def test_made_up_paths_do_not_fill_the_memory() -> None:
    routes = Routes()
    for n in range(MOST + 500):
        name = "".join(chr(97 + int(digit)) for digit in str(n))
        routes.all[routes.number("GET", f"/{name}/x")].sent += 1
    assert len(routes.all) == MOST + 1
    assert (routes.all[-1].method, routes.all[-1].template) == OTHERS
    assert routes.all[-1].sent == 500


def test_what_had_no_answer_when_it_was_recorded_has_no_times() -> None:
    route = Route("GET", "/")
    route.told += [Outline(0, 0, -1, 5_000_000), Outline(200, 3, 900, 1_234_567_000)]
    route.digest()
    assert route.recorded.statuses == Counter({0: 1, 200: 1})
    assert route.recorded.duration == Counter({rounded(1_234_567): 1})
    assert route.recorded.ttfb == Counter({0: 1})


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 10_000_000), st.booleans(), st.booleans())))
def test_however_often_it_is_taken_the_totals_are_the_same(events: list[tuple[int, int, bool, bool]]) -> None:
    routes = Routes()
    taken: list[Route] = []
    numbers = [routes.number("GET", f"/{name}") for name in ("a", "b", "c")]
    for place, value, fails, take in events:
        route = routes.all[numbers[place]]
        route.sent += 1
        route.told.append(Outline(200, value, value, value * 1000))
        if fails:
            route.errors["reset"] += 1
        else:
            route.latency[rounded(value)] += 1
        if take and (found := routes.taken(numbers[place])) is not None:
            taken.append(found)
    settled = routes.settled()
    assert routes.settled() == settled  # asking changes nothing
    assert sum(route.sent for route in settled) == len(events)
    assert sum(route.recorded.count for route in settled) == len(events)
    assert sum(route.errors.total() for route in settled) == sum(fails for _, _, fails, _ in events)
    latencies = sum((route.latency for route in settled), Counter[int]())
    assert latencies == Counter(rounded(value) for _, value, fails, _ in events if not fails)
    assert sum(route.sent for route in taken) <= len(events)


@given(st.lists(st.integers(-2, 5_000_000_000_000), max_size=30), st.integers(1, 10))
def test_what_was_told_is_counted_whatever_the_pieces(durations: list[int], most: int) -> None:
    route = Route("GET", "/")
    for duration in durations:
        route.told.append(Outline(200, 1, duration, duration))
        if duration % 3 == 0:
            route.digest(most)
    route.digest()
    expected = Counter(rounded(max(0, duration) // 1000) for duration in durations)
    assert route.recorded.duration == route.recorded.ttfb == expected
    assert (route.recorded.count, route.recorded.bytes) == (len(durations), len(durations))


@given(st.integers(0, 3_600_000_000))
def test_three_digits_are_kept(value: int) -> None:
    assert value * 0.998 <= rounded(value) <= value
    assert rounded(rounded(value)) == rounded(value)


def test_what_was_recorded_where_no_answers_are_seen_has_not_failed() -> None:
    route = Route("GET", "/")
    route.told += [Outline(0, 0, -1, 0), Outline(0, 0, -1, 5_000_000), Outline(200, 3, 900, 1_234_567_000)]
    route.digest()
    assert route.recorded.count == 3
    assert route.recorded.statuses == Counter({0: 1, 200: 1})
