"""Three kinds of traffic, made from nothing: a website, an API with tokens and JSON bodies, and an intake of events.

Seeded, so that every run gets the same. Nothing in it was anybody's. What does not repeat in real traffic does not
repeat here: visitors come and go, tokens and ids are random bytes, times are as exact as a sidecar's.
"""

import json
import random
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from captures.records import Record
from captures.redaction import Redactor
from tests.benchmarks.traffic import BROWSERS, LANGUAGES, WORDS, Asked, requests
from tests.support.recording import START_NS

_APPS = tuple(
    f"ShopApp/{version} ({device})"
    for version in ("8.1.0", "8.1.2", "8.2.0", "7.9.4")
    for device in ("iPhone; iOS 18.6; Scale/3.00", "Android 15; Pixel 8", "iPad; iOS 17.7; Scale/2.00")
)
_EVENTS = ("Page Viewed", "Product Viewed", "Product Added", "Search", "Scroll", "Click")
_SCREENS = ((1920, 1080), (1440, 900), (390, 844), (412, 915))
_NOW_MS = START_NS // 1_000_000


def website(seed: int = 1) -> Iterator[Asked]:
    """Pages, scripts and calls of a shop as browsers send them: long header sets, cookies, referers; a tenth POSTs."""
    for asked in requests(10**9, 0.1, seed):
        length = (("content-length", str(len(asked.body))),) if asked.body else ()
        yield asked._replace(headers=asked.headers + length)


class _User:
    """Somebody with the shop's app, signed in."""

    def __init__(self, draw: random.Random) -> None:
        claims = {
            "iss": "https://id.shop.example",
            "sub": _uuid(draw),
            "aud": "api",
            "exp": _NOW_MS // 1000 + draw.randrange(3600),
            "scope": "cart orders profile",
            "jti": draw.randbytes(12).hex(),
        }
        parts = (b'{"alg":"RS256","typ":"JWT","kid":"2f"}', json.dumps(claims).encode(), draw.randbytes(256))
        token = ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
        self.number = draw.randrange(10**6)
        self.headers: tuple[tuple[str, str], ...] = (
            ("user-agent", draw.choice(_APPS)),
            ("accept", "application/json"),
            ("accept-language", draw.choice(("en-GB", "de-DE", "fr-FR"))),
            ("accept-encoding", "gzip"),
            ("authorization", f"Bearer {token}"),
            ("x-device-id", draw.randbytes(8).hex()),
        )


def api(seed: int = 1) -> Iterator[Asked]:
    """Calls of an app: a signed token of some 560 bytes for each user, three in ten with a JSON body."""
    draw = random.Random(seed)
    users = [_User(draw) for _ in range(300)]
    while True:
        number = draw.randrange(len(users))
        if draw.random() < 0.02:
            users[number] = _User(draw)
        user, kind = users[number], draw.random()
        headers, method = user.headers, "GET"
        body: dict[str, Any] = {}
        if kind < 0.35:
            path = f"/v2/items/{_item(draw)}?expand=price,stock"
        elif kind < 0.5:
            path = f"/v2/users/{user.number}/orders?limit=20&cursor={draw.randrange(40) * 20}"
        elif kind < 0.6:
            path = "/v2/me"
        elif kind < 0.7:
            path = f"/v2/search?q={draw.choice(WORDS)}+{draw.choice(WORDS)}&sort=relevance"
        elif kind < 0.9:
            item, method, path = _item(draw), "POST", "/v2/cart/items"
            body = {
                "item_id": item,
                "quantity": draw.randint(1, 3),
                "price": {"amount": f"{item * 37 % 20000 / 100:.2f}", "currency": "EUR"},
                "client_time": _NOW_MS + draw.randrange(10**7),
                "source": draw.choice(("search", "home", "push")),
            }
        else:
            method, path = "POST", "/v2/orders"
            lines = [{"item_id": _item(draw), "quantity": draw.randint(1, 3)} for _ in range(draw.randint(1, 4))]
            paid = {"method": "card", "token": f"tok_{draw.randbytes(12).hex()}"}
            body = {"lines": lines, "address_id": draw.randrange(10**6), "payment": paid, "coupon": None}
            headers += (("idempotency-key", _uuid(draw)),)
        yield _asked(method, path, headers, json.dumps(body).encode() if body else b"", "application/json")


