"""What clients may send, through nginx and through both lanes: no unexplained difference, and nothing smuggled."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from tests.support.differential.answers import ANSWERS, SCRIPTS
from tests.support.differential.corpus import CASES, GROUPS, Case
from tests.support.differential.explained import EXPLAINED, EXPOSED
from tests.support.differential.explained_answers import EXPLAINED_ANSWERS
from tests.support.differential.proxies import Proxy, proxies
from tests.support.differential.rendering import page
from tests.support.differential.running import Outcome, differences, play, split
from tests.support.differential.safety import hazards
from tests.support.lanes import LANES, Lane
from tests.support.processes import ROOT


class Run(NamedTuple):
    """A case's bytes sent at once, and sent in pieces."""

    whole: Outcome
    pieces: Outcome


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Proxy]]:
    with proxies(tmp_path_factory.mktemp("differential") / "proxies") as started:
        yield started


def _play(proxy: Proxy, group: str) -> dict[str, Run]:
    return {case.name: Run(play(proxy, case), play(proxy, case, split(case))) for case in CASES if case.group == group}


@pytest.fixture(scope="module", params=GROUPS)
def group(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def runs(running: dict[str, Proxy], group: str) -> dict[str, dict[str, Run]]:
    """All cases of a group, played to every proxy at the same time."""
    with ThreadPoolExecutor() as pool:
        played = pool.map(lambda proxy: _play(proxy, group), running.values())
        return dict(zip(running, played, strict=True))


def _cases(group: str) -> list[Case]:
    return [case for case in CASES if case.group == group]


@pytest.mark.parametrize("lane", LANES)
def test_nothing_is_smuggled_or_mixed_up(runs: dict[str, dict[str, Run]], group: str, lane: Lane) -> None:
    """Held against the client's bytes alone. What is exposed is known, and no more than that."""
    known = {name: set(entry.hazards) for entry in EXPOSED if lane in entry.lanes for name in entry.names()}
    found = {
        case.name: dangers
        for case in _cases(group)
        if (dangers := hazards(case, runs[lane][case.name].whole) | hazards(case, runs[lane][case.name].pieces))
    }
    assert found == {name: dangers for name, dangers in known.items() if name.startswith(group + "/")}


@pytest.mark.parametrize("lane", LANES)
def test_it_does_not_matter_how_the_bytes_arrive(runs: dict[str, dict[str, Run]], group: str, lane: Lane) -> None:
    stalls = {name for entry in EXPLAINED if entry.ours.endswith("silent") for name in entry.names()}
    for case in _cases(group):
        whole, pieces = runs[lane][case.name]
        if case.name not in stalls:
            assert differences(case, whole, pieces) == [], f"{case.name}: {whole.client()} / {pieces.client()}"


@pytest.mark.parametrize("lane", LANES)
def test_every_difference_from_nginx_is_explained(runs: dict[str, dict[str, Run]], group: str, lane: Lane) -> None:
    if "nginx" not in runs:
        pytest.skip("nginx is not installed: nothing to compare with (apt-get install nginx-light)")
    explained = {
        name: (entry.nginx, entry.ours, set(entry.sees))
        for entry in EXPLAINED
        if lane in entry.lanes
        for name in entry.names()
        if name.startswith(group + "/")
    }
    found = {}
    for case in _cases(group):
        theirs, ours = runs["nginx"][case.name].whole, runs[lane][case.name].whole
        if different := differences(case, theirs, ours):
            found[case.name] = (theirs.client(), ours.client(), set(different) - {"client"})
    assert found == explained


def test_the_lanes_do_the_same(runs: dict[str, dict[str, Run]], group: str) -> None:
    apart = {name for entry in (*EXPLAINED, *EXPOSED) if len(entry.lanes) == 1 for name in entry.names()}
    for case in _cases(group):
        fast, full = runs["fast"][case.name].whole, runs["full"][case.name].whole
        if case.name not in apart:
            assert differences(case, full, fast) == [], f"{case.name}: {full.client()} / {fast.client()}"


def test_every_explanation_names_cases_there_are_and_each_once() -> None:
    names = {case.name for case in CASES} | {f"{case.group}/{case.name}" for case in ANSWERS}
    for lane in ("fast", "full"):
        for table in ((*EXPLAINED, *EXPLAINED_ANSWERS), EXPOSED):
            explained = [name for entry in table if lane in entry.lanes for name in entry.names()]
            assert set(explained) <= names
            assert len(explained) == len(set(explained))


def test_there_are_hundreds_of_cases() -> None:
    assert len(CASES) == len({case.name for case in CASES}) >= 450
    assert len(ANSWERS) == len(SCRIPTS) >= 100


def test_the_page_says_what_the_tables_say() -> None:
    written = (ROOT / "docs/http-conformance.md").read_text()
    assert written == page(), "python -m tests.support.differential > docs/http-conformance.md"
