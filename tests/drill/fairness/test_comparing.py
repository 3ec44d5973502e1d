"""What is concluded from the clone's answers: which differences are called out, how gravely, and which are none."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.fairness.fairness import Fairness
from drill.fairness.replies import NEAR, Reply, difference, packed_size
from drill.fairness.weighing import at_least
from drill.story import Outside, RouteFigures
from tests.drill.fairness.asking import STORY, about, compared, known, reply, requests


def test_a_list_of_12_products_in_place_of_50_000_forbids_holds_and_is_called_out() -> None:
    then = requests("/products", 100, response_size=4_800_000)
    found = compared(then, [reply(one, size=2100) for one in then[:3]])
    (finding,) = about(found, "size")
    assert finding.severity == "unfair"
    assert finding.direction == "easy"
    assert finding.route == "GET /products"
    assert "2.1 kB on the clone, where production sent 4.8 MB (1/2,286 of it)" in finding.what
    assert "HOLDS is out of the question" in finding.means
    assert "--changed 'GET /products'" in finding.advice
    assert found.routes[0].outcome == "unfair"
    assert Fairness(to="", findings=found.findings).forbids_holds


def test_a_clone_with_more_to_do_forbids_the_other_verdict() -> None:
    then = requests("/products", 100, response_size=5000)
    found = compared(then, [reply(one, size=50_000) for one in then[:4]])
    (finding,) = about(found, "size")
    assert (finding.severity, finding.direction) == ("unfair", "hard")
    assert "10 times as much" in finding.what


def test_equal_answers_say_nothing_against_the_clone() -> None:
    then = requests("/item/{}", 100, response_size=5000)
    found = compared(then, [reply(one) for one in known(then).routes[0].examples])
    assert not found.findings
    assert found.compared_share == 1.0
    assert found.routes[0].outcome == "alike"
    assert found.routes[0].clone_sizes == found.routes[0].recorded_sizes


@given(st.randoms(use_true_random=False), st.integers(300, 2_000_000))
def test_sizes_that_differ_by_a_fifth_are_never_called_out(draw: random.Random, size: int) -> None:
    then = requests("/item/{}", 40, response_size=size)
    examples = known(then).routes[0].examples
    found = compared(then, [reply(one, size=round(size * draw.uniform(0.8, 1.2))) for one in examples])
    assert not about(found, "size")


@given(st.lists(st.integers(0, NEAR), min_size=3, max_size=8))
def test_bytes_more_in_a_small_answer_are_no_other_page(more: list[int]) -> None:
    then = requests("/item/{}", 40, response_size=600)
    examples = known(then).routes[0].examples
    assert not about(compared(then, [reply(e, size=600 + m) for e, m in zip(examples, more, strict=False)]), "size")


def test_a_page_that_is_of_any_size_by_itself_is_not_called_out() -> None:
    """The same search was answered with 1 to 100 kB in the incident; with 2 kB it is answered now."""
    then = [one._replace(response_size=1000 * (1 + n * 37 % 100)) for n, one in enumerate(requests("/search?q=a", 200))]
    found = compared(then, [reply(one, size=2000) for one in known(then).routes[0].examples[:3]])
    assert not about(found, "size")


def test_half_as_much_data_is_a_doubt_and_less_than_half_unfair() -> None:
    then = requests("/products", 100, response_size=100_000)
    for size, severity in ((60_000, "doubt"), (40_000, "unfair")):
        (finding,) = about(compared(then, [reply(one, size=size) for one in then[:4]]), "size")
        assert finding.severity == severity, size


def test_one_answer_of_many_that_differs_is_a_doubt() -> None:
    then = requests("/item/{}", 100, response_size=50_000)
    examples = known(then).routes[0].examples
    found = compared(then, [reply(one, size=900 if n == 0 else None) for n, one in enumerate(examples)])
    (finding,) = about(found, "size")
    assert finding.severity == "doubt"


def test_the_largest_answer_counts_by_the_bytes_that_such_answers_are_of_the_route() -> None:
    """One request in twenty shows all products; these are most of what the route sends."""
    then = requests("/list?page={}", 95, response_size=5000) + requests("/list?all=1", 5, response_size=3_000_000)
    route = known(then).routes[0]
    assert route.largest is not None
    small = [one for one in route.examples if one.response_size == 5000]
    found = compared(then, [*map(reply, small), reply(route.largest, size=5000, purpose="largest")])
    (finding,) = about(found, "size")
    assert finding.severity == "unfair"
    rare = requests("/list?page={}", 999, response_size=500_000) + requests("/list?all=1", 1, response_size=3_000_000)
    route = known(rare).routes[0]
    assert route.largest is not None
    small = [one for one in route.examples if one.response_size == 500_000]
    found = compared(rare, [*map(reply, small), reply(route.largest, size=5000, purpose="largest")])
    (finding,) = about(found, "size")
    assert finding.severity == "doubt"


# --- statuses ---


@pytest.mark.parametrize(
    ("then", "status", "more", "kind", "direction"),
    [
        (200, 404, {}, "missing", "easy"),
        (200, 410, {}, "missing", "easy"),
        (200, 401, {}, "login", "easy"),
        (200, 403, {}, "login", "easy"),
        (200, 302, {"location": "/login?next=%2F"}, "login", "easy"),
        (200, 302, {"location": "https://id.example/oauth2/authorize?x"}, "login", "easy"),
        (200, 301, {"location": "https://shop.example/a/0"}, "status", "easy"),
        (200, 302, {"location": "http://["}, "status", "easy"),
        (200, 500, {}, "failing", "hard"),
        (200, 429, {}, "failing", "either"),
        (200, 0, {"failure": "timeout"}, "failing", "hard"),
        (200, 400, {}, "status", "easy"),
        (304, 200, {}, "status", "hard"),
        (200, 304, {}, "status", "easy"),
        (404, 200, {}, "status", "hard"),
        (302, 200, {}, "status", "hard"),
        (503, 404, {}, "missing", "easy"),
        (200, 200, {}, None, None),
        (404, 404, {}, None, None),
        (404, 302, {"location": "/"}, None, None),
        (200, 201, {}, None, None),
        (503, 200, {}, None, None),
        (0, 200, {}, None, None),
    ],
)
def test_what_another_status_means(
    then: int, status: int, more: dict[str, Any], kind: str | None, direction: str | None
) -> None:
    (asked,) = requests("/a/0", 1, status=then)
    found = difference(reply(asked, status, **more))
    assert (found and found.kind, found and found.direction) == (kind, direction)


def test_things_that_are_missing_forbid_holds() -> None:
    then = requests("/item/{}", 100)
    found = compared(then, [reply(one, 404) for one in known(then).routes[0].examples])
    (finding,) = found.findings
    assert (finding.kind, finding.severity, finding.direction) == ("missing", "unfair", "easy")
    assert "answered with 200 in production, the clone answers 8 with 404" in finding.what


def test_a_clone_that_fails_without_load_forbids_does_not_hold() -> None:
    then = requests("/item/{}", 100)
    found = compared(then, [reply(one, failure="timeout") for one in known(then).routes[0].examples])
    assert [(f.kind, f.severity, f.direction) for f in found.findings] == [("failing", "unfair", "hard")]
    assert found.routes[0].clone == {"timeout": 8}


def test_what_failed_in_the_incident_as_well_is_a_doubt() -> None:
    then = requests("/report/{}", 100, status=504)
    found = compared(then, [reply(one, failure="timeout") for one in known(then).routes[0].others])
    (finding,) = about(found, "failing")
    assert (finding.severity, finding.direction) == ("doubt", "hard")
    assert "it only failed" in finding.what


def test_one_thing_of_eight_that_is_missing_is_a_doubt() -> None:
    then = requests("/item/{}", 100)
    examples = known(then).routes[0].examples
    found = compared(then, [reply(one, 404 if n == 3 else 200) for n, one in enumerate(examples)])
    assert [finding.severity for finding in about(found, "missing")] == ["doubt"]


def test_a_route_that_matters_to_nobody_is_a_doubt_and_many_of_them_are_unfair_together() -> None:
    busy = requests("/", 2000)
    few = [one for n in range(20) for one in requests(f"/page-{'abcdefghijklmnopqrst'[n]}/x", 8)]
    answers = [reply(busy[0])]
    found = compared(busy + few[:8], [*answers, *(reply(one, 404) for one in few[:1])])
    assert [finding.severity for finding in found.findings] == ["doubt"]
    found = compared(busy + few, [*answers, *(reply(one, 404) for one in few[::8])])
    assert [finding.severity for finding in found.findings if finding.template is None] == ["unfair"]


def test_a_rare_route_that_took_most_of_the_time_matters() -> None:
    then = requests("/", 2000) + requests("/report", 4, duration_ns=60_000_000_000)
    found = compared(then, [reply(then[0]), *(reply(then[-1], 404) for _ in range(3))])
    assert [finding.severity for finding in found.findings] == ["unfair"]


def test_what_the_fix_has_changed_is_a_doubt() -> None:
    then = requests("/products", 100, response_size=4_800_000)
    answers = [reply(one, size=2100) for one in then[:3]]
    for name in ("GET /products", "/products"):
        (finding,) = about(compared(then, answers, changed=[name]), "size")
        assert finding.severity == "doubt"
        assert "the fix changed that" in finding.what
    (finding,) = about(compared(then, answers, changed=["GET /other"]), "size")
    assert finding.severity == "unfair"


# --- where less is known ---


def test_without_sizes_and_statuses_it_is_said_that_nothing_is_known() -> None:
    then = requests("/item/{}", 100, status=0, response_size=0, duration_ns=0, ttfb_ns=-1)
    found = compared(then, [reply(one, size=700) for one in known(then).routes[0].others])
    (finding,) = found.findings
    assert (finding.kind, finding.severity) == ("not-compared", "doubt")
    missing = compared(then, [reply(one, 404) for one in known(then).routes[0].others])
    assert ("missing", "unfair") in [(f.kind, f.severity) for f in missing.findings]


def test_shares_of_classes_tell_whether_production_can_have_answered_so() -> None:
    """Of a source that knows statuses of all answers together only: 404 was 30% of them, or 1%."""
    then = requests("/item/{}", 100, status=0, response_size=0, duration_ns=0, ttfb_ns=-1)
    answers = [reply(one, 404) for one in known(then).routes[0].others]
    for share, severity in ((60, "doubt"), (1, "unfair")):
        story = STORY.model_copy(update={"outcomes": "routes", "statuses": {"2XX": 100 - share, "4XX": share}})
        (finding,) = about(compared(then, answers, story), "missing")
        assert finding.severity == severity


def test_the_mean_size_of_all_answers_shows_a_clone_without_data() -> None:
    then = requests("/products", 100, status=0, response_size=0, duration_ns=0, ttfb_ns=-1)
    story = STORY.model_copy(update={"outcomes": "routes", "mean_bytes": 4_000_000.0})
    (finding,) = about(compared(then, [reply(one, size=2000) for one in then[:3]], story), "size")
    assert (finding.severity, finding.direction, finding.template) == ("unfair", "easy", None)
    assert not about(compared(then, [reply(one, size=3_500_000) for one in then[:3]], story), "size")


def test_failures_of_the_incident_make_no_clone_look_large() -> None:
    """Two of three failed, with a few bytes: the answers that did not were three times the mean."""
    then = requests("/products", 100, status=0, response_size=0, duration_ns=0, ttfb_ns=-1)
    story = STORY.model_copy(update={"outcomes": "routes", "mean_bytes": 10_000.0, "statuses": {"2XX": 33, "5XX": 67}})
    assert not about(compared(then, [reply(one, size=30_000) for one in then[:3]], story), "size")
    (finding,) = about(compared(then, [reply(one, size=300_000) for one in then[:3]], story), "size")
    assert (finding.severity, finding.direction) == ("doubt", "hard")


def test_where_many_routes_are_unknown_the_mean_of_all_answers_says_little() -> None:
    then = requests("/products", 100, status=0, response_size=0, duration_ns=0, ttfb_ns=-1)
    outside = Outside(share=0.3, filled="left-out")
    story = STORY.model_copy(update={"outcomes": "routes", "mean_bytes": 4_000_000.0, "outside": outside})
    (finding,) = about(compared(then, [reply(one, size=2000) for one in then[:3]], story), "size")
    assert finding.severity == "doubt"


def test_the_mean_size_of_a_route_does_too() -> None:
    then = requests("/products", 100, status=0, response_size=0, duration_ns=0, ttfb_ns=-1)
    told = RouteFigures(method="GET", template="/products", count=100, mean=2.5, bytes=4_000_000.0)
    story = STORY.model_copy(update={"outcomes": "routes", "routes": (told,)})
    found = compared(then, [reply(one, size=2000) for one in then[:3]], story)
    (finding,) = about(found, "size")
    assert (finding.severity, finding.direction, finding.time_share) == ("unfair", "easy", 1.0)


def test_writes_are_said_to_be_unknown() -> None:
    then = requests("/", 90) + requests("/cart", 10, method="POST", body=b"a=1")
    found = compared(then, [reply(then[0])])
    assert [(f.kind, f.severity, f.share) for f in found.findings] == [("not-compared", "doubt", 0.1)]


def test_routes_that_were_not_asked_are_said_to_be_unknown() -> None:
    then = requests("/", 50) + requests("/other", 50)
    found = compared(then, [reply(then[0])])
    (finding,) = about(found, "not-compared")
    assert finding.share == 0.5
    assert [route.outcome for route in found.routes] == ["alike", "not compared"]


# --- packing and caches ---


def page(rows: int) -> bytes:
    return b"".join(b"<li>product %d, a name and a price of %d</li>" % (n, n * 7919 % 100) for n in range(rows))


def test_packing_that_differs_is_told_apart_from_data_that_differ() -> None:
    body = page(3000)
    packed = packed_size(body, len(body))
    assert packed is not None
    then = requests("/products", 100, response_size=packed)
    found = compared(then, [reply(one, size=len(body), packed=packed) for one in then[:3]])
    assert not about(found, "size")
    (finding,) = about(found, "compression")
    assert (finding.severity, finding.direction) == ("doubt", "easy")
    then = requests("/products", 100, response_size=len(body))
    found = compared(then, [reply(one, size=packed, plain=len(body)) for one in then[:3]])
    assert not about(found, "size")
    (finding,) = about(found, "compression")
    assert finding.direction == "hard"


def test_a_small_clone_is_not_excused_by_packing() -> None:
    then = requests("/products", 100, response_size=400_000)
    found = compared(then, [reply(one, size=900, packed=300) for one in then[:3]])
    assert [finding.severity for finding in about(found, "size")] == ["unfair"]


def twice(first: float, second: float, count: int) -> list[Reply]:
    then = requests("/item-{}/x", 8)
    asked = [then[n % 8] for n in range(count)]
    return [each for one in asked for each in (reply(one, seconds=first), reply(one, purpose="again", seconds=second))]


def test_cold_caches_show_by_the_first_answer() -> None:
    then = requests("/item-{}/x", 8)
    (finding,) = about(compared(then, twice(0.3, 0.02, 8)), "cache")
    assert (finding.severity, finding.direction) == ("doubt", "hard")
    assert "15 times as long (300 ms)" in finding.what
    assert not about(compared(then, twice(0.3, 0.02, 3)), "cache")  # three are chance
    assert not about(compared(then, twice(0.004, 0.001, 8)), "cache")  # that is no difference
    assert not about(compared(then, twice(0.3, 0.2, 8)), "cache")


def test_a_cache_before_the_clone_is_told() -> None:
    then = requests("/", 10)
    (finding,) = about(compared(then, [reply(then[0], from_cache="x-cache: HIT")]), "shared-cache")
    assert (finding.severity, finding.direction) == ("doubt", "easy")


# --- chance ---


@given(st.integers(1, 60), st.data())
def test_what_is_left_without_doubt_is_never_more_than_was_seen(of: int, data: st.DataObject) -> None:
    seen = data.draw(st.integers(0, of))
    assert 0 <= at_least(seen, of) <= seen / of
    assert at_least(seen, of) <= at_least(min(seen + 1, of), of)


def test_a_fair_clone_is_called_unfair_hardly_ever() -> None:
    """Of a page that is 404 for one request in fifty, on both sides: how often is it called unfair? Simulated."""
    draw = random.Random(5)
    unfair = 0
    for _ in range(400):
        then = requests("/item/{}", 8)
        answers = [reply(one, 404 if draw.random() < 0.02 else 200) for one in then]
        unfair += any(finding.severity == "unfair" for finding in compared(then, answers).findings)
    assert unfair <= 8