class _Visitor:
    """Somebody whose browser reports what happens."""

    def __init__(self, draw: random.Random) -> None:
        self.id = _uuid(draw)
        self.agent, _, _ = draw.choice(BROWSERS)
        self.language = draw.choice(LANGUAGES)
        self.screen = draw.choice(_SCREENS)
        self.here, self.before = _item(draw), _item(draw)


def events(seed: int = 1) -> Iterator[Asked]:
    """Batches of one to three analytics events in JSON; each event has an id of 16 random bytes."""
    draw = random.Random(seed)
    visitors = [_Visitor(draw) for _ in range(500)]
    now = _NOW_MS
    while True:
        number = draw.randrange(len(visitors))
        if draw.random() < 0.03:
            visitors[number] = _Visitor(draw)
        visitor = visitors[number]
        now += draw.randrange(3)
        batch = [_event(draw, visitor, now) for _ in range(draw.choice((1, 1, 1, 2, 3)))]
        body = {"batch": batch, "sentAt": now, "writeKey": "wk_3f9a77b2c1d04e58"}
        headers = (
            ("user-agent", visitor.agent),
            ("accept", "*/*"),
            ("origin", "https://shop.example"),
            ("referer", "https://shop.example/"),
            ("accept-encoding", "gzip, deflate, br"),
            ("accept-language", visitor.language),
        )
        yield _asked("POST", "/v1/batch", headers, json.dumps(body, separators=(",", ":")).encode(), "text/plain")


def _event(draw: random.Random, visitor: _Visitor, now: int) -> dict[str, Any]:
    if draw.random() < 0.3:
        visitor.before, visitor.here = visitor.here, _item(draw)
    width, height = visitor.screen
    return {
        "type": "track",
        "event": draw.choice(_EVENTS),
        "messageId": f"ajs-{_uuid(draw)}",
        "anonymousId": visitor.id,
        "timestamp": now - draw.randrange(5000),
        "properties": {
            "path": f"/item/{visitor.here}",
            "referrer": f"https://shop.example/item/{visitor.before}",
            "title": f"Item {visitor.here} | Shop",
            "position": draw.randrange(2000),
        },
        "context": {
            "userAgent": visitor.agent,
            "locale": visitor.language.partition(",")[0],
            "screen": {"width": width, "height": height},
            "library": {"name": "analytics.js", "version": "2.11.1"},
        },
    }


SHAPES: dict[str, Callable[[], Iterator[Asked]]] = {"website": website, "api": api, "events": events}


def recorded(shape: str, count: int, rate: float, seed: int = 7) -> Iterator[Record]:
    """Requests of one shape as recorded, at random (Poisson) times, `rate` per second, with answers' outlines.

    Waits are log-normal about 10 ms, exact to the microsecond; a path's answer has a size of its own; three answers in
    a hundred are none of the usual.
    """
    draw = random.Random(seed)
    at = 0.0
    sizes: dict[str, int] = {}
    for asked in islice(SHAPES[shape](), count):
        at += draw.expovariate(rate)
        ttfb = int(draw.lognormvariate(9.2, 0.7))
        status, size = 200, sizes.setdefault(asked.path.partition("?")[0], int(draw.lognormvariate(8, 1)))
        if draw.random() < 0.03:
            status, size = draw.choice((304, 404, 302, 500)), 0
        yield Record(
            arrival_ns=START_NS + int(at * 1e6) * 1000,
            method=asked.method,
            scheme="https",
            authority="shop.example",
            path=asked.path,
            http_version="HTTP/1.1",
            headers=((b"host", b"shop.example"), *((name.encode(), value.encode()) for name, value in asked.headers)),
            body=asked.body,
            body_size=len(asked.body),
            status=status,
            response_size=size,
            ttfb_ns=ttfb * 1000,
            duration_ns=(ttfb + int(draw.lognormvariate(4.5, 0.8))) * 1000,
        )


def redacted(records: Iterable[Record]) -> list[Record]:
    """Give them as they come to the disk."""
    redactor = Redactor(b"k" * 32)
    return [redactor.record(record) for record in records]


def _asked(method: str, path: str, headers: tuple[tuple[str, str], ...], body: bytes, kind: str) -> Asked:
    described = (("content-type", kind), ("content-length", str(len(body)))) if body else ()
    return Asked(method, path, headers + described, body)


def _item(draw: random.Random) -> int:
    """Some items are far more popular than others."""
    return min(int(draw.paretovariate(0.8)), 40_000)


def _uuid(draw: random.Random) -> str:
    return str(uuid.UUID(int=draw.getrandbits(128)))
