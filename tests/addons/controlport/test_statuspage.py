"""The page of the control port in a real browser: what it shows, what it does, and that it never shows what is old."""

import asyncio
import re
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from addons.books import KINDS, OUTCOMES, Books
from addons.controlport.access import Tokens
from addons.controlport.port import ControlPort, Facts
from addons.dark.accounts import HANDED, SEEN
from addons.egress.annex import EgressPlan
from addons.lever.latch import LatchingLever
from addons.processes.aide import Annex
from loadtag import Verifier
from tests.support.chromium import launched
from tests.support.dark import dark_plan
from tests.support.processes import free_port, own_address

NONE = "\u2013"
TOKENS = Tokens("look-and-stop-0123456789", "reset-too-0123456789")


class Site:
    """A control port in a thread of its own, which can be closed and opened again."""

    def __init__(
        self, folder: Path, loop: asyncio.AbstractEventLoop, where: str, annexes: Sequence[Annex] = ()
    ) -> None:
        self.folder, self.where, self._loop = folder, where, loop
        self.books = Books.create(4)
        self.books.shared.ratio = 250_000
        self.books.rows[0].begin(4711)
        self.books.rows[1].begin(4712, 3)
        self.annexes = annexes
        self.doubt = ""
        self.port: ControlPort

    def do[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def open(self) -> None:
        async def begin() -> None:
            lever = LatchingLever(self.folder / "lever.json", self.books.shared)
            facts = Facts(upstream="reverse:http://app:8000/<b>bold</b>", tokens=TOKENS)
            self.port = ControlPort(
                self.books, lever, Verifier([], ""), facts, annexes=self.annexes, doubt=lambda: self.doubt
            )
            await self.port.watch(self.folder / "stop")
            await self.port.start(self.where)

        self.do(begin())

    def close(self) -> None:
        self.do(self.port.close())

    def pull(self, reason: str, by: str) -> None:
        async def move() -> None:
            await self.port.pull(reason, by)

        self.do(move())

    def count(self, kind: str, outcome: str, many: int) -> None:
        row, at = self.books.rows[0], KINDS.index(kind)
        row.counts.seen += many
        row.arrived[at] += many
        row.ended[at * len(OUTCOMES) + OUTCOMES.index(outcome)] += many


@contextmanager
def serving(folder: Path, where: str, annexes: Sequence[Annex] = ()) -> Iterator[Site]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    site = Site(folder, loop, where, annexes)
    try:
        site.open()
        yield site
        site.close()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
        site.books.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving(tmp_path, f"127.0.0.1:{free_port()}") as made:
        yield made


def quiet(seen: list[str], site: Site) -> list[str]:
    """What a page did beside asking its own sidecar."""
    return [line for line in seen if not line.startswith(f"request http://{site.port.address}/")]


def figure(name: str) -> str:
    return f"[data-figure={name}]"


def test_a_tap_says_that_it_is_one(site: Site) -> None:
    site.books.shared.tap = 100_000
    with launched() as (page, _):
        page.goto(f"http://{site.port.address}/")
        expect(page.locator("h1")).to_have_text("a tap: gets copies of 10% of real requests, and can refuse none")
        expect(page.locator("#withheld-name")).to_have_text("Synthetic, without credit")
        expect(page.locator(figure("withheld"))).to_have_text("0/s")
        site.count("synthetic", "excess", 100_000)
        expect(page.locator(figure("withheld"))).not_to_have_text("0/s")
        assert site.books.shared.engaged  # so many without a grant
        expect(page.locator("#lever-state")).to_contain_text("PULLED by tap")


def test_figures_the_big_button_and_the_reset_by_keyboard(site: Site) -> None:
    with launched() as (page, seen):
        page.goto(f"http://{site.port.address}/")
        expect(page.locator("#contact")).to_have_text("live")
        expect(page.locator("h1")).to_have_text("http://app:8000/<b>bold</b>")
        expect(page.locator(figure("ceiling"))).to_have_text("25%")
        expect(page.locator(figure("p99"))).to_have_text(NONE)
        expect(page.locator("#workers tr")).to_have_count(2)
        expect(page.locator("#token-field")).to_be_hidden()
        expect(page.locator("#reset")).to_be_hidden()
        expect(page.locator(figure("passed"))).to_have_text("0/s")
        expect(page.locator("#doubt")).to_have_text("")
        site.doubt = "a list can't be read"
        expect(page.locator("#doubt")).to_have_text("NO LOAD TAG COUNTS: a list can't be read")
        site.count("synthetic", "2xx", 100_000)
        site.count("synthetic", "withheld", 50_000)
        expect(page.locator(figure("passed"))).not_to_have_text("0/s")
        both = page.evaluate(
            "['passed', 'withheld'].map((name) => document.querySelector(`[data-figure=${name}]`).textContent)"
        )
        passed, withheld = (float(text.removesuffix("/s").replace(",", "")) for text in both)
        assert passed == pytest.approx(2 * withheld, rel=0.2)
        # By keyboard alone: reason, name, stop.
        page.keyboard.press("Tab")
        page.keyboard.type("users suffer <script>")
        page.keyboard.press("Tab")
        page.keyboard.type("Ada")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "stop"
        page.keyboard.press("Enter")
        expect(page.locator("#outcome")).to_have_text("Stopped.")
        assert site.books.shared.engaged
        expect(page.locator("#lever-state")).to_contain_text("PULLED by Ada at")
        expect(page.locator("#lever-state")).to_contain_text("users suffer <script>")
        expect(page).to_have_title(re.compile("^STOPPED reamp"))
        # The button that lets it pass again can't be hit by accident.
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "reset"
        page.keyboard.press("Enter")
        expect(page.locator("#outcome")).to_contain_text("Say why")
        assert site.books.shared.engaged
        page.keyboard.type("all well")
        page.locator("#reset").press("Enter")
        expect(page.locator("#outcome")).to_have_text("Reset.")
        assert not site.books.shared.engaged
        assert (site.port.lever.state.reason, site.port.lever.state.by) == ("all well", "Ada")
        assert quiet(seen, site) == []


def test_what_is_old_is_not_shown_and_a_restart_is_outlived(site: Site) -> None:
    with launched(dark=True) as (page, _):
        page.goto(f"http://{site.port.address}/")
        expect(page.locator(figure("real"))).to_have_text("0/s")
        site.where = site.port.address
        site.close()
        expect(page.locator("#contact")).to_contain_text("not reachable since")
        for name in ("real", "ceiling", "credit", "capturing"):
            expect(page.locator(figure(name))).to_have_text(NONE)
        expect(page.locator("#lever-state")).to_have_text("not known")
        assert page.locator("#workers tr").count() == 0
        background = page.evaluate("getComputedStyle(document.querySelector('#contact')).color")
        red, green, blue = (int(part) for part in background.removeprefix("rgb(").removesuffix(")").split(","))
        assert red > 1.4 * max(green, blue)
        # To stop is tried even so, and what can't be known is not claimed.
        page.locator("#stop").click()
        expect(page.locator("#outcome")).to_contain_text("NOT stopped, as far as is known")
        site.open()
        expect(page.locator("#contact")).to_have_text("live")
        expect(page.locator(figure("ceiling"))).to_have_text("25%")
        site.pull("from elsewhere", "bob")
        expect(page.locator("#lever-state")).to_contain_text("PULLED by bob")


def test_a_sidecar_that_hangs_is_noticed(site: Site) -> None:
    held = threading.Event()

    async def hang() -> None:
        held.wait(30)  # the whole loop, as if the process were stopped

    with launched() as (page, _):
        page.goto(f"http://{site.port.address}/")
        expect(page.locator("#contact")).to_have_text("live")
        asyncio.run_coroutine_threadsafe(hang(), site._loop)
        expect(page.locator("#contact")).to_contain_text("not reachable", timeout=8000)
        expect(page.locator(figure("ceiling"))).to_have_text(NONE)
        held.set()
        expect(page.locator("#contact")).to_have_text("live", timeout=8000)


def test_from_elsewhere_it_asks_for_a_token_and_keeps_it_to_itself(tmp_path: Path) -> None:
    with serving(tmp_path, f"{own_address()}:{free_port()}") as site, launched() as (page, seen):
        page.goto(f"http://{site.port.address}/")
        expect(page.locator("#contact")).to_contain_text("write the sidecar's control token below")
        expect(page.locator(figure("ceiling"))).to_have_text(NONE)
        page.locator("#token").fill(TOKENS.control)
        page.locator("#token").press("Tab")
        expect(page.locator(figure("ceiling"))).to_have_text("25%")
        page.locator("#stop").click()
        expect(page.locator("#outcome")).to_have_text("Stopped.")
        page.locator("#reason").fill("again")
        page.locator("#reset").click()
        expect(page.locator("#outcome")).to_contain_text("NOT reset: Resetting the lever from another machine needs")
        page.locator("#token").fill(TOKENS.admin)
        page.locator("#reset").click()
        expect(page.locator("#outcome")).to_have_text("Reset.")
        kept = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])")
        assert not [token for token in (TOKENS.control, TOKENS.admin) if token in kept + " ".join(seen)]


