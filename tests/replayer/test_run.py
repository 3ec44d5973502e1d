"""Whole runs, as a user starts them: a real app, a control port that grants as told, real signals, real kills."""

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from captures.records import Record
from captures.segments import SUFFIX
from loadtag import headers, keys, parse
from replayer.books.folder import Folder, read_report
from replayer.books.report import Report
from replayer.engine import Run
from replayer.plan import Plan
from replayer.preparing.prepare import prepare
from rules.exits import Exit
from tests.support.lines import whole_lines
from tests.support.origin import Connection, Origin, answering, certificate, origin
from tests.support.place import PATIENT
from tests.support.processes import Process, answers, eventually, free_port, python, reamp, run, shop
from tests.support.recording import record, write

RATE = 400
"""Real requests per second that the control port makes up."""


class Field:
    """A shop, a control port, a recording and a key."""

    def __init__(self, folder: Path, app: str, log: Path, control: Process, port: int) -> None:
        self.folder, self.app, self.log = folder, app, log
        self._begin = log.stat().st_size  # the shop stays, and so does its log
        self.control, self.control_url = control, f"http://127.0.0.1:{port}"
        self.runs = folder / "runs"

    def arguments(self, *more: str) -> list[str]:
        common = ["--to", self.app, "--key", str(self.folder / "load.key"), "--runs", str(self.runs)]
        return ["replay", str(self.folder / "recordings"), *common, *more]

    @property
    def sidecar(self) -> tuple[str, ...]:
        """Its control port only grants: there is nothing that a preflight could see."""
        return ("--sidecar", self.control_url, "--no-preflight")

    def live(self, *more: str) -> list[str]:
        return self.arguments(*self.sidecar, "--amplify", "1.25x", *more)

    def start(self, *arguments: str) -> Process:
        return Process(reamp(*arguments), self.folder / "replay.out")

    def lines(self) -> list[list[str]]:
        """What reached the app: unix ns, run or -, request id or -, method, path."""
        return [line.split() for line in whole_lines(self.log, self._begin)]

    def arrivals(self) -> list[float]:
        """When synthetic requests reached the app (unix seconds)."""
        return [int(line[0]) / 1e9 for line in self.lines() if line[1] != "-"]

    def flowing(self, count: int = 30) -> None:
        eventually(lambda: len(self.arrivals()) >= count)

    def report(self) -> Report:
        (folder,) = self.runs.iterdir()
        report = read_report(folder)
        assert report.accounts.reconciles()
        assert report.accounts.in_flight == 0
        return report

    def journal(self) -> list[dict[str, object]]:
        (path,) = self.runs.glob("*/journal.jsonl")
        return [json.loads(line) for line in whole_lines(path)]

    def events(self) -> list[object]:
        return [entry["event"] for entry in self.journal()]

    def refuse(self, why: str) -> None:
        """Have the control port grant nothing any more; an empty reason lets it grant again."""
        httpx.post(f"{self.control_url}/refuse", content=why, trust_env=False).raise_for_status()

    def pull(self) -> None:
        order = {"engaged": True, "reason": "enough", "by": "ann"}
        httpx.post(f"{self.control_url}/v1/lever", json=order, trust_env=False).raise_for_status()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    with shop(tmp_path_factory.mktemp("shop")) as ready:
        yield ready


@pytest.fixture
def here(tmp_path: Path, app: tuple[str, Path]) -> Iterator[Field]:
    keys.generate(tmp_path, "load")
    write(tmp_path / "recordings", (record(i * 0.01, f"/item/{i}") for i in range(300)))
    port = free_port()
    command = python("-m", "uvicorn", "tests.support.grants:app", "--port", str(port), "--log-level", "warning")
    with Process(command, tmp_path / "grants.out", {"GRANT_RATE": str(RATE)}) as control:
        control.ready(port)
        yield Field(tmp_path, *app, control, port)


# --- the plain way ---


