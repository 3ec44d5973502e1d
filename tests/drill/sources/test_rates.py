"""What is done with rates before anything is drawn from them."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.moments import SECOND
from drill.sources.rates import (
    OUTSIDE,
    Rates,
    Route,
    as_one,
    checked,
    cut,
    ensure_room,
    figures,
    mixture,
    outside,
    scaled_to_total,
    statuses,
    with_outside,
)
from rules.exits import UserError

GRAIN = 60 * SECOND
NOON = 1_795_262_400 * SECOND


def route(path: str, *counts: float, **more: object) -> Route:
    return Route("GET", "https", "shop.example", path, tuple(map(float, counts)))._replace(**more)  # type: ignore[arg-type]


def rates(*routes: Route, totals: Sequence[float] = (), codes: Sequence[dict[str, float]] = ()) -> Rates:
    return Rates(NOON, GRAIN, routes, tuple(map(float, totals)), tuple(codes))


whole = st.integers(0, 50)


@given(st.lists(st.tuples(whole, whole, whole), min_size=1, max_size=5), st.tuples(whole, whole, whole))
def test_scaled_up_each_grain_has_its_total_and_no_route_fewer_than_it_had(
    known: list[tuple[int, ...]], more: tuple[int, ...]
) -> None:
    totals = [sum(column) + extra for column, extra in zip(zip(*known, strict=True), more, strict=True)]
    given = rates(*(route(f"/{number}", *row) for number, row in enumerate(known)), totals=totals)
    scaled = scaled_to_total(given)
    if any(map(sum, known)):
        assert list(scaled.inside) == totals
    for before, after in zip(given.routes, scaled.routes, strict=True):
        assert all(one.is_integer() for one in after.counts)
        assert all(late >= early for early, late in zip(before.counts, after.counts, strict=True))


def test_scaled_up_routes_keep_their_proportions() -> None:
    scaled = scaled_to_total(rates(route("/a", 30, 0), route("/b", 10, 0), totals=(80, 8)))
    assert [one.counts for one in scaled.routes] == [(60.0, 6.0), (20.0, 2.0)]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=20))
def test_what_is_outside_is_whole_and_adds_up(pairs: list[tuple[float, float]]) -> None:
    given = rates(route("/", *(one for one, _ in pairs)), totals=[one + more for one, more in pairs])
    found = outside(given)
    assert min(found) >= 0
    assert abs(sum(found) - math.fsum(more for _, more in pairs)) < 1
    beyond = with_outside(given)
    assert sum(found) == (beyond.routes[-1].requests if beyond.routes[-1].path == OUTSIDE else 0)


def test_a_source_that_knows_all_has_nothing_outside() -> None:
    given = rates(route("/", 3, 4))
    assert outside(given) == (0, 0)
    assert with_outside(given) is given
    assert scaled_to_total(given) is given


def test_a_part_of_the_time_has_one_grain_more_on_both_sides() -> None:
    given = rates(
        route("/", 1, 2, 3, 4, 5, 6, busy=(1, 2, 3, 4, 5, 6)), totals=(1, 2, 3, 4, 5, 6), codes=[{"2XX": 1}] * 6
    )
    part = cut(given, NOON + 2 * GRAIN + 1, NOON + 3 * GRAIN)
    assert part.begin_ns == NOON + GRAIN
    assert part.routes[0].counts == (2.0, 3.0, 4.0)
    assert (part.routes[0].busy, part.totals, len(part.codes)) == ((2, 3, 4), (2.0, 3.0, 4.0), 3)
    assert cut(given, NOON, NOON + 6 * GRAIN) == given


def test_several_times_of_a_source_are_one() -> None:
    early = rates(
        route("/a", 10, 30, mean=1.0, quantiles=(("p50", 0.5), ("p96", 2.0)), busy=(1.0, 2.0)),
        route("/b", 5, 5),
        totals=(20, 40),
        codes=[{"2XX": 20}, {"5XX": 40}],
    )
    late = rates(route("/a", 60, mean=2.0, quantiles=(("p50", 1.0), ("p96", 4.0)), busy=(7.0,)), codes=[{"2XX": 60}])
    whole = as_one([late._replace(begin_ns=NOON + 3 * GRAIN), early])
    assert (whole.begin_ns, whole.grains) == (NOON, 4)
    assert whole.requests == (20.0, 40.0, 0.0, 60.0)
    assert list(whole.codes) == [{"2XX": 20}, {"5XX": 40}, {}, {"2XX": 60}]
    first, second = whole.routes
    assert (first.counts, first.busy, first.mean) == ((10.0, 30.0, 0.0, 60.0), (1.0, 2.0, 0.0, 7.0), 1.6)
    assert 0.5 < dict(first.quantiles)["p50"] < 1.0
    assert second.counts == (5.0, 5.0, 0.0, 0.0)
    assert outside(whole) == (5, 5, 0, 0)
    assert any("1 grains between the files" in note for note in whole.notes)
    assert as_one([early]) is early


def test_times_that_do_not_fit_together_are_told() -> None:
    one = rates(route("/a", 1, 2))
    for other, says in (
        (one._replace(begin_ns=NOON + GRAIN), "overlap"),
        (one._replace(begin_ns=NOON + 9 * GRAIN + 1), "overlap"),
        (one._replace(begin_ns=NOON + 9 * GRAIN, grain_ns=GRAIN * 2), "grains differ"),
        (one._replace(begin_ns=NOON + 10**9 * GRAIN), "can be drawn"),
    ):
        with pytest.raises(UserError, match=says):
            as_one([one, other])


def test_figures_are_those_of_the_time_where_they_can_be() -> None:
    given = rates(
        route("/a", 10, 30, mean=9.0, quantiles=(("p50", 1.0), ("p96", 2.0)), busy=(1.0, 6.0), failed=(0.0, 15.0)),
        route("/b", 100, 0, mean=0.5),
        codes=[{"2XX": 110.0}, {"2XX": 15.0, "5XX": 15.0}],
    )
    (late,) = figures(given, ["/a", "/b"], NOON + GRAIN, NOON + 2 * GRAIN)
    assert (late.template, late.count, late.failed) == ("/a", 30, 0.5)
    assert late.mean == pytest.approx(0.2)
    assert late.quantiles == {"p50": 1.0, "p96": 2.0}
    assert statuses(given, NOON + GRAIN // 2, NOON + 2 * GRAIN) == {"2XX": 70, "5XX": 15}
    first, second = figures(given, ["/a", "/b"], NOON, NOON + 2 * GRAIN)
    assert (first.template, first.mean) == ("/b", 0.5)  # more impact: 50 s, and not 7 s
    assert second.count == 40
    assert second.mean == pytest.approx(7 / 40)


def test_urls_of_one_template_are_one_route() -> None:
    alike = {"mean": 1.0, "quantiles": (("p50", 0.8), ("p96", 3.0))}
    given = rates(route("/item/1", 30, **alike), route("/item/2", 10, **{**alike, "mean": 5.0}), route("/", 5))
    item, home = figures(given, ["/item/{id}", "/item/{id}", "/"], NOON, NOON + GRAIN)
    assert (item.template, item.count) == ("/item/{id}", 40)
    assert item.mean == pytest.approx(2.0)
    assert item.quantiles == pytest.approx({"p50": 0.8, "p96": 3.0})
    assert (home.mean, home.quantiles, home.failed) == (None, {}, None)


@given(st.lists(st.tuples(st.integers(1, 100), st.floats(0.001, 10), st.floats(0.001, 10)), min_size=1, max_size=5))
def test_a_percentile_of_several_urls_lies_between_theirs(parts: list[tuple[int, float, float]]) -> None:
    known = [(float(count), p50, max(p50, p96)) for count, p50, p96 in parts]
    for share, place in ((0.5, 1), (0.96, 2)):
        found = mixture(known, share)
        assert min(one[place] for one in known) * 0.999 <= found <= max(one[place] for one in known) * 1.001


def test_what_cannot_be_drawn_is_told() -> None:
    for told, says in (
        (rates(), "no route"),
        (rates(route("/", 0)), "no request"),
        (rates(route("/", math.nan)), "no number"),
        (rates(route("/", math.inf)), "no number"),
    ):
        with pytest.raises(UserError, match=says):
            checked(told)
    with pytest.raises(UserError, match="can be drawn"):
        ensure_room(4000, 90_000)