def test_nothing_else_runs_in_it(site: Site) -> None:
    with launched() as (page, seen):
        answer = page.goto(f"http://{site.port.address}/")
        assert answer is not None
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        expect(page.locator("#contact")).to_have_text("live")
        planted = """
            const script = document.createElement('script'); script.textContent = 'window.ran = 1';
            document.body.append(script);
            const image = document.createElement('img'); image.src = 'http://127.0.0.1:9/x.png';
            image.setAttribute('onerror', 'window.ran = 2'); document.body.append(image);
            window.ran
        """
        assert page.evaluate(planted) is None
        page.wait_for_function("document.querySelector('img').complete")
        assert page.evaluate("window.ran") is None
        assert any("Content Security Policy" in line for line in seen)


@pytest.mark.parametrize("path", ["/", "/healthz"])
def test_the_page_itself_holds_nothing_and_is_open(site: Site, path: str) -> None:
    answer = httpx.get(f"http://{site.port.address}{path}", headers={"host": "elsewhere.example"}, trust_env=False)
    assert answer.status_code == 200
    assert "app:8000" not in answer.text


def test_dark_copies_are_shown_and_stopped_by_a_lever_of_their_own(tmp_path: Path) -> None:
    annex = dark_plan(tmp_path).open()
    cells, row = annex.accounts.worker(0), annex.accounts.aide(0)
    cells[SEEN] += 5
    cells[HANDED] += 4
    for name in ("taken", "2xx", "same status"):
        row.count(name, 3)
    row.took("dark", 0.25)
    with closing(annex), serving(tmp_path, f"127.0.0.1:{free_port()}", [annex]) as site, launched() as (page, seen):
        page.goto(f"http://{site.port.address}/")
        expect(page.locator("#dark-what")).to_contain_text("10% of real requests, to http://127.0.0.1:8001")
        expect(page.locator("#dark-what")).to_contain_text("THE PROCESS THAT SENDS THEM IS GONE")
        expect(page.locator("#dark-accounts")).to_contain_text("2xx3")
        expect(page.locator("#dark-accounts")).to_contain_text("reconcilesyes")
        expect(page.locator("#dark-accounts")).to_contain_text("status3 the same, 0 different")
        page.locator("#reason").fill("it suffers")
        page.locator("#dark-stop").click()
        expect(page.locator("#outcome")).to_have_text("Stopped.")
        expect(page.locator("#dark-state")).to_contain_text("PULLED by 127.0.0.1")
        engaged = [annex.accounts.engaged, bool(site.books.shared.engaged)]
        page.locator("#dark-reset").click()
        expect(page.locator("#outcome")).to_contain_text("Say why")
        page.locator("#reason").fill("all well")
        page.locator("#dark-reset").click()
        expect(page.locator("#outcome")).to_have_text("Reset.")
        assert [*engaged, annex.accounts.engaged] == [True, False, False]
        site.pull("all of it", "bob")
        expect(page.locator("#dark-state")).to_contain_text("held up by the lever above")
        assert quiet(seen, site) == []


