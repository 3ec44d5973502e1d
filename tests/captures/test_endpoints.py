"""Which requests count as one endpoint."""

import random
import string
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.endpoints import MAX_ENDPOINTS, OTHERS, endpoints
from captures.records import Record
from captures.templates import template
from tests.captures.making import MS, record


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("*", "*"),
        ("/item/7", "/item/{id}"),
        ("/item/7?x=1", "/item/{id}"),
        ("/item/7;jsessionid=0A1B", "/item/{id}"),
        ("/cart;jsessionid=0A1B/items", "/cart/items"),
        ("/item/-7/800x600", "/item/{id}/{id}"),
        ("/at/52.52,13.40", "/at/{id}"),
        ("/v2/users/550e8400-e29b-41d4-a716-446655440000/cart/", "/v2/users/{id}/cart/"),
        ("/blob/9f86d081884c7d65", "/blob/{id}"),
        ("/o/507f1f77bcf86cd799439011", "/o/{id}"),
        ("/o/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/o/{id}"),
        ("/o/cjld2cjxh0000qzrmn831i7rn", "/o/{id}"),
        ("/watch/dQw4w9WgXcQ", "/watch/{id}"),
        ("/n/V1StGXR8_Z5jdHi6B-myT", "/n/{id}"),
        ("/customers/cus_NffrFeUfNV2Hib", "/customers/{id}"),
        ("/b/eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVm", "/b/{id}"),
        ("/b/SGVsbG8gV29ybGQgMTIz==", "/b/{id}"),
        ("/orders/ORD-2026-000123", "/orders/{id}"),
        ("/users/user_1234/posts", "/users/{id}/posts"),
        ("/days/2026-11-21", "/days/{date}"),
        ("/days/2026-11-21T20:48:51Z/x", "/days/{date}/x"),
        ("/weeks/2026-W47", "/weeks/{date}"),
        ("/mail/jo.doe+x@shop.example/inbox", "/mail/{email}/inbox"),
        ("/mail/jo%40shop.example", "/mail/{email}"),
        ("/item/7.json", "/item/{id}.json"),
        ("/img/550e8400-e29b-41d4-a716-446655440000.webp", "/img/{id}.webp"),
        ("/static/app.3f9c1b.js", "/static/app.{hash}.js"),
        ("/assets/index-D1wrgTda.js", "/assets/index-{hash}.js"),
        ("/assets/main_9f86d081884c7d65.min.css", "/assets/main_{hash}.min.css"),
        ("/backup/2026-11-21.tar.gz", "/backup/{date}.tar.gz"),
        # names of endpoints stay what they are
        ("/deadbeef/facade", "/deadbeef/facade"),
        ("/a1b2", "/a1b2"),
        ("/api/v1/healthz", "/api/v1/healthz"),
        ("/api/v1.2/users", "/api/v1.2/users"),
        ("/oauth2/token", "/oauth2/token"),
        ("/.well-known/openid-configuration", "/.well-known/openid-configuration"),
        ("/api/getUserById2", "/api/getUserById2"),
        ("/api/getAllTransactionsForCustomer2", "/api/getAllTransactionsForCustomer2"),
        ("/api/order-items/bulk_update", "/api/order-items/bulk_update"),
        ("/shop/iPhone15ProMax", "/shop/iPhone15ProMax"),
        ("/favicon.ico", "/favicon.ico"),
        ("/robots.txt", "/robots.txt"),
        ("/wp-login.php", "/wp-login.php"),
        ("/static/bootstrap.min.css", "/static/bootstrap.min.css"),
        ("/jquery-3.7.1.min.js", "/jquery-3.7.1.min.js"),
        ("/en-US/docs", "/en-US/docs"),
        ("/graphql", "/graphql"),
        ("/twirp/shop.v1.Orders/Create", "/twirp/shop.v1.Orders/Create"),
        # and what is no name is cut down
        ("/" + "x" * 100, "/{id}"),
        ("/blog/" + "-".join(["how", "to", "bake", "a", "very", "long", "and", "winding"] * 3), "/blog/{slug}"),
        ("/a" * 30, "/a" * 15 + "/{rest}"),
    ],
)
def test_templates(path: str, expected: str) -> None:
    assert template(path) == expected


@given(st.text(max_size=200))
def test_any_path_has_a_template_and_that_is_its_own(path: str) -> None:
    found = template(path)
    assert template(found) == found
    assert len(found) <= len(path) + 3 * path.count("/") + 6


def asked(paths: list[str], method: str = "GET") -> Iterator[Record]:
    return (record(path=path, method=method) for path in paths)


def found(records: Iterator[Record]) -> dict[tuple[str, str], int]:
    return {(one.method, one.path): one.count for one in endpoints(records, "count")}


