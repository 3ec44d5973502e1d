"""Results of range queries: what counters, rates and increases say of requests."""

import json
import math
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.moments import SECOND
from drill.sources import prometheus
from drill.sources.prometheus import Labels
from drill.sources.rates import Rates, Route, outside
from rules.exits import UserError
from tests.support.prometheus import Server

BEGIN = 1_795_262_400
STEP = 15

Points = list[tuple[float, float | str]]


def points(*values: float | str | None, step: int = STEP) -> Points:
    """Values at each step; None: there is none."""
    return [(BEGIN + number * step, value) for number, value in enumerate(values) if value is not None]


def series(name: str, given: Points, **labels: str) -> dict[str, Any]:
    metric = {**({"__name__": name} if name else {}), **labels}
    return {"metric": metric, "values": [[at, value if isinstance(value, str) else f"{value}"] for at, value in given]}


def answer(*result: dict[str, Any]) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": list(result)}}).encode()


def read(*result: dict[str, Any], **more: Any) -> Rates:
    text = answer(*result)
    assert prometheus.looks_like(text)
    return prometheus.read(text, **more)


def one(rates: Rates, path: str) -> Route:
    (found,) = [route for route in rates.routes if route.path == path]
    return found


def test_a_counter_counts_what_it_rose_by() -> None:
    rates = read(series("http_requests_total", points(100, 103, 103, 110), route="/cart", method="post", code="200"))
    assert (rates.begin_ns, rates.grain_ns) == (BEGIN * SECOND, STEP * SECOND)
    route = one(rates, "/cart")
    assert (route.method, route.counts, route.known) == ("POST", (3.0, 0.0, 7.0), "grain")


def test_a_counter_that_begins_anew_counts_from_nothing() -> None:
    rates = read(series("x_total", points(100, 110, 4, 9), path="/"))
    assert one(rates, "/").counts == (10.0, 4.0, 5.0)
    assert any("began anew 1 times" in note for note in rates.notes)


def test_a_counter_that_appears_later_counts_from_its_first_request_on() -> None:
    rates = read(
        series("x_total", points(5, 6, 7, 8), path="/"), series("x_total", points(None, None, 12, 20), path="/new")
    )
    assert one(rates, "/new").counts == (0.0, 12.0, 8.0)


def test_over_a_gap_a_counter_rose_evenly() -> None:
    rates = read(series("x_total", points(0, 2, None, None, 12, 13), path="/"))
    assert one(rates, "/").counts == (2.0, 3.0, 3.0, 4.0, 1.0)
    assert any("without a value" in note for note in rates.notes)


def test_series_of_one_route_are_added_up() -> None:
    rates = read(
        series("x_total", points(0, 2, 4), path="/", instance="a", status="200"),
        series("x_total", points(0, 1, 5), path="/", instance="b", status="503"),
    )
    route = one(rates, "/")
    assert route.counts == (3.0, 6.0)
    assert route.failed == (1.0, 4.0)
    assert rates.codes == ({"2XX": 2.0, "5XX": 1.0}, {"2XX": 2.0, "5XX": 4.0})


def test_a_rate_held_for_the_step_before_it() -> None:
    rates = read(series("", points(9, 2, 4.2), handler="/list", method="GET"))
    route = one(rates, "/list")
    assert route.counts == pytest.approx((30.0, 63.0))
    assert route.known == "rate"
    assert any("taken for rates per second" in note for note in rates.notes)


def test_whole_numbers_that_only_rise_are_a_counter_without_a_name() -> None:
    rates = read(series("", points(9, 12, 12, 40, 41), handler="/a"), series("", points(0, 0, 0, 0, 7), handler="/b"))
    assert one(rates, "/a").counts == (3.0, 0.0, 28.0, 1.0)
    assert any("taken for counters" in note for note in rates.notes)
    falling = read(series("", points(9, 12, 11, 40, 41), handler="/a"))
    assert one(falling, "/a").counts[0] == 12 * STEP


def test_where_nothing_was_measured_rates_changed_evenly_and_where_one_was_not_it_was_nothing() -> None:
    rates = read(
        series("", points(1, 1, None, 3), handler="/a", method="GET"),
        series("", points(1, None, None, 1), handler="/b", method="GET"),
        meaning="increase",
    )
    assert one(rates, "/a").counts == (1.0, 2.0, 3.0)
    assert one(rates, "/b").counts == (0.0, 0.5, 1.0)


def test_what_an_increase_says_is_a_count() -> None:
    rates = read(series("", points(0, 4, 5), handler="/a"), meaning="increase")
    assert one(rates, "/a").counts == (4.0, 5.0)


def test_what_promtool_prints_is_read_too() -> None:
    bare = b"\n" + json.dumps([series("x_total", points(0, 4), path="/a")], indent=1).encode()
    assert prometheus.looks_like(bare)
    assert one(prometheus.read(bare), "/a").counts == (4.0,)


def test_nan_is_no_value() -> None:
    assert one(read(series("", points(1, 2, "NaN", 4), uri="/a"), meaning="increase"), "/a").counts == (2.0, 0.0, 4.0)


def test_labels_are_found_by_their_usual_names_or_said() -> None:
    given = series("x_total", points(0, 2), page="/p", kind="GET", result="5xx", instance="a")
    with pytest.raises(UserError, match="--route-label; there are: instance, kind, page, result"):
        read(given)
    rates = read(given, labels=Labels("page", "kind", "result"))
    assert (one(rates, "/p").method, rates.errors) == ("GET", (2.0,))
    with pytest.raises(UserError, match="--route-label: no series has a label 'pages'"):
        read(given, labels=Labels("pages"))


