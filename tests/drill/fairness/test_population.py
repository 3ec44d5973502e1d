"""Which requests stand for a route, and which of them a clone is asked."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from captures.records import Record
from drill.fairness.choosing import DRAWN, FEWEST, MOST, chosen
from drill.fairness.population import EXAMPLES, MOST_ROUTES, OTHERS, SIZES, population
from drill.story import RouteFigures
from tests.drill.fairness.asking import STORY, known, requests
from tests.support.recording import record

paths = st.sampled_from(["/", "/item/1", "/item/2", "/item/77", "/cart", "/list?page=2", "/report/2026-11-22"])
records = st.builds(
    record,
    at=st.floats(0, 100),
    path=paths,
    method=st.sampled_from(["GET", "HEAD", "POST", "DELETE"]),
    status=st.sampled_from([0, 200, 200, 200, 304, 404, 500, 503]),
    response_size=st.integers(0, 5_000_000),
    duration_ns=st.integers(0, 10**10),
)


@given(st.lists(records, min_size=1, max_size=60))
def test_every_request_is_counted_once_and_kept_ones_are_of_the_route(all_: list[Record]) -> None:
    whole = known(all_)
    assert whole.count == len(all_) == sum(route.count for route in whole.routes)
    assert abs(sum(whole.share(route) for route in whole.routes) - 1) < 1e-9
    for route in whole.routes:
        assert route.answered + route.rest == route.count
        assert len(route.examples) == min(EXAMPLES, route.answered)
        assert len(route.others) == min(EXAMPLES, route.rest)
        assert {one.method for one in (*route.examples, *route.others)} == {route.method}
        assert route.largest is None or route.largest.response_size == max(route.sizes)
        assert sum(route.statuses.values()) == route.known
    assert known(all_) == whole  # by the seed


@given(st.lists(records, max_size=80))
def test_only_what_reads_is_ever_asked_and_never_more_than_allowed(all_: list[Record]) -> None:
    whole = known(all_)
    asked = chosen(whole)
    assert len(asked) <= MOST
    assert all(each.record.method in ("GET", "HEAD", "OPTIONS") for each in asked)
    assert all(whole.routes[each.route].method == each.record.method for each in asked)
    for before, each in pairwise(asked):
        assert each.purpose != "again" or before.record == each.record  # twice in a row


def test_each_request_has_the_same_chance_to_stand_for_its_route() -> None:
    drawn: Counter[str] = Counter()
    for seed in range(300):
        shifted = [record(n, f"/item/{n}", headers=((b"x", str(seed).encode()),)) for n in range(40)]
        drawn.update(one.path for one in population(shifted, STORY, seed).routes[0].examples)
    assert len(drawn) == 40
    assert min(drawn.values()) > 30  # 60 of 300 is what is expected of each; 30 is four deviations below
    assert max(drawn.values()) < 92


def test_things_that_only_their_number_shows_are_one_route() -> None:
    """Words in a path that stand for things are found when all are known: what was heard of each is put together."""
    words = [f"red-{n}-shoe-of-{'abcdefghij'[n % 10]}-kind" for n in range(60)]
    whole = known([record(n / 10, f"/product/{word}", response_size=1000 + n) for n, word in enumerate(words)])
    (route,) = whole.routes
    assert route.count == 60
    assert len(route.examples) == EXAMPLES
    assert len(route.sizes) == 60 <= SIZES
    assert route.largest is not None
    assert route.largest.response_size == 1059


def test_a_scanner_does_not_fill_the_memory() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    names = [f"/{a}{b}/{c}{a}{b}/x{d}" for a in letters for b in letters for c in letters[:3] for d in letters[:2]]
    whole = known([record(0, name, method=f"M{n}") for n, name in enumerate(names)])
    assert len(names) > MOST_ROUTES
    assert len(whole.routes) <= MOST_ROUTES + 1
    assert any((route.method, route.template) == OTHERS for route in whole.routes)
    assert whole.count == len(names)
    assert not chosen(whole)  # and methods that nobody knows are not sent


def test_more_things_with_names_than_there_is_room_for_are_one_route_all_the_same() -> None:
    letters = "abcdefghij"
    words = [f"{a}{b}-{c}{d}-shoe" for a in letters for b in letters for c in letters for d in letters[:3]]
    whole = known([record(n / 10, f"/product/{word}") for n, word in enumerate(words)])
    assert len(words) > MOST_ROUTES
    assert [route.count for route in whole.routes] == [len(words)]


def test_heavy_routes_are_asked_more_often_and_the_largest_answer_is_among_what_is_asked() -> None:
    then = requests("/item/{}", 500) + requests("/rare/{}", 3) + requests("/", 100)
    then += [record(1, "/item/9999", response_size=9_000_000)]
    whole = known(then)
    asked = Counter((whole.routes[each.route].template, each.purpose) for each in chosen(whole))
    assert asked["/item/{id}", "drawn"] == DRAWN
    assert asked["/item/{id}", "largest"] == 1
    assert asked["/", "drawn"] == FEWEST  # the same request, three times
    assert asked["/rare/{id}", "drawn"] == 2
    assert {asked[template, "again"] for template in ("/", "/item/{id}", "/rare/{id}")} == {1}


def test_requests_that_were_answered_are_preferred_and_large_bodies_are_not_kept() -> None:
    then = requests("/item/{}", 50, status=503) + requests("/item/9{}", 3)
    asked = [each.record.status for each in chosen(known(then)) if each.purpose == "drawn"]
    assert asked[:3] == [200, 200, 200]
    assert not chosen(known(requests("/up", 5, body=b"x" * 100_000)))


def test_time_is_told_by_the_story_where_records_do_not() -> None:
    then = requests("/item/{}", 90, status=0, duration_ns=0) + requests("/list", 10, status=0, duration_ns=0)
    told = (
        RouteFigures(method="GET", template="/item/{id}", count=90, mean=0.1),
        RouteFigures(method="GET", template="/list", count=10, mean=8.1, bytes=5e6),
    )
    story = STORY.model_copy(update={"outcomes": "routes", "routes": told, "statuses": {"2XX": 50, "5XX": 50}})
    whole = known(then, story)
    assert [round(whole.time_share(route) or 0, 3) for route in whole.routes] == [0.1, 0.9]
    assert whole.routes[1].mean_bytes == 5e6
    assert whole.statuses == {"2XX": 0.5, "5XX": 0.5}


def test_many_small_routes_do_not_crowd_out_those_that_matter() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    small = [record(1, f"/{a}{b}/{b}{a}s") for a in letters for b in letters[:20]]
    then = [record(n, f"/big-{'abcdefgh'[n % 8]}/{n}") for n in range(8 * 700)] + small
    whole = known(then)
    asked = chosen(whole)
    assert len(asked) == MOST
    drawn = Counter(whole.routes[each.route].template for each in asked if each.purpose == "drawn")
    assert [drawn[f"/big-{letter}/{{id}}"] for letter in "abcdefgh"] == [DRAWN] * 8
    assert len(drawn) > 60  # and the small ones have what is left