def test_an_idle_target_gets_the_recording(here: Field) -> None:
    done = run(*here.arguments("--idle-target"), env=PATIENT)
    assert done.returncode == Exit.DONE, done.stdout + done.stderr
    report = here.report()
    assert report.accounts.wanted == 300
    assert report.accounts.statuses == Counter({200: 300})
    paths = Counter(line[4] for line in here.lines())
    assert paths == Counter(f"/item/{i}" for i in range(300))
    assert "reconcile" in done.stdout
    assert here.events() == ["plan", "start", "stopped"]


def test_the_extra_traffic_is_a_quarter_of_the_real(here: Field) -> None:
    done = run(*here.live("--duration", "4s"), env=PATIENT)
    assert done.returncode == Exit.DONE, done.stdout + done.stderr
    report = here.report()
    (live,) = report.sidecars
    assert abs(report.accounts.wanted - RATE) <= 0.1 * RATE  # a quarter of RATE in each of four seconds
    assert live.spent * 4 <= live.real
    assert report.accounts.sent == live.spent == len(here.arrivals())
    assert "recording loops" in here.events()  # 300 records, some 400 requests


def test_a_recording_on_a_live_target_stays_under_the_ceiling_too(here: Field) -> None:
    run(*here.arguments(*here.sidecar, "--of", "recording", "--amplify", "4x"))
    report = here.report()
    assert report.accounts.wanted == 1200
    assert report.accounts.shed["credit"] > 600  # 400/s wanted, 100/s granted, for three seconds
    assert report.accounts.sent == len(here.arrivals()) <= report.sidecars[0].real / 4


@pytest.mark.parametrize("lane", ["native", "python"])
def test_a_recording_that_is_sent_as_it_is_spends_credit_for_each_request(here: Field, lane: str) -> None:
    """The native lane loads such a recording block by block, and decides about credit itself."""
    more = ("--of", "recording", "--amplify", "1x", "--ceiling", "10%", "--lane", lane)
    run(*here.arguments(*here.sidecar, *more))
    report = here.report()
    (live,) = report.sidecars
    assert report.accounts.wanted == 300
    assert report.accounts.shed["credit"] > 0  # 100/s wanted, 40/s granted, for three seconds
    assert 0 < report.accounts.sent == live.spent == len(here.arrivals()) <= live.real / 10


def test_the_run_folder_is_whole(here: Field) -> None:
    run(*here.live("--duration", "2500ms", "--ceiling", "25%"))
    report = here.report()
    (folder,) = here.runs.iterdir()
    assert folder.name == report.run
    assert sorted(path.name for path in folder.iterdir()) == [
        "journal.jsonl",
        "junit.xml",
        "latency.hlog",
        "plan.json",
        "report.html",
        "report.json",
        "routes.msgpack",
        "seconds.jsonl",
    ]
    plan = Plan.model_validate_json((folder / "plan.json").read_text())
    assert (str(plan.amplify), str(plan.ceiling), plan.of) == ("1.25x", "25%", "live")

    merged = HdrHistogram(1, 3_600_000_000, 3)
    reader = HistogramLogReader(str(folder / "latency.hlog"), merged)
    counts: Counter[str] = Counter()
    while (interval := reader.get_next_interval_histogram()) is not None:
        counts[interval.get_tag()] += interval.get_total_count()
        if interval.get_tag() == "latency":
            merged.add(interval)
    reader.input_file.close()
    whole = {"latency": report.latency, "service": report.service, "lag": report.lag, "wait": report.wait}
    assert counts == Counter({tag: values.count for tag, values in whole.items()})
    assert report.latency.count == report.accounts.answered
    assert report.lag.count == report.accounts.sent
    assert report.latency.p50 == pytest.approx(merged.get_value_at_percentile(50) / 1e6)

    again = run("report", str(folder))
    assert again.returncode == Exit.DONE
    assert report.run in again.stdout
    assert Report.model_validate_json(run("report", str(folder), "--json").stdout) == report


def limited(soft: int, hard: int, *arguments: str) -> list[str]:
    """The command, with so many open files."""
    script = f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"'
    return ["sh", "-c", script, "sh", *reamp(*arguments)]


