"""What is asked and answered: small, with a browser's headers, a large answer, a body that is posted.

wrk sends the same bytes again and again. They are given to it as a script that sets them once: without a function
called for each request, wrk costs the same as without a script.
"""

import json
import random
import string
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.target import LARGE

BODY = 4_096
"""Bytes that are posted."""

BROWSER_HEADERS = (
    ("User-Agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("Accept-Language", "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Referer", "https://shop.example/search?q=blue+bicycle&page=2"),
    (
        "Cookie",
        (
            "session=8f14e45fceea167a5a36dedd4bea2543; _ga=GA1.1.184019238.1720938411; "
            "consent=analytics%3Dyes%26ads%3Dno; cart=c9f0f895fb98ab9159"
        ),
    ),
    ("Upgrade-Insecure-Requests", "1"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Priority", "u=0, i"),
)
"""What Firefox sends when somebody follows a link in a shop."""


class Payload(NamedTuple):
    """One kind of request and its answer."""

    key: str
    """What the command line calls it."""
    title: str
    path: str = "/item/4711"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""

    def script(self, folder: Path) -> list[str]:
        """Write wrk's script, if it needs one: the arguments to give to wrk."""
        if not (self.headers or self.body):
            return []
        lines = [f'wrk.method = "{self.method}"', f"wrk.body = [[{self.body}]]" if self.body else ""]
        lines += [f"wrk.headers[ [[{name}]] ] = [[{value}]]" for name, value in self.headers]
        file = folder / f"{self.key}.lua"
        file.write_text("\n".join(lines) + "\n")
        return ["-s", str(file)]


def _body() -> str:
    # An order of many things: what they are called and cost is drawn by chance, the note fills the rest up.
    draw = random.Random(1)
    words = ["".join(draw.choices(string.ascii_lowercase, k=draw.randint(3, 9))) for _ in range(200)]
    items = [
        {"sku": draw.randrange(10**6), "name": " ".join(draw.choices(words, k=3)), "price": draw.randrange(10**4) / 100}
        for _ in range(50)
    ]
    note = " ".join(draw.choices(words, k=1000))
    begin, end = json.dumps({"order": items})[:-1] + ', "note": "', '"}'
    return begin + note[: BODY - len(begin) - len(end)] + end


SMALL = Payload("107B", "107-byte answer, wrk's own headers")
BROWSER = Payload("browser", "107-byte answer, 11 headers of a browser", headers=BROWSER_HEADERS)
PAYLOADS = (
    SMALL,
    BROWSER,
    Payload("64KiB", f"{LARGE:,}-byte answer, wrk's own headers", "/large"),
    Payload(
        "POST",
        f"POST of {BODY:,} bytes, 107-byte answer",
        "/orders",
        "POST",
        (("Content-Type", "application/json"),),
        _body(),
    ),
)
KEYS = tuple(payload.key for payload in PAYLOADS)
