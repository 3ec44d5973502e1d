"""What apps may answer, through nginx and through both lanes: no unexplained difference, and nothing mixed up."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.differential.answers import ANSWERS, SCRIPTS, AnswerCase
from tests.support.differential.explained_answers import EXPLAINED_ANSWERS, GROUPS
from tests.support.differential.proxies import Proxy, proxies
from tests.support.differential.running import Outcome, hear, heard_otherwise, in_turn
from tests.support.lanes import LANES, Lane

Heard = dict[str, dict[str, Outcome]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Proxy]]:
    with proxies(tmp_path_factory.mktemp("answers") / "proxies", SCRIPTS) as started:
        yield started


def _hear(proxy: Proxy, group: str) -> dict[str, Outcome]:
    heard = {}
    for case in _cases(group):
        heard[case.name] = hear(proxy, case)
        assert in_turn(proxy), f"after {case.name}, somebody else got an answer that was not theirs"
    return heard


@pytest.fixture(scope="module", params=GROUPS)
def group(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def heard(running: dict[str, Proxy], group: str) -> Heard:
    with ThreadPoolExecutor() as pool:
        played = pool.map(lambda proxy: _hear(proxy, group), running.values())
        return dict(zip(running, played, strict=True))


def _cases(group: str) -> list[AnswerCase]:
    return [case for case in ANSWERS if case.group == group]


@pytest.mark.parametrize("lane", LANES)
def test_an_answer_is_given_once_and_never_looks_whole_if_it_is_not(heard: Heard, group: str, lane: Lane) -> None:
    for case in _cases(group):
        outcome = heard[lane][case.name]
        assert len(outcome.answers) <= 1, case.name
        # What is safe may be asked again on another connection, if the first one ended without a word.
        again = case.method in (b"GET", b"HEAD") and not any(case.script.pieces)
        assert [seen.request.target for seen in outcome.seen].count(case.target) <= 1 + again, case.name
        if case.cut:
            assert not any(answer.whole and answer.status < 400 for answer in outcome.answers), case.name


@pytest.mark.parametrize("lane", LANES)
def test_every_difference_from_nginx_is_explained(heard: Heard, group: str, lane: Lane) -> None:
    if "nginx" not in heard:
        pytest.skip("nginx is not installed: nothing to compare with (apt-get install nginx-light)")
    explained = {
        name: (entry.nginx, entry.ours)
        for entry in EXPLAINED_ANSWERS
        if lane in entry.lanes and entry.group == group
        for name in entry.cases
    }
    found = {}
    for case in _cases(group):
        theirs, ours = heard["nginx"][case.name], heard[lane][case.name]
        if not case.chance and heard_otherwise(theirs, ours):
            found[case.name] = (theirs.client(), ours.client())
    assert found == explained


def test_the_lanes_do_the_same(heard: Heard, group: str) -> None:
    apart = {name for entry in EXPLAINED_ANSWERS if len(entry.lanes) == 1 for name in entry.cases}
    for case in _cases(group):
        fast, full = heard["fast"][case.name], heard["full"][case.name]
        if case.name not in apart and not case.chance:
            assert not heard_otherwise(full, fast), f"{case.name}: {full.client()} / {fast.client()}"