def test_it_has_as_many_open_files_as_its_connections_need(here: Field) -> None:
    arguments = here.arguments("--idle-target", "--amplify", "1x", "--max-connections", "900")
    with Process(limited(100, 1100, *arguments), here.folder / "replay.out", PATIENT) as replay:
        here.flowing()
        limits = Path(f"/proc/{replay.pid}/limits").read_text()
        assert replay.wait() == Exit.DONE
    assert re.search(r"Max open files +1028 +1100 ", limits)


def test_too_few_open_files_are_told_before_anything_is_sent(here: Field) -> None:
    arguments = here.arguments("--idle-target", "--amplify", "1x", "--max-connections", "900")
    with Process(limited(100, 1000, *arguments), here.folder / "replay.out") as replay:
        assert replay.wait() == Exit.CONFIGURATION
        assert "--max-connections 900 takes 1028 open files, and this system gives a process 1000" in replay.output
    assert here.lines() == []


def test_a_dry_run_sends_nothing(here: Field) -> None:
    done = run(*here.live("--dry-run"))
    assert done.returncode == Exit.DONE, done.stdout + done.stderr
    assert "nothing was sent" in done.stdout
    assert "25% of real traffic on top" in done.stdout
    assert here.arrivals() == []
    assert not here.runs.exists()


# --- stopping ---


def test_ctrl_c_stops_the_sending_at_once_and_the_report_is_whole(here: Field) -> None:
    with here.start(*here.live("--duration", "60s")) as replay:
        here.flowing()
        pressed = time.time()
        replay.signal(signal.SIGINT)
        assert replay.wait() == Exit.INTERRUPTED
    assert max(here.arrivals()) <= pressed + 0.05
    report = here.report()
    assert (report.stop, report.exit_code) == ("interrupted", Exit.INTERRUPTED)
    assert here.events()[-1] == "stopped"


@pytest.fixture
def _terminal() -> Iterator[None]:
    """Whoever runs the tests may have SIGHUP ignored (nohup), and so would what they start."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("_terminal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_a_closed_terminal_do_the_same(here: Field, number: signal.Signals) -> None:
    with here.start(*here.live("--duration", "60s")) as replay:
        here.flowing()
        replay.signal(number)
        assert replay.wait() == Exit.INTERRUPTED
    assert here.report().stop == "interrupted"


def test_ctrl_c_does_not_wait_for_the_last_answers(here: Field) -> None:
    slow = write(here.folder / "slow", [record(0, "/slow?seconds=8")])
    with here.start("replay", str(slow), *here.arguments("--idle-target")[2:]) as replay:
        eventually(here.lines, 30)
        time.sleep(0.3)  # by then all is sent, and only the answer is waited for
        pressed = time.monotonic()
        replay.signal(signal.SIGINT)
        assert replay.wait() == Exit.INTERRUPTED
        assert time.monotonic() - pressed < 5
    report = here.report()
    assert (report.accounts.sent, report.accounts.unanswered) == (1, 1)


def test_the_second_ctrl_c_waits_for_nothing(here: Field) -> None:
    with here.start(*here.live("--duration", "60s")) as replay:
        here.flowing()
        for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
            replay.signal(number)  # so that both are there at once
        assert replay.wait() == Exit.INTERRUPTED
    assert not list(here.runs.glob("*/report.json"))


STUCK = """
import time
from pathlib import Path
from typing import Any

def change(request):
    if request.path == "/item/200" and time.monotonic() - BEGAN > 1:
        Path("stuck").touch()
        while True:
            pass
    return request

