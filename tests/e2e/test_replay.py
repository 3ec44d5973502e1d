"""Replays of real recordings onto a real app behind a real sidecar, and every way in which that can break."""

import json
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from captures.reader import Capture
from loadtag import keys
from replayer.books.report import Report
from replayer.lanes.native import load
from tests.support.client import Client
from tests.support.crowd import Crowd
from tests.support.lines import whole_lines
from tests.support.place import PATIENT
from tests.support.processes import Process, eventually, reamp, run
from tests.support.relay import Relay
from tests.support.stack import Stack, stack

pytestmark = pytest.mark.timeout(120)
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 recorded requests of real users, made once."""
    with stack(tmp_path_factory.mktemp("recording")) as made:
        with made.sidecar(), Crowd(made.url, 300) as crowd:
            eventually(lambda: crowd.answered >= 300)
        return made.captures


@pytest.fixture
def recorded(site: Stack, recording: Path) -> Stack:
    """A site with that recording."""
    shutil.copytree(recording, site.folder / "recorded")
    return site


def arguments(site: Stack, *more: str, control: str | None = None, recording: str = "recorded") -> list[str]:
    """A live replay of `recorded`, as a user would type it."""
    return [
        *("replay", str(site.folder / recording), "--to", site.url, "--sidecar", control or site.control),
        "--no-preflight",
        *("--amplify", "1.25x", "--key", str(site.folder / "load.key"), "--runs", str(site.folder / "runs"), *more),
    ]


@contextmanager
def replaying(site: Stack, *more: str, control: str | None = None, recording: str = "recorded") -> Iterator[Process]:
    """A replay that has begun to send."""
    already = len(synthetic(site))
    command = reamp(
        *arguments(site, "--duration", "5m", "--signal-timeout", "1m", *more, control=control, recording=recording)
    )
    with Process(command, site.folder / "replay.out") as process:
        eventually(lambda: len(synthetic(site)) > already + 10 or not process.running(), 30)
        assert process.running(), process.output
        yield process


def synthetic(site: Stack) -> list[int]:
    """When synthetic requests reached the app (unix ns)."""
    return [at for at, its_run, _, _, _ in site.seen_by_app() if its_run != "-"]


def real(site: Stack) -> list[int]:
    """When real requests reached the app (unix ns)."""
    return [at for at, its_run, _, _, _ in site.seen_by_app() if its_run == "-"]


def reports(site: Stack) -> list[Report]:
    """The reports of all runs, the oldest first."""
    paths = sorted((site.folder / "runs").glob("*/report.json"), key=lambda path: path.stat().st_mtime_ns)
    return [Report.model_validate_json(path.read_text()) for path in paths]


def journal(site: Stack) -> list[str]:
    """The events of the newest run's journal."""
    path = max((site.folder / "runs").glob("*/journal.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(line)["event"] for line in whole_lines(path)]


def assert_ceiling(site: Stack, share: float, slack: int = 4) -> None:
    """The app's own log, request by request: `slack` of those on their way at once may have overtaken each other."""
    counts = {True: 0, False: 0}
    for _, its_run, _, _, _ in site.seen_by_app():
        counts[its_run != "-"] += 1
        assert counts[True] <= share * counts[False] + slack


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_live_replay_adds_a_quarter_and_no_more(recorded: Stack, processes: str) -> None:
    if processes != "1":
        try:
            load()
        except OSError as error:
            pytest.skip(f"several processes need the native lane: {error}")
    recorded.app_log.write_text("")
    with recorded.sidecar() as sidecar:
        with Crowd(recorded.url, 100) as crowd:
            eventually(lambda: crowd.answered > 50)
            began = time.time_ns()
            ended = run(*arguments(recorded, "--duration", "6s", "--processes", processes), env=PATIENT)
            assert ended.returncode == 0, ended.stdout + ended.stderr
            over = time.time_ns()
        eventually(lambda: recorded.state().accounting.pending == 0)
        state = recorded.state()
        sidecar.stop()
    assert crowd.failed == []
    assert_ceiling(recorded, 0.25)
    extra, users = synthetic(recorded), [at for at in real(recorded) if began <= at <= over]
    assert 0.2 <= len(extra) / (6 * 100) <= 0.26
    assert len(users) > 500

    report = reports(recorded)[-1]
    accounts = report.accounts
    assert accounts.sent == len(extra) + sum(accounts.withheld.values())
    assert accounts.answered == len(extra)
    assert sum(accounts.withheld.values()) <= accounts.sent * 0.01
    assert accounts.wanted == accounts.sent + sum(accounts.shed.values())
    assert report.valid
    assert report.latency.count == sum(route.answered for route in report.routes) == accounts.answered
    assert report.sidecars[0].spent == accounts.sent
    assert {path.name for path in (recorded.folder / "runs" / report.run).iterdir()} >= {
        "plan.json",
        "journal.jsonl",
        "report.json",
        "latency.hlog",
    }

    # Nothing synthetic was recorded while all this went on.
    records = recorded.records()
    assert len(records) == state.accounting.written == crowd.sent
    assert not any(name.lower() == b"x-load-test" for record in records for name, _ in record.headers)
    assert state.accounting.synthetic == accounts.sent
    assert state.accounting.reconciles()


def test_a_recording_made_during_a_replay_does_not_feed_the_next_one(recorded: Stack) -> None:
    with recorded.sidecar(), Crowd(recorded.url, 100) as crowd:
        with replaying(recorded):
            eventually(lambda: len(synthetic(recorded)) > 60)
        first = crowd.sent
    during = [record.path for record in Capture(recorded.captures).records()]
    assert abs(len(during) - first) <= 110  # real users only: what was added on top is not in it
    recorded.captures.rename(recorded.folder / "during")
    recorded.app_log.write_text("")
    with recorded.sidecar(), Crowd(recorded.url, 100) as crowd:
        eventually(lambda: crowd.answered > 50)
        with replaying(recorded, recording="during"):
            eventually(lambda: len(synthetic(recorded)) > 60)
    assert_ceiling(recorded, 0.25)
    assert len(recorded.records()) == crowd.sent


async def test_a_replayer_whose_tag_expires_mid_run_neither_earns_nor_is_recorded(site: Stack) -> None:
    """A replayer that does what ours never would: it goes on with a tag whose time is over."""
    with site.sidecar(**{"max-extra": "50%"}):
        token = site.token("stubborn", seconds=3)
        async with Client(site.url) as client:
            for _ in range(10):
                await client.request("GET", "/")
            assert (await client.request("GET", "/", site.tagged("stubborn", token))).status == 200
            eventually(lambda: time.time() > int(token.split(".")[3]))
            eventually(lambda: site.state().accounting.written == 10)
            before = site.state()
            for _ in range(40):
                await client.request("GET", "/", site.tagged("stubborn", token))
            after = site.state()
            assert after.credit <= before.credit
            assert after.requests["real"] == before.requests["real"]
            assert after.accounting.untrusted - before.accounting.untrusted == 40
            assert after.accounting.written == 10
            # It is not synthetic to the app either: nothing is switched off for it.
            assert len(synthetic(site)) == 1
    assert len(site.records()) == 10


def test_our_replayer_renews_its_tag_in_time(recorded: Stack) -> None:
    with recorded.sidecar(), Crowd(recorded.url, 100):
        ended = run(*arguments(recorded, "--duration", "6s", "--tag-lifetime", "2s"), env=PATIENT)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert recorded.state().accounting.untrusted == 0
    assert len(synthetic(recorded)) > 100


def test_two_replayers_share_one_ceiling(recorded: Stack) -> None:
    recorded.app_log.write_text("")
    with recorded.sidecar(), Crowd(recorded.url, 100) as crowd:
        eventually(lambda: crowd.answered > 20)
        with replaying(recorded) as first, replaying(recorded) as second:
            began = len(synthetic(recorded)), crowd.sent
            eventually(lambda: crowd.sent > began[1] + 300)
            extra = len(synthetic(recorded)) - began[0]
            assert 0.2 * 300 <= extra <= 0.25 * 300 + 10
            first.signal(signal.SIGINT)
            second.signal(signal.SIGINT)
            assert (first.wait(), second.wait()) == (105, 105)
    assert_ceiling(recorded, 0.25)


def test_ctrl_c_ends_the_load_within_50_ms_and_still_writes_the_report(recorded: Stack) -> None:
    with recorded.sidecar(), Crowd(recorded.url, 200), replaying(recorded) as replay:
        pressed = time.time_ns()
        replay.signal(signal.SIGINT)
        assert replay.wait() == 105
    late = [at for at in synthetic(recorded) if at > pressed + 50_000_000]
    assert late == []
    report = reports(recorded)[-1]
    assert (report.stop, report.exit_code) == ("interrupted", 105)


def test_the_lever_ends_a_replay(recorded: Stack) -> None:
    with recorded.sidecar(), Crowd(recorded.url, 100) as crowd, replaying(recorded) as replay:
        assert run("stop", "--sidecar", recorded.control, "--reason", "enough").returncode == 0
        pulled = time.time_ns()
        assert replay.wait() == 91
        # Whichever is quicker: the line of the grant stream, with the reason, or the guard's refusal.
        assert "enough" in replay.output or "the guard refused" in replay.output
        sent = crowd.sent
        eventually(lambda: crowd.sent > sent + 50)
    assert [at for at in synthetic(recorded) if at > pulled] == []
    assert crowd.failed == []


def test_kill_9_of_the_replayer_does_not_touch_real_traffic(recorded: Stack) -> None:
    with recorded.sidecar(), Crowd(recorded.url, 100) as crowd:
        with replaying(recorded) as replay:
            replay.kill()
            killed = time.time_ns()
            sent = crowd.sent
            eventually(lambda: crowd.sent > sent + 150)
        eventually(lambda: recorded.state().subscribers == 0)
    assert [at for at in synthetic(recorded) if at > killed + SECOND // 10] == []
    assert crowd.failed == []
    assert crowd.answered == crowd.sent


def test_a_cut_control_connection_stops_the_load_within_a_second_until_it_is_back(recorded: Stack) -> None:
    with recorded.sidecar(), Crowd(recorded.url, 100) as crowd, Relay(recorded.control_port) as relay:
        with replaying(recorded, control=f"http://127.0.0.1:{relay.port}") as replay:
            relay.cut()
            cut = time.time_ns()
            sent = crowd.sent
            eventually(lambda: crowd.sent > sent + 250)
            silent = time.time_ns()
            assert [at for at in synthetic(recorded) if cut + SECOND < at < silent] == []
            relay.mend()
            eventually(lambda: [at for at in synthetic(recorded) if at > silent])
            eventually(lambda: {"signal lost", "signal found"} <= set(journal(recorded)))
            assert replay.running()
            replay.signal(signal.SIGINT)
            assert replay.wait() == 105
    assert crowd.failed == []
    assert_ceiling(recorded, 0.25)


def test_a_signal_that_does_not_come_back_ends_the_run_with_90(recorded: Stack) -> None:
    with recorded.sidecar(), Crowd(recorded.url, 100), Relay(recorded.control_port) as relay:
        with replaying(recorded, "--signal-timeout", "2s", control=f"http://127.0.0.1:{relay.port}") as replay:
            relay.cut()
            assert replay.wait() == 90


def test_a_stopped_sidecar_means_no_load_and_no_burst_when_it_goes_on(recorded: Stack) -> None:
    recorded.app_log.write_text("")
    with recorded.sidecar() as sidecar, Crowd(recorded.url, 100) as crowd:
        eventually(lambda: crowd.answered > 50)
        with replaying(recorded) as replay:
            sidecar.signal(signal.SIGSTOP)
            stopped = time.time_ns()
            # Real users can't get through either: their requests wait for the sidecar to go on.
            sent = crowd.sent
            eventually(lambda: crowd.sent > sent + 300)
            continued = time.time_ns()
            sidecar.signal(signal.SIGCONT)
            assert [at for at in synthetic(recorded) if stopped + SECOND < at < continued] == []
            eventually(lambda: [at for at in synthetic(recorded) if at > continued + SECOND])
            replay.signal(signal.SIGINT)
            replay.wait()
    assert crowd.failed == []
    assert_ceiling(recorded, 0.25)


def test_kill_9_of_the_sidecar_ends_the_load_and_a_restart_lets_it_resume(recorded: Stack) -> None:
    with Crowd(recorded.url, 100) as crowd, recorded.sidecar() as sidecar, replaying(recorded) as replay:
        sidecar.kill()
        killed = time.time_ns()
        sent = crowd.sent
        eventually(lambda: crowd.sent > sent + 200)
        assert [at for at in synthetic(recorded) if at > killed + SECOND // 10] == []
        assert replay.running()
        with recorded.sidecar():
            restarted = time.time_ns()
            eventually(lambda: len([at for at in synthetic(recorded) if at > restarted]) > 20)
            before = len(crowd.failed)
            sent = crowd.sent
            eventually(lambda: crowd.sent > sent + 50)
            assert len(crowd.failed) == before
            replay.signal(signal.SIGINT)
            assert replay.wait() == 105


def test_a_stopped_replayer_does_not_catch_up(recorded: Stack) -> None:
    recorded.app_log.write_text("")
    with recorded.sidecar(), Crowd(recorded.url, 100) as crowd:
        eventually(lambda: crowd.answered > 50)
        with replaying(recorded) as replay:
            replay.signal(signal.SIGSTOP)
            sent = crowd.sent
            eventually(lambda: crowd.sent > sent + 300)
            continued = time.time_ns()
            replay.signal(signal.SIGCONT)
            eventually(lambda: [at for at in synthetic(recorded) if at > continued + SECOND])
            replay.signal(signal.SIGINT)
            replay.wait()
    burst = [at for at in synthetic(recorded) if continued <= at <= continued + SECOND]
    assert len(burst) <= 25 + 13  # a second's own share, and what half a second had earned
    assert_ceiling(recorded, 0.25)


def test_a_recording_goes_onto_an_idle_target_as_it_was(recorded: Stack) -> None:
    recorded.app_log.write_text("")
    ended = run(
        *("replay", str(recorded.folder / "recorded"), "--to", recorded.app, "--idle-target"),
        *("--key", str(recorded.folder / "load.key"), "--runs", str(recorded.folder / "runs")),
        env=PATIENT,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    paths = sorted(record.path for record in Capture(recorded.folder / "recorded").records())
    assert sorted(path for _, _, _, _, path in recorded.seen_by_app()) == paths
    assert real(recorded) == []


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A site with a sidecar that has recorded a few real users, for what sends nothing."""
    with stack(tmp_path_factory.mktemp("quiet")) as site, site.sidecar():
        with Crowd(site.url, 50) as crowd:
            eventually(lambda: crowd.answered > 10)
        eventually(lambda: site.state().accounting.pending == 0)
        keys.generate(site.folder, "stranger")
        yield site


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--amplify", "1.5x"), "50%"),
        (("--ceiling", "30%"), "25%"),
        (("--amplify", "1x"), "adds nothing"),
        (("--amplify", "125%"), "write it like 1.25x"),
        (("--key", "nowhere.key"), "nowhere.key"),
        (("--of", "dreams"), "live"),
        (("--audience", "elsewhere"), "accepts only tags for test-shop"),
        (("--key", "stranger.key"), "does not know the key"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(quiet: Stack, more: tuple[str, ...], words: str) -> None:
    more = tuple(str(quiet.folder / part) if part == "stranger.key" else part for part in more)
    ended = run(*arguments(quiet, "--duration", "5s", *more, recording="recordings"))
    assert ended.returncode == 104, ended.stdout + ended.stderr
    assert words in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
    assert synthetic(quiet) == []
    assert quiet.state().accounting.synthetic == 0


def test_a_target_that_may_be_live_needs_a_sidecar(quiet: Stack, tmp_path: Path) -> None:
    ended = run("replay", str(tmp_path), "--to", quiet.app, "--key", str(quiet.folder / "load.key"))
    assert ended.returncode == 104
    assert "--sidecar" in ended.stderr
    assert "--idle-target" in ended.stderr


def test_a_dry_run_sends_nothing_and_shows_the_configuration(quiet: Stack) -> None:
    before = quiet.seen_by_app()
    ended = run(*arguments(quiet, "--dry-run", "--duration", "5s", recording="recordings"))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert '"amplify": "1.25x"' in ended.stdout
    assert quiet.seen_by_app() == before
    assert not (quiet.folder / "runs").exists()