def words(dice: random.Random, count: int) -> list[str]:
    return ["".join(dice.choices(string.ascii_lowercase, k=dice.randint(4, 9))) for _ in range(count)]


def test_words_that_stand_for_things_are_found_by_their_number() -> None:
    dice = random.Random(1)
    slugs = ["-".join(words(dice, 3)) for _ in range(200)]
    users = words(dice, 300)
    paths = [f"/blog/{slug}" for slug in slugs] * 3 + [f"/blog/{slug}/comments" for slug in slugs[:50]]
    for user in users:
        paths += [f"/u/{user}", f"/u/{user}/posts", *[f"/u/{user}/photos"] * dice.randrange(2)]
    paths += ["/login"] * 5 + ["/about-us"] * 5 + ["/api/order-items", "/api/user_groups", "/api/shipping-methods"]
    dice.shuffle(paths)
    photos = sum(path.endswith("/photos") for path in paths)
    assert found(asked(paths)) == {
        ("GET", "/blog/{slug}"): 600,
        ("GET", "/blog/{slug}/comments"): 50,
        ("GET", "/u/{slug}"): 300,
        ("GET", "/u/{slug}/posts"): 300,
        ("GET", "/u/{slug}/photos"): photos,
        ("GET", "/login"): 5,
        ("GET", "/about-us"): 5,
        ("GET", "/api/order-items"): 1,
        ("GET", "/api/user_groups"): 1,
        ("GET", "/api/shipping-methods"): 1,
    }


def test_what_is_asked_for_most_keeps_its_name_among_slugs() -> None:
    paths = [f"/product/blue-kettle-no{number}x" for number in range(40)] * 2 + ["/product/lamp-of-the-day"] * 20
    assert found(asked(paths)) == {("GET", "/product/{slug}"): 80, ("GET", "/product/lamp-of-the-day"): 20}


def test_an_api_with_many_resources_keeps_their_names() -> None:
    resources = words(random.Random(2), 80)
    paths = [path for name in resources for path in (f"/api/{name}", f"/api/{name}/7", f"/api/{name}/8/items")]
    assert len(found(asked(paths))) == 240


def test_slugs_below_slugs_are_found_too() -> None:
    dice = random.Random(3)
    paths = [f"/shop/{a}-{b}/{c}-{a}" for a, b, c in (words(dice, 3) for _ in range(2000))]
    assert found(asked(paths)) == {("GET", "/shop/{slug}/{slug}"): 2000}


def test_a_scanner_costs_few_endpoints_and_hides_none() -> None:
    dice = random.Random(4)
    scanned = [f"/{one}" for one in dict.fromkeys(words(dice, 3 * MAX_ENDPOINTS))]
    paths = scanned + ["/cart", "/item/7"] * 5000
    dice.shuffle(paths)
    told = found(asked(paths))
    assert (told["GET", "/cart"], told["GET", "/item/{id}"]) == (5000, 5000)
    assert told["GET", "/{slug}"] >= len(scanned) - 10
    assert sum(told.values()) == len(paths)


def test_what_cannot_be_told_apart_is_one_and_nothing_is_lost() -> None:
    """Paths like a binary tree: nowhere are there many siblings."""
    paths = ["/" + "/".join("left" if n >> bit & 1 else "right" for bit in range(14)) for n in range(1 << 14)]
    told = found(asked(paths))
    assert len(told) == MAX_ENDPOINTS + 1
    assert told[OTHERS, OTHERS] == len(paths) - MAX_ENDPOINTS


def test_what_strangers_make_up_does_not_fill_the_memory() -> None:
    dice = random.Random(5)
    endpoints(asked(["/"]))  # what is allocated once
    long = (
        record(path=f"/{dice.randbytes(2000).hex()}/" + "/x" * 500, method=dice.randbytes(300).hex())
        for _ in range(20_000)
    )
    tracemalloc.start()
    try:
        assert sum(one.count for one in endpoints(long)) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


def test_unanswered_requests_count_as_failed_and_not_for_the_mean() -> None:
    (one,) = endpoints([record(status=0, ttfb_ns=-1, duration_ns=9 * MS), record(duration_ns=3 * MS)])
    assert (one.count, one.failed, one.mean_ns) == (2, 1, 3 * MS)


def test_of_what_nobody_knows_nothing_has_failed() -> None:
    unknown = record(status=0, response_size=0, ttfb_ns=-1, duration_ns=0)
    (one,) = endpoints([unknown, unknown, record(status=503), record(status=0, ttfb_ns=-1, duration_ns=1000)])
    assert (one.count, one.failed, one.answered) == (4, 2, 1)
