"""An incident from beginning to end: a shop goes down, is recorded, and its fix is put to the test before it is needed.

One fault of three, small: `python -m tests.benchmarks drill` does all of it, with full figures.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from captures.reader import Capture
from rules.units import Factor
from tests.support.incident import mix
from tests.support.incident.drilling import BUSY, Drilled, deviation, drill, logged, rates, sources, taken
from tests.support.incident.setting import SMALL, Fault
from tests.support.incident.site import Recorded, Stocks, record, shop
from tests.support.incident.users import Figures, figures, send

pytestmark = pytest.mark.timeout(180)

BEFORE, DURING, TIMES = 0.5, 4.7, 3.0
"""Seconds of an ordinary day and of the incident, at so many times the usual rates: little time, many requests."""

FAULT: Fault = "index"
PRODUCTS = 20_000
"""Fewer than in the benchmark: a page that takes long takes the tests long, too."""

RULES = ("--slo", "error_ratio<15%", "--slo", "p(85)<1s")
"""In so little time there are not requests enough of every page to show more."""

PHASES = mix.incident(FAULT, DURING, BEFORE, times=TIMES)


class Scene(NamedTuple):
    """What the tests share."""

    folder: Path
    stocks: Stocks
    recorded: Recorded
    sources: dict[str, list[str]]

    def drilled(self, name: str, source: str, *options: str, fixed: bool, products: int = PRODUCTS) -> Drilled:
        with shop(self.folder / name, self.stocks, FAULT, fixed=fixed, products=products) as clone:
            incident = taken(self.sources[source], self.folder / name / "incident.reamp")
            more = ("--cool-down", "0.5s", "--step", "5s", *RULES)
            key = self.folder / "load.key"
            return drill(incident, clone.url, self.folder / name, key, *more, *options, env=BUSY)

    def loaded(self) -> Figures:
        """What a load test of the broken shop's home page finds, at the rate of the incident at its worst."""
        with shop(self.folder / "loaded", self.stocks, FAULT, products=PRODUCTS) as clone:
            return figures(send(clone.url, mix.arrivals(mix.uniform(mix.peak(PHASES), 2))))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("incident")
    stocks = Stocks(folder)
    recorded = record(folder, stocks, FAULT, PHASES, PRODUCTS)
    return Scene(folder, stocks, recorded, sources(recorded, folder, 1))


class Found(NamedTuple):
    """What was found of shops that bear what they are sent."""

    loaded: Figures
    fixed: Drilled
    small: Drilled


@pytest.fixture(scope="module")
def found(scene: Scene) -> Found:
    """All of them at once: they leave the machine most of its time."""
    fixed = {"fixed": True}
    with ThreadPoolExecutor() as threads:
        loaded = threads.submit(scene.loaded)
        held = threads.submit(scene.drilled, "fixed", "Upsun JSON", "--repeat", "2", "--sweep", "1x:1.5x:0.5x", **fixed)
        small = threads.submit(
            scene.drilled, "small", "access log", "--repeat", "1", "--sweep", "off", products=SMALL, **fixed
        )
        return Found(loaded.result(), held.result(), small.result())


def test_the_shop_goes_down_under_the_incident_and_the_ordinary_day_did_not_show_it(scene: Scene) -> None:
    before = figures([visit for visit in scene.recorded.visits if visit.at < BEFORE * 0.8])
    during = figures([visit for visit in scene.recorded.visits if visit.at >= BEFORE])
    assert before.failed == 0
    assert during.failed > 0.2
    assert not during.well


@pytest.mark.parametrize("source", ["capture", "Upsun JSON", "access log"])
def test_every_source_gives_each_route_its_rate_in_every_second(scene: Scene, source: str) -> None:
    incident = taken(scene.sources[source], scene.folder / f"rates-{source.replace(' ', '-')}.reamp")
    recorded = rates(Capture(scene.recorded.captures).records(), 1)
    # The log is by another clock, at another place: what it tells is what its incident has to be.
    original = logged(scene.recorded.log, 1) if source == "access log" else recorded
    compared = deviation(original, rates(Capture(incident).records(), 1))
    assert compared.compared > 3 * len(mix.ORDINARY)
    assert compared.largest == 0
    assert original.total() == recorded.total()


def test_the_drill_says_that_the_broken_shop_does_not_hold_and_names_the_page(scene: Scene) -> None:
    broken = scene.drilled("broken", "capture", "--repeat", "1", "--sweep", "off", fixed=False)
    assert (broken.verdict.outcome, broken.exit_code) == ("DOES NOT HOLD", 99), broken.output
    assert broken.named in mix.GUILTY[FAULT], broken.verdict.gave_way


def test_a_load_test_of_the_home_page_passes_on_the_same_broken_shop(found: Found) -> None:
    assert found.loaded.well


def test_the_fix_holds_and_with_room(found: Found) -> None:
    fixed = found.fixed
    assert (fixed.verdict.outcome, fixed.exit_code) == ("HOLDS", 0), fixed.output
    assert fixed.verdict.headroom is not None
    assert fixed.verdict.headroom.factor == Factor.parse("1.5x")


def test_a_clone_with_too_few_products_proves_nothing(found: Found) -> None:
    small = found.small
    assert (small.verdict.outcome, small.exit_code) == ("NOT PROVEN", 94), small.output
    assert "clone" in {reason.kind for reason in small.verdict.reasons}
