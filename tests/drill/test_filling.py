"""What requests of a route ask for: real values, as often as they were asked for."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from captures.records import Record
from drill import filling
from drill.filling import Filling, Values, pieces
from drill.sources.rates import OUTSIDE, Route
from tests.captures.making import NOON, record

HOST = (b"Host", b"shop.example")


def route(path: str, method: str = "GET", authority: str = "shop.example") -> Route:
    return Route(method, "https", authority, path, (1.0,))


def filled(routes: list[Route], examples: list[Record] | None = None, **more: object) -> Filling:
    found = Filling(routes, **more)  # type: ignore[arg-type]
    for one in examples or []:
        found.learn(one)
    return found


def paths(one: Filling, place: int = 0, count: int = 2000) -> Counter[str]:
    draw = random.Random(1)
    return Counter(one.request(place, draw).path for _ in range(count))


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/product/{id}", ["id"]),
        ("/product/:id", ["id"]),
        ("/product/<int:id>/edit", ["id"]),
        ("/product/[id]", ["id"]),
        ("/product/*", ["*"]),
        ("/product/:id(\\d+)/:tab?", ["id", "tab"]),
        ("/product/:id(.:format)", ["id"]),
        ("/file/{path...}", ["path"]),
        ("/file/{proxy+}", ["proxy"]),
        ("/file/<path:name>", ["name"]),
        ("/file/[...slug]", ["slug"]),
        ("/static/*filepath", ["*"]),
        ("/v{version}/item-{id}.json?full={full}", ["version", "id", "full"]),
        ("/wiki/Special:Search", []),
        ("/a*b/c:d", []),
        ("/", []),
    ],
)
def test_parameters_are_known_in_the_notations_of_frameworks(path: str, names: list[str]) -> None:
    assert [piece.text for piece in pieces(path) if piece.parameter] == names
    assert filled([route(path)]).parameters(0) == tuple(names)


@given(st.text(alphabet="/{}<>[]:*?ab.=é", max_size=30))
def test_nothing_of_a_path_without_parameters_is_lost(path: str) -> None:
    found = pieces(path)
    assert all(piece.text for piece in found)
    if not any(piece.parameter for piece in found) and "(.:format)" not in path:
        assert "".join(piece.text for piece in found) == path


def test_values_come_as_often_as_they_were_asked_for() -> None:
    asked = {"/product/7": 600, "/product/8?full=1": 300, "/product/9": 100}
    examples = [record(NOON, path=path) for path, count in asked.items() for _ in range(count)]
    examples += [record(NOON, path="/product/7/photo"), record(NOON, path="/product/7", method="POST")] * 50
    one = filled([route("/product/{id}")], examples)
    assert one.how(0) == "example"
    assert one.seen(0) == 1000
    found = paths(one)
    assert stats.chisquare([found[path] for path in asked], [2 * count for count in asked.values()]).pvalue > 0.01


def test_of_more_examples_than_there_is_room_for_each_has_the_same_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "EXAMPLES", 500)
    asked = random.Random(2).choices(["/p/1", "/p/2", "/p/3"], [5, 3, 2], k=20_000)
    found = paths(filled([route("/p/{id}")], [record(NOON, path=path) for path in asked]))
    for path, share in (("/p/1", 0.5), ("/p/2", 0.3), ("/p/3", 0.2)):
        assert found[path] / 2000 == pytest.approx(share, abs=0.08)  # 500 examples: three deviations are 0.067


def test_examples_take_no_more_than_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "ROOM", 200_000)
    examples = [record(NOON, path=f"/p/{number}", method="POST", body=b"x" * 5000) for number in range(300)]
    examples += [record(NOON, path=f"/q/{number}") for number in range(300)]
    one = filled([route("/p/{id}", "POST"), route("/q/{id}")], examples)
    assert (one.how(0), one.how(1)) == ("example", "example")
    assert 5 < len(paths(one, 0)) < 40
    assert len(paths(one, 1)) > 5


def test_an_example_brings_its_headers_and_its_body() -> None:
    example = record(NOON, path="/cart", method="POST", body=b"a=1", body_size=3, headers=(HOST, (b"Cookie", b"s=1")))
    one = filled([route("/cart", "POST")], [example]).request(0, random.Random(1))
    assert (one.body, one.body_size, one.headers) == (b"a=1", 3, example.headers)


def test_a_request_goes_to_the_host_that_its_route_names() -> None:
    example = record(NOON, path="/a", authority="10.0.0.1", headers=((b"host", b"10.0.0.1"), (b"Accept", b"*/*")))
    one = filled([route("/a")], [example]).request(0, random.Random(1))
    assert (one.scheme, one.authority) == ("https", "shop.example")
    assert one.headers == (HOST, (b"Accept", b"*/*"))
    plain = filled([route("/a", authority="")], authority="b.example", scheme="https").request(0, random.Random(1))
    assert (plain.authority, plain.headers) == ("b.example", ((b"Host", b"b.example"),))


def test_examples_go_to_the_most_specific_route() -> None:
    routes = [route("/*"), route("/{a}/{b}"), route("/item/{id}"), route("/item/new"), route("/item/new?x=1")]
    one = filled(
        routes, [record(NOON, path=path) for path in ("/q/w/e", "/q/w", "/item/7?y", "/item/new", "/item/new?x=1")]
    )
    assert [one.seen(place) for place in range(5)] == [1] * 5
    assert paths(one, 2, 1) == {"/item/7?y": 1}


def test_an_optional_suffix_is_none() -> None:
    one = filled([route("/products(.:format)")], [record(NOON, path="/products")])
    assert one.seen(0) == 1
    assert filled([route("/products(.:format)")]).request(0, random.Random(1)).path == "/products"


def test_a_route_without_method_takes_an_examples() -> None:
    one = filled([route("/a", ""), route("/b", "")], [record(NOON, path="/a", method="DELETE")])
    assert [one.request(place, random.Random(1)).method for place in (0, 1)] == ["DELETE", "GET"]
    assert one.counted(0) == ("DELETE", "/a")


def test_what_fits_no_route_is_an_example_of_what_is_outside() -> None:
    examples = [record(NOON, path=path) for path in ["/a"] * 30 + ["/x"] * 20 + ["/y"] * 10]
    one = filled([route("/a"), route(OUTSIDE, "*", "")], examples)
    found = paths(one, 1, 3000)
    assert found.keys() == {"/x", "/y"}
    assert found["/x"] / 3000 == pytest.approx(2 / 3, abs=0.04)


def test_a_table_fills_parameters_by_its_weights() -> None:
    table = Values.of(["id", "lang"], [["7", "en"], ["a b/é", "de"], ["9", "fr"]], [3.0, 1.0, 0.0])
    one = filled([route("/{lang}/product/{id}"), route("/user/{name}")], values=[table])
    assert (one.how(0), one.how(1)) == ("values", "")
    found = paths(one)
    assert found.keys() == {"/en/product/7", "/de/product/a%20b%2F%C3%A9"}
    assert found["/en/product/7"] / 2000 == pytest.approx(0.75, abs=0.04)
    with pytest.raises(ValueError, match="nothing fills GET"):
        one.request(1, random.Random(1))


def test_a_table_may_be_for_one_route_and_a_star_takes_the_only_column() -> None:
    tables = [Values.of(["id"], [["1"]], [1.0]), Values.of(["id"], [["2"]], [1.0], "/user/{id}")]
    routes = [route("/product/{id}"), route("/user/{id}"), route("/f/*")]
    one = filled(routes, values=tables)
    assert [next(iter(paths(one, place, 1))) for place in range(3)] == ["/product/1", "/user/2", "/f/1"]


def test_real_requests_go_before_tables() -> None:
    table = Values.of(["id"], [["1"]], [1.0])
    assert filled([route("/p/{id}")], [record(NOON, path="/p/2")], values=[table]).how(0) == "example"


def test_routes_are_counted_under_the_template_of_their_requests() -> None:
    examples = [record(NOON, path=f"/product/{number}") for number in range(1000, 1100)]
    one = filled([route("/product/:id"), route("/about")], examples)
    assert (one.counted(0), one.counted(1)) == (("GET", "/product/{id}"), ("GET", "/about"))
    words = [record(NOON, path=f"/user/{first}{last}") for first in "abcdefgh" for last in ("lice", "ob", "een")]
    assert filled([route("/user/:name?x=1")], words).how(0) == ""
    assert filled([route("/user/:name")], words).counted(0) == ("GET", "/user/{slug}")


def test_the_same_seed_fills_alike() -> None:
    examples = [record(NOON, path=f"/p/{number}") for number in range(50)]
    assert paths(filled([route("/p/{id}")], examples)) == paths(filled([route("/p/{id}")], examples))


def test_a_route_that_is_too_large_matches_nothing() -> None:
    one = filled([route("/{a}/x" * 60_000), route("/{a}")], [record(NOON, path="/7")])
    assert (one.how(0), one.how(1)) == ("", "example")


def test_a_route_is_found_whatever_it_begins_with() -> None:
    paths_ = ["/{lang}/shop", "/shop/{id}", "/shop/{id}/{tab}", "/s{x}", "/shop", "/{any}"]
    one = filled([route(path, "" if path == "/shop/{id}" else "GET") for path in paths_])
    for place, path in enumerate(["/en/shop", "/shop/7", "/shop/7/a?b", "/sale", "/shop?b", "/x"]):
        one.learn(record(NOON, path=path))
        assert one.seen(place) == 1, path
    one.learn(record(NOON, path="/shop/7", method="PUT"))
    assert one.seen(1) == 2


def test_a_route_of_many_parameters_hangs_on_no_path() -> None:
    one = filled([route("/" + "{a}" * 200 + "!")], [record(NOON, path="/" + "x" * 8000 + "?") for _ in range(20)])
    assert one.how(0) == ""


routes_of_strangers = st.text(alphabet="/{}<>[]:*?&=ab.%é\x00 ", max_size=20).map(lambda text: "/" + text)


@given(st.lists(routes_of_strangers, max_size=5), st.lists(routes_of_strangers, max_size=5))
def test_whatever_routes_and_examples_are_what_is_filled_is_what_was_asked(known: list[str], asked: list[str]) -> None:
    one = filled([route(path) for path in known], [record(NOON, path=path) for path in asked])
    for place, path in enumerate(known):
        if one.how(place) == "example":
            assert one.request(place, random.Random(1)).path in asked
        elif one.how(place) == "plain":
            assert one.request(place, random.Random(1)).path == path


routes_alike = st.lists(st.sampled_from(["a", "b", "{x}", "{y...}", "a{x}", "", "a?b={x}", "*"]), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)
paths_alike = st.lists(st.sampled_from(["a", "b", "aa", "c", "", "a?b=1"]), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@given(st.lists(routes_alike, unique=True, max_size=8), paths_alike)
def test_a_request_finds_a_route_among_many_as_it_does_alone(known: list[str], path: str) -> None:
    alone = {one for one in known if filled([route(one)], [record(NOON, path=path)]).seen(0)}
    together = filled([route(one) for one in known], [record(NOON, path=path)])
    found = {one for place, one in enumerate(known) if together.seen(place)}
    assert found <= alone
    assert bool(found) == bool(alone)


def test_thousands_of_routes_that_begin_with_a_parameter_take_no_thousand_times_as_long() -> None:
    """Each tried on each path would be 400 million tries."""
    one = filled(
        [route(f"/{{tenant}}/page{number}/{{id}}") for number in range(4000)],
        [record(NOON, path=f"/t{number % 7}/page{number % 4000}/{number}") for number in range(100_000)],
    )
    assert [one.seen(place) for place in range(4000)] == [25] * 4000