def test_the_egress_tells_whose_calls_it_carried(tmp_path: Path) -> None:
    judging = {"reamp_public_key": [], "reamp_audience": "production", "reamp_revoked": ""}
    annex = EgressPlan(f"127.0.0.1:{free_port()}", tmp_path, age=60, judging=judging).open()
    with closing(annex), serving(tmp_path, f"127.0.0.1:{free_port()}", [annex]) as site, launched() as (page, seen):
        page.set_viewport_size({"width": 360, "height": 800})
        page.goto(f"http://{site.port.address}/")
        expect(page.locator("#egress-what")).to_have_text(f"by the egress {annex.address}. IT CARRIES NO CALLS")
        expect(page.locator("#egress-calls")).to_contain_text("synthetic calls0")
        expect(page.locator("#egress-calls")).to_contain_text(f"calls with a known trace{NONE}")
        expect(page.locator("#egress-calls")).to_contain_text("synthetic traces heldabout 0 of 262,144")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert quiet(seen, site) == []
        site.close()
        expect(page.locator("#egress-calls")).to_be_empty()  # nothing that is old is shown
        expect(page.locator("#egress-what")).to_be_empty()
        site.open()


def test_without_dark_copies_there_is_no_lever_for_them(site: Site) -> None:
    url = f"http://{site.port.address}/v1/dark/lever"
    order = {"engaged": True, "reason": "x"}
    answer = httpx.post(url, json=order, trust_env=False)
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        "This sidecar sends no dark copies: it does if it is started with --dark URL.",
    )
    assert httpx.get(url, trust_env=False).status_code == 404
    assert not site.books.shared.engaged