def test_what_names_no_path_is_outside() -> None:
    rates = read(
        series("x_total", points(0, 6), route="/a"),
        series("x_total", points(0, 3), route=""),
        series("x_total", points(0, 2), route="ProductController#show"),
        series("x_total", points(0, 1), route="/a\r\nX-Injected: 1"),
    )
    assert [route.path for route in rates.routes] == ["/a"]
    assert outside(rates) == (6,)
    assert any("no paths, and count as outside: '(empty)'" in note for note in rates.notes)


def test_a_whole_url_names_its_host() -> None:
    (route,) = read(series("x_total", points(0, 6), url="https://shop.example:8443/a?b")).routes
    assert (route.scheme, route.authority, route.path) == ("https", "shop.example:8443", "/a?b")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"status":"error","errorType":"bad_data","error":"parse error","resultType":0}', "parse error"),
        (b'{"status":"success","data":{"resultType":"vector","result":[]}}', "no result of a range query"),
        (answer(), "no series with values"),
        (answer(series("x_total", points(1), path="/")), "fewer than two moments"),
        (answer(series("x_bucket", points(1, 2), path="/", le="1")), "_count"),
        (answer(series("x_total", points(1, "many"), path="/")), "no number"),
        (answer(series("x_total", points(1, -4), path="/")), "no count"),
        (answer(series("x_total", points(1, "+Inf"), path="/")), "no count"),
        (answer(series("x_total", [(BEGIN, 1), (BEGIN + 2, 2), (BEGIN + 5, 3)], path="/")), "equal steps"),
        (answer(series("x_total", [(0, 1), (1, 1), (1e9, 2)], path="/")), "steps"),
        (answer(series("x_total", points(1, 2), path="/"), series("", points(1, 2), path="/")), "one kind"),
        (b"{", "does not read"),
        (b"[" * 100_000, "does not read"),
        (b"[]", "no series with values"),
    ],
)
def test_what_cannot_be_read_is_told(text: bytes, says: str) -> None:
    with pytest.raises(UserError, match=says):
        prometheus.read(text)


def test_a_hostile_grid_takes_no_memory() -> None:
    """A few bytes for each of many routes, and moments that are far from each other."""
    wide = [series("x_total", [(BEGIN, 0), (BEGIN + 1, 1), (BEGIN + 99_000, 2)], path="/")]
    wide += [series("x_total", [(BEGIN, 0)], path=f"/{number}") for number in range(200)]
    with pytest.raises(UserError, match="counts in all"):
        prometheus.read(answer(*wide))


@given(
    st.lists(
        st.lists(st.none() | st.integers(0, 50) | st.sampled_from(["NaN"]), min_size=4, max_size=4),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["x_total", ""]),
)
def test_whatever_the_values_counts_are_none_or_more(rows: list[list[Any]], name: str) -> None:
    grid = series(name, points(0, 1, 2, 3), path="/always")
    rates = read(grid, *(series(name, points(*row), path=f"/{number}") for number, row in enumerate(rows)))
    assert rates.grains == 3
    for route in rates.routes:
        assert all(count >= 0 and math.isfinite(count) for count in route.counts)


def test_a_real_prometheus_tells_exactly_the_requests_that_were_counted(tmp_path: Path) -> None:
    """Two pods, one of which comes later and is restarted, as Prometheus itself stores and answers it."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool here (Debian: apt-get install prometheus)")
    begin = int(time.time()) // STEP * STEP - 7200
    old = [3 * number for number in range(20)]
    new = [1, 5, 9, 20, 2, 8]
    lines = [
        "# TYPE shop_requests counter",
        *(_sample("201", "a", value, begin + STEP * number) for number, value in enumerate(old)),
        *(_sample("503", "b", value, begin + STEP * (10 + number)) for number, value in enumerate(new)),
        "# EOF",
    ]
    (tmp_path / "past.txt").write_text("\n".join(lines) + "\n")
    blocks = [promtool, "tsdb", "create-blocks-from", "openmetrics", str(tmp_path / "past.txt"), str(tmp_path / "data")]
    subprocess.run(blocks, check=True, capture_output=True, timeout=30)
    server = Server(tmp_path)
    with server.process:
        asked: dict[str, str | int] = {"query": "shop_requests_total", "start": begin, "step": STEP}
        text = httpx.get(f"{server.url}/api/v1/query_range", params={**asked, "end": begin + STEP * 19}).content
    rates = prometheus.read(text)
    (route,) = rates.routes
    # What was counted last stands for five minutes more, so nothing came after it; and a restart loses nothing here.
    later = [1, 4, 4, 11, 2, 6, 0, 0, 0, 0]
    assert (route.method, route.path, route.known) == ("POST", "/cart/{id}", "grain")
    assert route.counts == tuple([3.0] * 9 + [3.0 + count for count in later])
    assert route.failed == tuple([0.0] * 9 + [float(count) for count in later])
    assert (rates.begin_ns, rates.grain_ns) == (begin * SECOND, STEP * SECOND)
    assert prometheus.read(text.replace(b'"__name__":"shop_requests_total",', b"")).routes == rates.routes


def _sample(code: str, pod: str, value: int, at: int) -> str:
    labels = f'handler="/cart/{{id}}",method="POST",code="{code}",pod="{pod}"'
    return f"shop_requests_total{{{labels}}} {value} {at}"
