"""Requests as browsers and the scripts in their pages send them: long header sets, cookies, referers, uneven paths.

Seeded, so that every run and every proxy gets the same. Nothing in it was anybody's.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote_plus

from captures.records import Record
from tests.support.recording import record

HOST = "shop.example"

_WEBKIT = "AppleWebKit/{0} (KHTML, like Gecko)"
_CHROME = f"{_WEBKIT.format('537.36')} Chrome/141.0.0.0"
_SAFARI = f"{_WEBKIT.format('605.1.15')} Version/26.0"
_BRANDS = '"Google Chrome";v="141", "Not?A_Brand";v="8", "Chromium";v="141"'
BROWSERS = (  # user agent, brands, platform
    (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_CHROME} Safari/537.36", _BRANDS, '"Windows"'),
    (f"Mozilla/5.0 (Linux; Android 10; K) {_CHROME} Mobile Safari/537.36", _BRANDS, '"Android"'),
    (f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_SAFARI} Safari/605.1.15", "", ""),
    (f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) {_SAFARI} Mobile/15E148 Safari/604.1", "", ""),
    ("Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0", "", ""),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0", "", ""),
)
LANGUAGES = (
    "en-US,en;q=0.9",
    "en-GB,en;q=0.8",
    "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7",
    "fr-FR,fr;q=0.9,en;q=0.6",
    "sv",
)
WORDS = ("bicycle", "blue", "lamp", "kettle", "wool", "socks", "garden", "chair", "oak", "table", "small", "winter")
_ASSETS = tuple(f"/static/{name}" for name in ("app.3f9c1b.js", "app.77aa02.css", "logo.svg", "fonts/text.woff2"))
_PAGE = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""


class _Visitor:
    """Somebody with a browser, cookies and a page that is open."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.agent, self.brands, self.platform = draw.choice(BROWSERS)
        self.language = draw.choice(LANGUAGES)
        self.at = f"https://{HOST}/"
        cookies = [f"session={draw.randbytes(16).hex()}", f"_ga=GA1.1.{draw.randrange(10**9)}.{draw.randrange(10**9)}"]
        if draw.random() < 0.7:
            cookies.append("consent=analytics%3Dyes%26ads%3Dno")
        if draw.random() < 0.4:
            cookies.append(f"cart={draw.randbytes(9).hex()}")
        self.cookie = "; ".join(cookies)

    def ask(self, posts: float) -> Asked:
        """What this visitor's browser sends next; a share of `posts` of it changes something."""
        draw, kind = self.draw, self.draw.random()
        if draw.random() < posts:
            item = self._item()
            body = f'{{"item":{item},"quantity":{draw.randint(1, 3)},"source":"page","at":{draw.randrange(10**12)}}}'
            fields = (("content-type", "application/json"), ("origin", f"https://{HOST}"))
            return self._asked("POST", "/api/cart", "*/*", "cors", "empty", fields, body.encode())
        if kind < 0.35:
            return self._asked("GET", draw.choice(_ASSETS), "*/*", "no-cors", "script")
        if kind < 0.55:
            path = f"/api/items/{self._item()}?fields=price,stock&t={draw.randrange(10**9)}"
            return self._asked("GET", path, "application/json", "cors", "empty")
        if kind < 0.85:
            path = f"/item/{self._item()}"
        elif kind < 0.95:
            path = f"/search?q={quote_plus(' '.join(draw.sample(WORDS, draw.randint(1, 3))))}&page={draw.randint(1, 4)}"
        else:
            path = "/"
        asked = self._asked("GET", path, _PAGE, "navigate", "document", (("upgrade-insecure-requests", "1"),))
        self.at = f"https://{HOST}{path}"
        return asked

    def _item(self) -> int:
        return min(int(self.draw.paretovariate(0.8)), 40_000)

    def _asked(
        self,
        method: str,
        path: str,
        accept: str,
        mode: str,
        dest: str,
        more: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
    ) -> Asked:
        brands: tuple[tuple[str, str], ...] = ()
        if self.brands:
            mobile = "?1" if "Mobile" in self.agent else "?0"
            brands = (("sec-ch-ua", self.brands), ("sec-ch-ua-mobile", mobile), ("sec-ch-ua-platform", self.platform))
        headers = (
            ("user-agent", self.agent),
            ("accept", accept),
            ("accept-language", self.language),
            ("accept-encoding", "gzip, deflate, br, zstd"),
            ("referer", self.at),
            *brands,
            *more,
            ("sec-fetch-dest", dest),
            ("sec-fetch-mode", mode),
            ("sec-fetch-site", "same-origin"),
            ("cookie", self.cookie),
        )
        return Asked(method, path, headers, body)


def requests(count: int, posts: float = 0.0, seed: int = 1) -> Iterator[Asked]:
    """Visitors come, look at about twenty things each, and go; some two hundred are there at a time."""
    draw = random.Random(seed)
    present = [_Visitor(draw) for _ in range(200)]
    for _ in range(count):
        number = draw.randrange(len(present))
        if draw.random() < 0.05:
            present[number] = _Visitor(draw)
        yield present[number].ask(posts)


def records(count: int, rate: float, seed: int = 1) -> Iterator[Record]:
    """The same as recorded: safe requests at random (Poisson) times, `rate` per second."""
    draw, at = random.Random(seed + 1), 0.0
    for asked in requests(count, seed=seed):
        at += draw.expovariate(rate)
        headers = [(b"host", HOST.encode()), *((n.encode(), v.encode()) for n, v in asked.headers)]
        yield record(at, asked.path, asked.method, headers, asked.body, response_size=107)
