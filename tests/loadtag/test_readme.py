"""The examples of the README, run as they are printed."""

import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtag import LoadTag, TagError, format_token
from loadtag.headers import find, put
from loadtag.keys import generate, load_private

README = Path(__file__).parents[2] / "loadtag" / "README.md"
FIELDS = put([], format_token(LoadTag("key", "run-1", 1_800_000_000, "shop"), bytes(64)), "run-1")


def example(heading: str) -> dict[str, Any]:
    section = README.read_text().partition(f"## {heading}")[2]
    match = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert match, heading
    names: dict[str, Any] = {}
    exec(match[1], names)  # the project's own text
    return names


async def test_the_asgi_example() -> None:
    transport = httpx.ASGITransport(example("In an ASGI app")["app"])
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        assert (await client.get("/order", headers=FIELDS)).text == "not charged: run-1"
        assert (await client.get("/order")).text == "charged"


def test_the_wsgi_example() -> None:
    app = example("In a WSGI app")["app"]
    assert list(app({"HTTP_BAGGAGE": FIELDS[0][1].decode()}, lambda *_: None)) == [b"not charged: run-1"]
    assert list(app({}, lambda *_: None)) == [b"charged"]


def test_the_example_at_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, _ = generate(tmp_path, "replayer")
    monkeypatch.chdir(tmp_path)
    admit = example("Verifying at an entry of your own")["admit"]
    token = load_private(private).sign("run-1", int(time.time()) + 60, "shop")
    real = [(b"host", b"x")]
    assert admit(real) == real
    assert find(admit(put(real, token, "another-run"))) == (token,)
    assert (b"x-load-test", b"run-1") in admit(put(real, token, "another-run"))
    assert admit(put(real, FIELDS[0][1].decode().partition("=")[2], "run-1")) == real
    assert admit([*real, (b"x-load-test", b"run-1")]) == real
    over = load_private(private).sign("run-1", int(time.time()) - 60, "shop")
    with pytest.raises(TagError):
        admit(put(real, over, "run-1"))
