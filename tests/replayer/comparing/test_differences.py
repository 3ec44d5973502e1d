"""Answers compared: what differs, and what is noise."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.comparing.differences import ASPECTS, MOST_PLACES, OTHER_PLACES, Aspect, Compared, Seen, differing, places

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=3), below, max_size=4),
    max_leaves=20,
)
NAMES = {0: ("GET", "/a"), 1: ("GET", "/b")}


def seen(body: Any, status: int = 200) -> Seen:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Seen(status, len(data), data)


@pytest.mark.parametrize(
    ("a", "b", "aspects", "found"),
    [
        (seen({"a": 1}), seen({"a": 1}), ASPECTS, {}),
        (seen({"a": 1}), seen({"a": 2}), ASPECTS, {"body-hash", "$.a: value"}),
        (seen({"a": 1}), seen({"a": 2}), ("size",), set()),
        (seen({"a": 1}), seen({"a": 1}, 500), ASPECTS, {"status"}),  # with the status all else differs
        (seen({"a": 1}), seen({"a": 10}, 500), ("size",), {"size"}),
        (seen({"a": 1}), seen({"a": 1.0}), ("json",), set()),
        (seen({"a": 1}), seen({"a": True}), ("json",), {"$.a: type"}),
        (seen({"a": 1}), seen({"b": 1}), ("json",), {"$.a: missing", "$.b: added"}),
        (seen([{"n": 1}, {"n": 2}]), seen([{"n": 1}, {"n": 3}]), ("json",), {"$[].n: value"}),
        (seen([1, 2]), seen([1]), ("json",), {"$[]: length"}),
        (seen(b"<html>"), seen(b"<body>"), ("json",), set()),  # neither is JSON
        (seen({}), seen(b"<body>"), ("json",), {"$: type"}),
        (Seen(200, 5, None), seen({}), ("body-hash", "json"), set()),  # what is not known differs in nothing
    ],
)
def test_what_differs(a: Seen, b: Seen, aspects: tuple[Aspect, ...], found: set[str]) -> None:
    assert set(differing(a, b, aspects)) == set(found)


@given(JSON, JSON)
def test_documents_differ_in_no_place_only_if_they_are_alike(a: Any, b: Any) -> None:
    assert places(a, a) == set()
    assert len(places(a, b)) == len(places(b, a))
    if not places(a, b):
        assert json.loads(json.dumps(a)) == json.loads(json.dumps(b))


def test_hostile_documents_take_no_more_than_their_share() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    assert set(differing(seen(deep), seen({}), ("json",))) <= {"$: type"}
    wide = {f"k{n}": 1 for n in range(20_000)}
    assert len(places(wide, {})) <= 20_000
    nested: Any = 1
    for _ in range(sys.getrecursionlimit() * 2):
        nested = [nested]
    assert places(nested, nested) == set()
    compared = Compared()
    for n in range(1000):
        compared.add(0, {f"$.{n}.{k}: value": "" for k in range(10)}, {})
    (route,) = compared.findings(NAMES)
    assert len(route.found) <= MOST_PLACES + 1
    assert OTHER_PLACES in {found.what for found in route.found}


def verdicts(compared: Compared) -> dict[str, str]:
    return {found.what: found.verdict for route in compared.findings(NAMES) for found in route.found}


def test_what_differs_by_itself_is_noise() -> None:
    compared = Compared()
    for n in range(30):
        noise = {"$.now: value": ""} | ({"$.rare: value": ""} if n % 5 == 0 else {})
        compared.add(
            0, {"$.now: value": "", "$.price: value": ""} | ({"$.rare: value": ""} if n % 4 == 0 else {}), noise
        )
    assert verdicts(compared) == {"$.now: value": "noise", "$.price: value": "differs", "$.rare: value": "noise"}


def test_few_comparisons_tell_little_and_examples_are_kept() -> None:
    compared = Compared()
    for _ in range(2):
        compared.add(0, {"status": "200 before, 500 after"}, {})
    assert verdicts(compared) == {"status": "noise"}
    for _ in range(8):
        compared.add(0, {"status": "200 before, 404 after"}, {})
    (route,) = compared.findings(NAMES)
    assert (route.found[0].verdict, route.found[0].example) == ("differs", "200 before, 500 after")
    assert (route.compared, route.found[0].differing, route.found[0].noise) == (10, 10, 0)


def test_less_often_than_noise_is_no_difference() -> None:
    compared = Compared()
    for _ in range(50):
        compared.add(0, {}, {"size": ""})
    assert verdicts(compared) == {"size": "noise"}
