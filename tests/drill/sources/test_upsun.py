"""Upsun's JSON, made from records: what it tells of them is what they were."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.moments import SECOND
from captures.records import Record
from drill.sources import upsun
from drill.sources.rates import Rates, outside
from rules.exits import UserError
from tests.captures.making import MS, NOON, record
from tests.support.upsun import breakdown, key_of, overview

GRAIN = 60
BEGIN = NOON // SECOND
assert not BEGIN % GRAIN

PATHS = [f"/item/{number}?full=1" for number in range(6)]
RECORDS = [
    record(
        NOON + number * 400 * MS,
        path=PATHS[min(number % 17, 5)],
        method="POST" if number % 17 == 3 else "GET",
        status=503 if number > 700 and number % 3 else 200,
        duration_ns=(number % 50 + 1) * MS,
    )
    for number in range(900)
]
"""Six minutes; the first path carries most."""


def by_grain(records: list[Record]) -> dict[str, Counter[int]]:
    found: dict[str, Counter[int]] = {}
    for one in records:
        found.setdefault(key_of(one), Counter())[(one.arrival_ns - NOON) // (GRAIN * SECOND)] += 1
    return found


def read(told: dict[str, Any]) -> Rates:
    text = json.dumps(told).encode()
    assert upsun.looks_like(text)
    return upsun.read(text)


@pytest.mark.parametrize("answer", [overview, breakdown])
def test_the_order_of_its_names_does_not_matter(answer: Callable[..., dict[str, Any]]) -> None:
    told = answer(RECORDS, grain=GRAIN)
    held = {"data", "breakdown", "top_hits_timeline"}
    turned = json.dumps({name: told[name] for name in sorted(told, key=lambda name: name not in held)}).encode()
    start = turned[: turned.index(b'"_grain"')]
    assert upsun.looks_like(start), "what was asked for stands beyond the first glance"
    assert upsun.read(turned) == read(told)


def test_each_url_has_its_requests_of_each_grain() -> None:
    rates = read(overview(RECORDS, grain=GRAIN))
    known = by_grain(RECORDS)
    assert (rates.begin_ns, rates.grain_ns, rates.grains) == (NOON, GRAIN * SECOND, 6)
    assert len(rates.routes) == len(known)
    for route in rates.routes:
        counts = known[f"{route.method}-{route.scheme}://{route.authority}{route.path}"]
        assert route.counts == tuple(float(counts[grain]) for grain in range(6))
        assert route.known == "grain"
    assert not any(outside(rates))
    assert rates.notes == ()


def test_times_are_seconds() -> None:
    rates = read(overview([record(NOON, duration_ns=250 * MS), record(NOON + MS, duration_ns=750 * MS)], grain=GRAIN))
    (route,) = rates.routes
    assert (route.scheme, route.authority, route.path) == ("http", "shop.example", "/item/7")
    assert route.mean == pytest.approx(0.5)
    assert dict(route.quantiles) == pytest.approx({"p50": 0.75, "p96": 0.75})
    assert route.busy == pytest.approx((1.0,))


def test_what_its_urls_do_not_hold_is_outside() -> None:
    rates = read(overview(RECORDS, grain=GRAIN, top=2))
    known = by_grain(RECORDS)
    assert len(rates.routes) == 2
    listed = {f"{route.method}-{route.scheme}://{route.authority}{route.path}" for route in rates.routes}
    rest = [sum(counts[grain] for key, counts in known.items() if key not in listed) for grain in range(6)]
    assert list(outside(rates)) == rest
    assert sum(rest) > 100


def test_its_codes_are_the_answers_of_each_grain() -> None:
    rates = read(overview(RECORDS, grain=GRAIN))
    bad = Counter((one.arrival_ns - NOON) // (GRAIN * SECOND) for one in RECORDS if one.status == 503)
    assert rates.errors == tuple(bad[grain] for grain in range(6))


def test_of_the_breakdown_the_top_hits_have_their_times_and_the_others_their_sums() -> None:
    rates = read(breakdown(RECORDS, grain=GRAIN, top_hits=2))
    known = by_grain(RECORDS)
    timed = [route for route in rates.routes if route.known == "grain"]
    assert len(timed) == 2
    for route in rates.routes:
        counts = known[f"{route.method}-{route.scheme}://{route.authority}{route.path}"]
        assert route.requests == pytest.approx(sum(counts.values()))
        if route.known == "grain":
            assert route.counts == tuple(float(counts[grain]) for grain in range(6))
    assert not any(outside(rates))
    assert sum(rates.requests) == len(RECORDS)
    assert "only the sum is known" in " ".join(rates.notes)


def test_a_breakdown_that_has_not_all_urls_leaves_some_outside() -> None:
    rates = read(breakdown(RECORDS, grain=GRAIN, top_hits=1, limit=3))
    known = by_grain(RECORDS)
    listed = {f"{route.method}-{route.scheme}://{route.authority}{route.path}" for route in rates.routes}
    assert len(listed) == 3
    rest = sum(sum(counts.values()) for key, counts in known.items() if key not in listed)
    assert sum(outside(rates)) == rest


def test_a_grain_that_is_not_told_of_had_no_request() -> None:
    told = overview(RECORDS, grain=GRAIN)
    del told["data"]["timelines"][2]
    rates = read(told)
    assert rates.grains == 6
    assert rates.requests[2] == 0
    assert "1 of 6 grains" in rates.notes[-1]


def test_empty_maps_may_be_lists_and_timestamps_milliseconds() -> None:
    told = overview(RECORDS, grain=GRAIN)
    for moment in told["data"]["timelines"]:
        moment["timestamp"] *= 1000
    told["data"]["timelines"].append({"timestamp": (BEGIN + 6 * GRAIN) * 1000, "urls": [], "codes": []})
    rates = read(told)
    assert rates.begin_ns == NOON
    assert rates.requests[-1] == 0


def test_counts_that_differ_are_told() -> None:
    told = overview(RECORDS, grain=GRAIN)
    key = next(iter(told["data"]["urls"]))
    told["data"]["urls"][key]["count"] += 5
    assert f"the counts of 1 URLs differ from the sums of their timelines, which are taken: {key}" in read(told).notes


def test_a_staging_environment_is_told() -> None:
    assert "staging" in read({**overview(RECORDS, grain=GRAIN), "_environment_type": "staging"}).notes[0]


def test_a_filtered_breakdown_is_told() -> None:
    rates = read({**breakdown(RECORDS, grain=GRAIN), "_methods": ["GET"], "_methods_mode": "1", "_codes": []})
    assert "it was asked for a part of the traffic only (by methods), and tells of no other" in rates.notes


def test_a_url_that_only_the_timeline_has_is_known_by_its_key() -> None:
    told = overview(RECORDS, grain=GRAIN)
    del told["data"]["urls"]["POST-http://shop.example/item/3"]
    route = next(route for route in read(told).routes if route.method == "POST")
    assert (route.path, route.mean, route.quantiles) == ("/item/3", None, ())
    assert route.requests > 40


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"_grain": 0}, "_grain"),
        ({"_grain": "a minute"}, "_grain"),
        ({"data": {"urls": {}, "timelines": []}}, "its timeline is empty"),
        ({"data": {"urls": {}}}, "data.timelines"),
        ({"data": None}, "neither Upsun's"),
        ({"data": {"timelines": [{"timestamp": -1}]}}, "greater than or equal to 0"),
        ({"data": {"timelines": [{"timestamp": 0}, {"timestamp": 0}]}}, "twice"),
        ({"data": {"timelines": [{"timestamp": 0}, {"timestamp": 61}]}}, "steps of its grain"),
        ({"data": {"timelines": [{"timestamp": 0}, {"timestamp": 60 * 10**9}]}}, "steps of time"),
        ({"data": {"timelines": [{"timestamp": 0, "urls": {"GET-/": {"count": -1}}}]}}, "greater than"),
        ({"data": {"timelines": [{"timestamp": 0, "urls": {"GET-/": {"count": 10**30}}}]}}, "count"),
        ({"data": {"timelines": [{"timestamp": 0, "urls": {"nothing": {"count": 1}}}]}}, "does not tell of"),
        ({"data": {"timelines": [{"timestamp": 0, "urls": {"GET-ftp://x/": {"count": 1}}}]}}, "no URL"),
    ],
)
def test_what_does_not_read_is_told(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        upsun.read(json.dumps({**overview(RECORDS, grain=GRAIN), **change}).encode())


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"_grain": NaN}', b"[" * 100_000, b'{"_grain":60}', b"\xff\xfe"])
def test_broken_json_is_told(text: bytes) -> None:
    with pytest.raises(UserError):
        upsun.read(text)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
places = st.sampled_from(["_grain", "_from", "data", "timelines", "urls", "timestamp", "codes", "count", "url"])


@given(places, json_values)
def test_whatever_stands_in_a_field_it_reads_or_is_told(place: str, value: Any) -> None:
    told = overview(RECORDS[:40], grain=GRAIN)
    spots = [told, told["data"], told["data"]["timelines"][0], next(iter(told["data"]["urls"].values()))]
    next(spot for spot in spots if place in spot)[place] = value
    try:
        rates = upsun.read(json.dumps(told).encode())
    except UserError:
        return
    assert len(rates.totals) == rates.grains