BEGAN = time.monotonic()
"""


def test_the_second_ctrl_c_ends_what_is_stuck(here: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here.folder)
    (here.folder / "stuck_plugin.py").write_text(STUCK)
    arguments = here.arguments("--idle-target", "--rate", "500/s", "--loop", "--duration", "60s")
    with here.start(*arguments, "--plugin", "stuck_plugin:change") as replay:
        eventually((here.folder / "stuck").exists)
        replay.signal(signal.SIGINT)
        time.sleep(0.1)  # two that come at once are one
        replay.signal(signal.SIGINT)
        assert replay.wait(10) == Exit.INTERRUPTED


def test_ctrl_c_is_heard_while_a_long_run_of_records_is_skipped(here: Field) -> None:
    def posts() -> Iterator[Record]:
        yield record(0, "/")
        for number in range(60_000):
            yield record(0.01 + number * 1e-5, "/cart", method="POST")
        yield record(1.5, "/item/1")

    recording = write(here.folder / "posts", posts())
    done = run("replay", str(recording), *here.arguments("--idle-target")[2:], env=PATIENT)
    report = here.report()
    assert done.returncode == Exit.DONE, done.stdout + done.stderr
    assert (report.accounts.sent, report.accounts.skipped["unsafe"]) == (2, 60_000)
    assert report.stalled == 0


def test_the_lever_ends_the_wait_for_the_last_answers(here: Field) -> None:
    slow = write(here.folder / "slow", [record(i, "/slow?seconds=8") for i in range(2)])
    arguments = here.live("--duration", "1s")[2:]
    with here.start("replay", str(slow), *arguments) as replay:
        here.flowing(1)
        time.sleep(1.5)  # by then the time is up
        here.pull()
        pulled = time.monotonic()
        assert replay.wait() == Exit.LEVER
        assert time.monotonic() - pulled < 5
    report = here.report()
    assert "enough" in report.reason
    assert report.accounts.unanswered > 0


def test_the_lever_stops_the_run(here: Field) -> None:
    with here.start(*here.live("--duration", "60s")) as replay:
        here.flowing()
        here.pull()
        pulled = time.time()
        assert replay.wait() == Exit.LEVER
    assert max(here.arrivals()) <= pulled + 0.25
    report = here.report()
    assert report.stop == "lever"
    assert "enough" in report.reason
    assert "lever" in here.events()


def test_a_pulled_lever_lets_no_run_begin(here: Field) -> None:
    here.pull()
    done = run(*here.live())
    assert done.returncode == Exit.LEVER
    assert "enough" in done.stderr
    assert here.arrivals() == []


# --- losing the signal ---


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_without_a_signal_nothing_is_sent_after_a_second_and_the_run_gives_up(
    here: Field, number: signal.Signals
) -> None:
    with here.start(*here.live("--duration", "60s", "--signal-timeout", "2s")) as replay:
        here.flowing()
        here.control.signal(number)
        cut = time.time()
        assert replay.wait() == Exit.SIGNAL_LOST
    assert max(here.arrivals()) <= cut + 1.0
    assert here.report().stop == "signal-lost"
    assert "signal lost" in here.events()


def test_a_signal_that_comes_back_lets_the_run_go_on(here: Field) -> None:
    with here.start(*here.live("--duration", "60s", "--signal-timeout", "30s")) as replay:
        here.flowing()
        here.control.signal(signal.SIGSTOP)
        stopped = time.time()
        time.sleep(2.5)
        before = len(here.arrivals())
        here.control.signal(signal.SIGCONT)
        found = time.time()
        here.flowing(before + 50)
        replay.signal(signal.SIGINT)
        assert replay.wait() == Exit.INTERRUPTED
    arrivals = here.arrivals()
    assert not [at for at in arrivals if stopped + 1.0 < at < found]
    # No burst either: real traffic went on meanwhile, but what it earned has expired.
    assert sum(found <= at < found + 0.3 for at in arrivals) <= 0.3 * RATE / 4 + RATE / 4
    assert here.events().count("signal found") == 1


def test_a_sidecar_that_does_not_know_the_tag_lets_no_run_begin(here: Field) -> None:
    """It would take the requests for those of real users."""
    here.refuse("unknown-key")
    for more in ("--dry-run", "--duration=5s"):
        done = run(*here.live(more))
        assert done.returncode == Exit.CONFIGURATION, done.stdout + done.stderr
        assert f"{here.control_url} refuses the load tag: unknown-key" in done.stderr
        assert "--public-key" in done.stderr
    assert here.arrivals() == []
    assert not here.runs.exists()


def test_a_sidecar_that_knows_the_tag_no_more_gets_nothing_and_ends_the_run(here: Field) -> None:
    with here.start(*here.live("--duration", "60s", "--signal-timeout", "1s")) as replay:
        here.flowing()
        here.refuse("unknown-key")
        refused = time.time()
        assert replay.wait() == Exit.SIGNAL_LOST
    assert max(here.arrivals()) <= refused + 0.5  # no longer than it takes to subscribe anew
    assert "unknown-key" in here.report().reason


def test_the_extra_traffic_follows_the_real_one(here: Field) -> None:
    with here.start(*here.live("--duration", "60s")) as replay:
        here.flowing(100)
        httpx.post(f"{here.control_url}/rate/0", trust_env=False)
        silent = time.time()
        time.sleep(1)
        assert max(here.arrivals()) <= silent + 0.3
        replay.signal(signal.SIGINT)
        replay.wait()


def test_a_replayer_that_stood_still_does_not_catch_up(here: Field) -> None:
    with here.start(*here.live("--duration", "60s")) as replay:
        here.flowing()
        replay.signal(signal.SIGSTOP)
        time.sleep(3)
        replay.signal(signal.SIGCONT)
        woken = time.time()
        before = len(here.arrivals())
        here.flowing(before + 60)
        replay.signal(signal.SIGINT)
        assert replay.wait() == Exit.INTERRUPTED
    burst = sum(woken <= at < woken + 0.2 for at in here.arrivals())
    assert burst <= (0.2 + 0.05) * RATE / 4 + 10  # what fell due then; nothing of the 3 s, not even the last 100 ms
    report = here.report()
    assert report.stalled >= 2.5
    assert not report.valid
    assert "stalled" in here.events()
    assert report.sidecars[0].spent <= report.sidecars[0].real / 4


def test_what_came_while_it_stood_still_is_shed_as_late(here: Field) -> None:
    with here.start(*here.live("--duration", "60s")) as replay:
        here.flowing()
        replay.signal(signal.SIGSTOP)
        time.sleep(0.7)
        replay.signal(signal.SIGCONT)
        here.flowing(len(here.arrivals()) + 30)
        replay.signal(signal.SIGINT)
        assert replay.wait() == Exit.INTERRUPTED
    report = here.report()
    assert report.accounts.shed["late"] > 0.5 * RATE / 4
    assert report.accounts.shed["signal"] == 0
    assert report.stalled > 0.5


# --- what goes wrong before and at the far end ---


async def test_what_waited_too_long_for_its_connection_is_not_sent(tmp_path: Path) -> None:
    """Handshakes stand still, and then all go on at once: by then the requests are late, and nothing was granted."""
    keys.generate(tmp_path, "load")
    trust, serving = certificate(tmp_path, "127.0.0.1")
    gate = asyncio.Event()

    async def relay(connection: Connection, _here: Origin) -> None:
        await gate.wait()
        reader, writer = await asyncio.open_connection("127.0.0.1", behind.port)

        async def copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65536):
                    to.write(data)
            finally:
                to.close()

        await asyncio.gather(copy(connection.reader, writer), copy(reader, connection.writer))

    recording = tmp_path / "recordings"
    await asyncio.to_thread(write, recording, [record(i * 0.01, "/") for i in range(200)])
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with origin(answering(ok), serving) as behind, origin(relay) as target:
        arguments = ["--to", f"https://127.0.0.1:{target.port}", "--idle-target", "--key", str(tmp_path / "load.key")]
        arguments += ["--ca", str(trust), "--runs", str(tmp_path / "runs"), "--no-http2"]
        # Whether a busy machine kept the schedule is not what is asked here; what waited is shed by --max-lag as ever.
        bounds = {"REAMP_REPLAY_LAG_BOUND": "1m", "REAMP_REPLAY_LATE_BOUND": "100%"}
        replay = await asyncio.create_subprocess_exec(
            *reamp("replay", str(recording), *arguments), stdout=asyncio.subprocess.DEVNULL, env=os.environ | bounds
        )
        async with asyncio.timeout(40):
            while target.connections < 100:
                await asyncio.sleep(0.01)
            gate.set()
            assert await replay.wait() == Exit.DONE
    (folder,) = (tmp_path / "runs").iterdir()
    report = read_report(folder)
    accounts = report.accounts
    assert accounts.reconciles()
    assert accounts.shed["connecting"] > 50
    assert accounts.sent == len(behind.requests) == 200 - accounts.shed.total()
    # Some that waited got a connection that was free again before their own was there.
    # On a busy machine the run may be over before the handshakes are.
    assert behind.connections <= target.connections <= accounts.shed["connecting"] + report.wait.count


def test_no_sidecar_no_run(here: Field) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    done = run(*here.arguments("--no-preflight", "--sidecar", gone, "--amplify", "1.25x"))
    assert done.returncode == Exit.SIGNAL_LOST
    assert "no sidecar answers there" in done.stderr
    refused = run(*here.arguments("--amplify", "1.25x"))
    assert refused.returncode == Exit.CONFIGURATION
    assert "--idle-target" in refused.stderr


def test_mistakes_are_told_in_one_line_each(here: Field, tmp_path: Path) -> None:
    for arguments, part in (
        (here.live("--ceiling", "10%"), "lower --amplify to 1.1x"),
        (here.live("--ceiling", "90%"), "can only lower the ceiling"),
        (here.arguments("--idle-target", "--duration", "10"), "--duration: '10' is not a duration"),
        (["replay", str(tmp_path / "nothing"), *here.live()[2:]], "nothing"),
        (here.arguments("--idle-target", "--methods", "POST"), "--allow 'POST /cart/{id}'"),
        (here.arguments("--idle-target", "--methods", "OPTIONS"), "nothing that can be replayed: 300 unsafe"),
        (here.arguments("--idle-target", "--key", str(tmp_path / "load.pub")), "load.pub"),
        (["report", str(tmp_path)], "no report.json"),
    ):
        done = run(*arguments)
        assert done.returncode == Exit.CONFIGURATION, done.stdout + done.stderr
        assert part in done.stderr
        assert "Traceback" not in done.stderr
    assert here.arrivals() == []


def test_a_dead_target_fails_the_run(here: Field) -> None:
    arguments = here.arguments("--idle-target")
    arguments[arguments.index(here.app)] = f"http://127.0.0.1:{free_port()}"
    done = run(*arguments)
    assert done.returncode == Exit.FAILED, done.stdout + done.stderr
    report = here.report()
    assert report.accounts.answered == 0
    assert set(report.accounts.errors) == {"refused"}
    assert "refused" in report.reasons
    assert report.accounts.shed["backoff"] > 0
    assert report.accounts.sent < 60  # 300 were wanted: the back-off spared it the others
    assert report.reason.endswith("; not one request was answered")


def test_metrics_are_served(here: Field) -> None:
    port = free_port()
    with here.start(*here.live("--duration", "60s", "--metrics", f"127.0.0.1:{port}")) as replay:
        eventually(answers(port), 30)
        here.flowing()
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        replay.signal(signal.SIGINT)
        replay.wait()
    assert 'reamp_replay_requests_total{outcome="answered"}' in text
    assert 'reamp_replay_latency_seconds_bucket{le="+Inf"}' in text
    assert 'reamp_replay_lag_seconds_bucket{le="0.001"}' in text


def test_a_port_in_use_is_told_before_anything_is_written(here: Field) -> None:
    taken = here.control_url.removeprefix("http://")
    for more in ((), ("--dry-run",)):
        done = run(*here.live("--metrics", taken, *more))
        assert done.returncode == Exit.CONFIGURATION, done.stdout + done.stderr
        assert f"--metrics {taken}" in done.stderr
    assert not here.runs.exists()


def test_a_reader_that_has_seen_enough_does_not_end_the_run(here: Field) -> None:
    command = [*reamp(*here.live("--duration", "2s"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as replay:
        assert replay.stdout is not None
        assert replay.stderr is not None
        replay.stdout.readline()
        replay.stdout.close()
        said = replay.stderr.read().decode()
        assert replay.wait(30) in (Exit.DONE, Exit.INVALID), said  # invalid where the machine is too busy
    assert not said
    assert here.report().accounts.sent > 0.5 * RATE / 4


def test_a_damaged_recording_is_told_of(here: Field) -> None:
    (segment,) = here.folder.glob(f"recordings/*{SUFFIX}")
    (segment.parent / f"copy-{segment.name}").write_bytes(b"nothing of the sort")
    done = run(*here.arguments("--idle-target", "--duration", "500ms"))
    report = here.report()
    assert done.stdout.count(f"copy-{segment.name}") >= 2  # before and after
    assert len(report.damage) == 1
    assert "damage" in here.events()


def test_a_live_run_as_long_as_a_moment_is_asked_for_its_duration(here: Field) -> None:
    one = write(here.folder / "one", [record(0, "/")])
    done = run("replay", str(one), *here.live()[2:])
    assert done.returncode == Exit.CONFIGURATION
    assert "--duration" in done.stderr
    done = run("replay", str(one), *here.live("--duration", "2s")[2:], env=PATIENT)
    assert done.returncode == Exit.DONE, done.stdout + done.stderr
    assert here.events().count("recording loops") == 1
    assert here.report().accounts.rounds > 50


def test_a_dry_run_reckons_with_the_duration(here: Field) -> None:
    done = run(*here.arguments("--idle-target", "--amplify", "2x", "--duration", "1s", "--dry-run"))
    assert "up to 201 requests in 1s" in done.stdout


@pytest.mark.parametrize("lane", ["python", "auto"])
def test_a_duration_beyond_the_recording_takes_nothing_from_its_end(here: Field, lane: str) -> None:
    few = write(here.folder / "few", [record(0, "/"), record(0.25, "/"), record(0.5, "/")])
    arguments = here.arguments("--idle-target", "--duration", "1h", "--lane", lane)[2:]
    done = run("replay", str(few), *arguments, env=PATIENT)
    assert done.returncode == Exit.DONE, done.stdout + done.stderr
    report = here.report()
    assert (report.accounts.wanted, report.accounts.answered) == (3, 3)
    assert "to its end" in report.reason


def test_settings_may_come_from_the_environment(here: Field) -> None:
    arguments = here.arguments()
    done = run(*arguments, env={"REAMP_REPLAY_IDLE_TARGET": "1", "REAMP_REPLAY_DURATION": "200ms", **PATIENT})
    assert done.returncode == Exit.DONE, done.stdout + done.stderr
    assert 0 < here.report().accounts.wanted <= 30


def test_the_guards_lever_ends_the_run_even_before_the_stream_tells(here: Field) -> None:
    answer = b"HTTP/1.1 503 No\r\nreamp-withheld: lever\r\nContent-Length: 0\r\n\r\n"

    async def main() -> int:
        async with origin(answering(answer)) as target:
            arguments = here.live("--duration", "20s")
            arguments[arguments.index(here.app)] = f"http://127.0.0.1:{target.port}"
            replay = await asyncio.create_subprocess_exec(*reamp(*arguments), stdout=asyncio.subprocess.DEVNULL)
            return await replay.wait()

    assert asyncio.run(main()) == Exit.LEVER
    report = here.report()
    assert report.stop == "lever"
    assert report.accounts.withheld["lever"] >= 1


async def test_a_token_that_has_expired_never_arrives(tmp_path: Path) -> None:
    """The replayer stands still for longer than its token lives, and renews it before the next request."""
    late: list[float] = []
    tokens: set[str] = set()

    async def script(connection: Connection, _here: Origin) -> None:
        while True:
            found = headers.find([(b"baggage", (await connection.request()).split(b"baggage: ")[1].split(b"\r\n")[0])])
            assert found is not None
            assert found.token is not None
            tokens.add(found.token)
            if parse(found.token).tag.expires <= time.time():
                late.append(time.time())
            await connection.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    keys.generate(tmp_path, "load")
    recording = tmp_path / "recordings"
    await asyncio.to_thread(write, recording, [record(i * 0.02, "/") for i in range(600)])
    async with origin(script) as target:
        arguments = ["--to", f"http://127.0.0.1:{target.port}", "--idle-target", "--key", str(tmp_path / "load.key")]
        arguments += ["--tag-lifetime", "2s", "--runs", str(tmp_path / "runs")]
        replay = await asyncio.create_subprocess_exec(
            *reamp("replay", str(recording), *arguments), stdout=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(40):
            while len(tokens) < 3:
                await asyncio.sleep(0.05)
            replay.send_signal(signal.SIGSTOP)
            await asyncio.sleep(2.5)
            replay.send_signal(signal.SIGCONT)
            seen = len(tokens)
            while len(tokens) < seen + 2:
                await asyncio.sleep(0.05)
            replay.send_signal(signal.SIGINT)
            assert await replay.wait() == Exit.INTERRUPTED
    assert late == []


async def test_a_run_that_can_not_be_looked_after_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ails what is done twenty times a second: the rules and the signal would not be looked at any more."""
    private, _ = keys.generate(tmp_path, "load")
    await asyncio.to_thread(write, tmp_path / "recordings", [record(i * 0.01, "/") for i in range(3000)])
    told = {"recording": tmp_path / "recordings", "key": private, "idle_target": True, "runs": tmp_path / "runs"}
    async with origin(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as target:
        plan = Plan.model_validate({**told, "to": f"http://127.0.0.1:{target.port}"})
        prepared = await prepare(plan)
        folder = Folder(plan.runs, prepared.run_id, plan)
        run, write_down = Run(plan, prepared, folder), folder.interval
        broken = iter([True])

        def interval(*what: Any) -> None:
            if next(broken, False):
                raise ValueError("this can't be written")
            write_down(*what)

        monkeypatch.setattr(folder, "interval", interval)
        async with asyncio.timeout(20):
            report = await run.run()
    assert (report.stop, report.exit_code) == ("failed", Exit.FAILED)
    assert report.reason == 'the run could not be looked after: ValueError("this can\'t be written")'
    assert report.accounts.reconciles()
    assert 0 < len(target.requests) < 1000


# --- which part of the recording, how much, and when ---


def test_a_part_of_the_recording_over_and_over_until_so_many_were_sent(here: Field) -> None:
    span = ["--from", "+1s", "--until", "+1200ms", "--only", "~u /item/", "--except", "~u /item/105"]
    run(*here.arguments("--idle-target", *span, "--loop", "--max-requests", "50", "--max-lag", "10s"))
    report = here.report()
    assert report.accounts.wanted == report.accounts.sent == 50
    assert "--max-requests" in report.reason
    paths = Counter(line[4] for line in here.lines())
    chosen = {f"/item/{i}" for i in range(100, 120) if i != 105}
    assert set(paths) == chosen
    assert set(paths.values()) == {2, 3}


def test_a_rate_of_ones_own_keeps_the_order(here: Field) -> None:
    run(*here.arguments("--idle-target", "--rate", "100/s", "--even", "--duration", "1s", "--max-lag", "10s"))
    assert here.report().accounts.wanted == 100
    assert sorted(line[4] for line in here.lines()) == sorted(f"/item/{i}" for i in range(100))


def test_live_traffic_is_raised_in_stages(here: Field) -> None:
    stages = ["--stage", "2s:1.05x", "--stage", "2s:1.25x"]
    run(*here.arguments(*here.sidecar, *stages))
    report = here.report()
    assert abs(report.accounts.wanted - RATE * (0.05 + 0.25) * 2) <= 0.1 * RATE
    assert [entry["stage"] for entry in here.journal() if entry["event"] == "stage"] == ["2s:1.05x", "2s:1.25x"]
    assert report.seconds == pytest.approx(4, abs=0.5)


def test_stages_that_would_never_come_are_refused_before_anything_is_sent(here: Field) -> None:
    stages = ["--stage", "5s:1x", "--stage", "5s:2x"]
    done = run(*here.arguments("--idle-target", *stages))
    assert done.returncode == Exit.CONFIGURATION
    assert "the last --stage begins after 5s" in done.stderr
    assert "lasts 2.99s: give --loop" in done.stderr
    assert "up to" not in run(*here.arguments("--idle-target", *stages, "--loop", "--dry-run")).stderr
    assert here.lines() == []


def test_whole_sessions_reach_the_app(here: Field) -> None:
    run(*here.arguments("--idle-target", "--sessions", "auto", "--amplify", "2x", "--max-lag", "10s"))
    assert here.report().accounts.wanted == 600
    assert Counter(line[4] for line in here.lines()) == {f"/item/{i}": 2 for i in range(300)}
