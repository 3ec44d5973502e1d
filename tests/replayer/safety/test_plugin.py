"""Rules measured by a function of the user's own, however it behaves."""

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from replayer.safety.plugin import FRESH_NS, NO_FACTS, TIMEOUT, Facts, PluginSource, Standing, facts
from rules.exits import UserError
from rules.experience import SECOND_NS, Recent, Tally
from rules.latency import place
from rules.slo import Reading, Rule
from tests.support.processes import ROOT

MODULE = """
import sys, threading, time
seen = []
may_go = threading.Semaphore(0)

def calm(run):
    seen.append(dict(run))
    return 0.5

def nothing(run):
    return None

def raising(run):
    raise ValueError("the queue is\\nnot there")

def leaving(run):
    sys.exit(3)

def wrong(run):
    return "much"

def yes(run):
    return True

def infinite(run):
    return float("inf")

def huge(run):
    return 10 ** 400

def hanging(run):
    may_go.acquire()
    return 1

def changing(run):
    run["gain"] = 0

def two(run, more):
    return 1

async def later(run):
    return 1
"""


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of plugins, with a name of its own: what was imported once stays."""
    name = f"checks_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return name


def source(name: str, told: Callable[[], Facts] = lambda: NO_FACTS) -> PluginSource:
    return PluginSource(Rule.parse(f"value<0.8 plugin={name}"), told)


async def until(measured: PluginSource, check: Callable[[Reading], bool]) -> Reading:
    async with asyncio.timeout(20):
        while not check(reading := measured.read(time.monotonic_ns())):
            await asyncio.sleep(0.01)
    return reading


async def first(measured: PluginSource) -> Reading:
    """Give the first reading that a call gave."""
    following = asyncio.create_task(measured.follow())
    reading = await until(measured, lambda reading: "not called yet" not in reading.why)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    return reading


async def test_it_is_called_with_what_is_known_and_gives_the_value(checks: str) -> None:
    measured = source(f"{checks}:calm", lambda: {"elapsed": 2.0, "gain": 0.5, "real": {"p95": None}})
    assert await first(measured) == Reading(0.5, 1, f"by {checks}:calm")
    assert sys.modules[checks].seen[0] == {"elapsed": 2.0, "gain": 0.5, "real": {"p95": None}}
    assert "was last called" in measured.read(time.monotonic_ns() + FRESH_NS).why


def test_it_is_told_what_requests_got_and_can_not_change_it() -> None:
    recent = Recent(["a", "b"])
    now_ns = 100 * SECOND_NS
    for source_ in ("a", "b"):
        recent.add(source_, now_ns, {"real": Tally(1.0, 10, 10, 1, {place(0.2): 10})})
    told = facts(recent, 30, now_ns, Standing(5.0, 0.25))
    assert (told["elapsed"], told["gain"]) == (5.0, 0.25)
    real, synthetic = told["real"], told["synthetic"]
    assert isinstance(real, Mapping)
    assert {"rate": 20.0, "error_ratio": 0.1}.items() <= real.items()
    assert real["p95"] == pytest.approx(0.2, rel=0.02)
    assert isinstance(synthetic, Mapping)
    assert set(synthetic.values()) <= {None, 0.0}
    with pytest.raises(TypeError):
        real["rate"] = 1  # type: ignore[index]


async def test_it_is_called_again_and_again(checks: str) -> None:
    measured = source(f"{checks}:calm")
    following = asyncio.create_task(measured.follow())
    await until(measured, lambda _: len(sys.modules[checks].seen) == 2)
    following.cancel()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nothing", "has no value"),
        ("raising", "failed: ValueError: the queue is not there ("),
        ("leaving", "failed: SystemExit: 3"),
        ("wrong", "gave str, which is no number"),
        ("yes", "gave bool, which is no number"),
        ("infinite", "gave inf"),
        ("huge", "gave what is no number: OverflowError"),
        ("changing", "failed: TypeError"),
    ],
)
async def test_what_gives_no_number_is_no_data(checks: str, name: str, why: str) -> None:
    reading = await first(source(f"{checks}:{name}"))
    assert (reading.value, reading.samples) == (None, 0)
    assert f"{checks}:{name} {why}" in reading.why


async def test_one_that_hangs_is_no_data_and_is_called_no_second_time(checks: str) -> None:
    measured = source(f"{checks}:hanging")
    following = asyncio.create_task(measured.follow())
    reading = await until(measured, lambda reading: "has not come back" in reading.why)
    assert reading.value is None
    sys.modules[checks].may_go.release()  # this call, and not the next
    reading = await until(measured, lambda reading: "has not come back" not in reading.why)
    assert reading.value is None  # it came too late
    assert f"and has {TIMEOUT:g} s" in reading.why
    sys.modules[checks].may_go.release(100)
    assert (await until(measured, lambda reading: reading.value is not None)).value == 1
    following.cancel()


def test_one_that_hangs_keeps_nothing_from_ending(checks: str, tmp_path: Path) -> None:
    program = f"""
        import asyncio, time
        from replayer.safety.plugin import PluginSource
        from rules.slo import Rule

        async def main():
            measured = PluginSource(Rule.parse("value<1 plugin={checks}:hanging"))
            following = asyncio.create_task(measured.follow())
            while measured._called_ns is None:
                await asyncio.sleep(0.01)
            following.cancel()

        asyncio.run(main())
        print("over")
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "over\n", "")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("two", "has to take one argument, what is known of the run"),
        ("later", "no async"),
        ("missing", "has no missing"),
        ("seen", "it is no function but list"),
    ],
)
def test_what_can_not_be_called_is_told_before_anything_is_sent(checks: str, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        source(f"{checks}:{name}")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reamp-rule")]


def test_a_module_that_is_not_there_is_told() -> None:
    with pytest.raises(UserError, match="can't be imported: ModuleNotFoundError"):
        source("no_such_checks:calm")
