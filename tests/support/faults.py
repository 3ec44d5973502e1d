"""One fault at a time, at a sidecar before a real app, with real users coming all the while and a live replay on top.

A `Scene` holds all that; tests that leave it in order share it. A `Fault` is one row of the matrix: what users got from
the moment it struck until all was well again, when the last synthetic request reached the app, by the app's own log,
and what became of the replay. The rows are shown at the end of the tests (`tests/conftest.py`), and written into a
document that the environment variable REAMP_FAULTS names.
"""

import contextlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Self

import httpx

from loadtag import keys
from replayer.books.report import Report
from tests.support.crowd import Crowd, Visit
from tests.support.lines import whole_lines
from tests.support.processes import Process, eventually, free_port, python, reamp
from tests.support.recording import record
from tests.support.recording import write as write_recording
from tests.support.relay import Relay
from tests.support.stack import Stack

USERS = 50
"""Real requests a second."""

RECORDED = 1000
"""Those in the recording asked for items from here on, those of the present for others: so the app's log tells what
was sent by a replay, whether or not it bore a tag when it arrived."""

WATCHED = 2.5
"""Seconds of real traffic for which a fault lasts, unless a test has it otherwise."""

SECOND = 1_000_000_000


class Row(NamedTuple):
    """One line of the matrix."""

    fault: str
    users: str
    synthetic: str
    replay: str


class Arrival(NamedTuple):
    """A request of a replay, as the app saw it."""

    at: int
    """Unix nanoseconds."""
    tagged: bool


class Scene:
    """Everything runs on loopback and in `folder`. Use it as a context manager."""

    def __init__(
        self,
        folder: Path,
        options: Mapping[str, str] | None = None,
        *,
        plan: Sequence[str] = (),
        sidecar_env: Mapping[str, str] | None = None,
        replay_env: Mapping[str, str] | None = None,
    ) -> None:
        """`options`: more of the sidecar's. `plan`: more arguments for every replay."""
        folder.mkdir(exist_ok=True)
        private, _ = keys.generate(folder, "load")
        self._app_port = free_port()
        app = f"http://127.0.0.1:{self._app_port}"
        self.stack = Stack(folder, app, folder / "shop.log", keys.load_private(private))
        self.stack.app_log.touch()
        self._options = {"max-extra": "100%", "workers": "2", **(options or {})}
        self._plan, self._sidecar_env, self._replay_env = tuple(plan), sidecar_env, replay_env
        self._opened = contextlib.ExitStack()
        self.users = Crowd(self.stack.url, USERS, again=True)
        self.replay: Process | None = None
        self._replays = 0

    def __enter__(self) -> Self:
        with self._opened:
            self.app = self.start_app()
            self.sidecar = self.start_sidecar()
            write_recording(self.recording, (record(at / 100, f"/item/{RECORDED + at}") for at in range(200)))
            self.relay = self._opened.enter_context(Relay(self.stack.control_port))
            self._opened.enter_context(self.users)
            self._opened = self._opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def folder(self) -> Path:
        return self.stack.folder

    @property
    def recording(self) -> Path:
        return self.folder / "recorded"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    # --- its processes

    def start_app(self) -> Process:
        arguments = ("-m", "uvicorn", "tests.support.shop:app", "--port", str(self._app_port), "--log-level", "warning")
        env = {"SHOP_LOG": str(self.stack.app_log)}
        app = self._opened.enter_context(Process(python(*arguments), self.folder / "shop.out", env))
        return app.ready(self._app_port)

    def start_sidecar(self) -> Process:
        arguments = reamp("sidecar", *self.stack.options(**self._options))
        process = Process(arguments, self.folder / "sidecar.out", dict(self._sidecar_env or {}))
        return self._opened.enter_context(process).ready(self.stack.control_port).ready(self.stack.listen)

    def load(self, *more: str, runs: Path | None = None, key: str = "load.key") -> Process:
        """Have a replay double the users' traffic: the one that runs already, or, if it is to be another, a new one."""
        if self.replay is None or not self.replay.running() or more or runs:
            self.end_replay()
            self._replays += 1
            command = [
                *("replay", str(self.recording), "--to", self.stack.url),
                *("--sidecar", f"http://127.0.0.1:{self.relay.port}", "--key", str(self.folder / key)),
                *("--runs", str(runs or self.runs), "--signal-timeout", "1m", "--no-preflight", *self._plan, *more),
            ]
            if "--stage" not in more:
                command += ["--amplify", "2x"]
                command += ["--duration", "10m"] if "--duration" not in more else []
            log = self.folder / f"replay-{self._replays}.out"
            self.replay = self._opened.enter_context(Process(reamp(*command), log, dict(self._replay_env or {})))
        self.flows()
        return self.replay

    def end_replay(self) -> None:
        """Stop the replay, if one runs."""
        if self.replay is not None:
            self.replay.stop()
            self.replay = None

    def flows(self, since: int | None = None, seconds: float = 20) -> None:
        """Wait until synthetic requests reach the app again (by default: from now on)."""
        since = time.time_ns() if since is None else since

        def check() -> bool:
            if self.replay is not None:
                assert self.replay.running(), self.replay.output
            return len(self.arrivals(since)) > 10

        eventually(check, seconds, 0.05)

    def set_mood(self, **mood: float | str) -> None:
        """Tell the app how to serve."""
        httpx.post(f"{self.stack.app}/mood", json=mood, trust_env=False).raise_for_status()

    # --- what is seen

    def arrivals(self, since: int = 0, until: int | None = None) -> list[Arrival]:
        """What a replay sent and the app got, by the app's log."""
        found = []
        for line in whole_lines(self.stack.app_log):
            at, run, _, _, path = line.split(" ", 4)
            synthetic = path.startswith("/item/") and int(path[6:]) >= RECORDED
            if synthetic and since < int(at) and (until is None or int(at) <= until):
                found.append(Arrival(int(at), run != "-"))
        return found

    def report(self) -> Report:
        """The newest run's."""
        newest = max(self.runs.glob("*/report.json"), key=lambda path: path.stat().st_mtime_ns)
        return Report.model_validate_json(newest.read_text())

    def journal(self) -> list[dict[str, object]]:
        """The newest run's."""
        newest = max(self.runs.glob("*/journal.jsonl"), key=lambda path: path.stat().st_mtime_ns)
        return [json.loads(line) for line in whole_lines(newest)]

    def watch(self, seconds: float = WATCHED) -> None:
        """Let so much real traffic come. Users come by a clock of their own, whatever happens to the rest."""
        until = self.users.sent + seconds * USERS
        eventually(lambda: self.users.sent >= until, seconds + 20)

    def assert_ceiling(self, slack: int = 10) -> None:
        """At every moment the app had seen no more of a replay than of users: `slack` of them overtook each other.

        Nor does a user count for less whose request reached the sidecar and then nobody, as with an app that is gone.
        """
        lost = len(self.users.failed) + sum(visit.again for visit in self.users.visits)
        real = synthetic = 0
        for line in whole_lines(self.stack.app_log):
            path = line.split(" ", 4)[4]
            if path.startswith("/item/"):
                synthetic += int(path[6:]) >= RECORDED
                real += int(path[6:]) < RECORDED
                assert synthetic <= real + lost + slack


class Fault:
    """One row in the making: make it at the moment at which the fault strikes."""

    def __init__(self, scene: Scene, name: str, at: float | None = None) -> None:
        """`at`: unix time, if it is not now."""
        self.scene, self.name = scene, name
        self.began = time.time_ns() if at is None else int(at * 1e9)
        self.healed: int | None = None
        self.ended: int | None = None

    def heal(self) -> int:
        """Take note that the fault is about to end, and of when that is."""
        self.healed = time.time_ns()
        return self.healed

    def over(self, seconds: float = 0.5) -> None:
        """Watch users for a moment longer, until who came by then has an answer: nobody else counts."""
        users = self.scene.users
        self.scene.watch(seconds)
        came, ended = users.sent, time.time_ns()
        self.ended, self.healed = ended, self.healed or ended
        eventually(lambda: sum(visit.began <= ended for visit in users.visits) >= came, 25, 0.05)

    def settle(self) -> None:
        """Wait until synthetic requests flow again: what comes now is no part of the row."""
        self.scene.flows()

    # --- what came of it

    @property
    def visits(self) -> list[Visit]:
        """Those of users who came from the fault's beginning on."""
        ended = self.ended or time.time_ns()
        return [visit for visit in self.scene.users.visits if self.began <= visit.began <= ended]

    @property
    def served(self) -> float:
        """The share of users that got what they came for."""
        return sum(visit.served for visit in self.visits) / len(self.visits)

    @property
    def arrivals(self) -> list[Arrival]:
        """What a replay sent and the app got while the fault lasted."""
        return self.scene.arrivals(self.began, self.healed)

    @property
    def zero(self) -> float:
        """Seconds from the fault until synthetic traffic was zero, and stayed so for as long as the fault lasted."""
        return (max((arrival.at for arrival in self.arrivals), default=self.began) - self.began) / SECOND

    @property
    def longest_gap(self) -> float:
        """The longest time without a synthetic request while the fault lasted, in seconds."""
        times = [self.began, *(arrival.at for arrival in self.arrivals), self.healed or time.time_ns()]
        return max(after - before for before, after in pairwise(times)) / SECOND

    @property
    def resumed(self) -> float:
        """Seconds from the fault's end until the next synthetic request."""
        assert self.healed is not None
        return (min(arrival.at for arrival in self.scene.arrivals(self.healed)) - self.healed) / SECOND

    @property
    def burst(self) -> int:
        """Synthetic requests in the first second of them after the fault's end."""
        assert self.healed is not None
        times = [arrival.at for arrival in self.scene.arrivals(self.healed)]
        return sum(at <= times[0] + SECOND for at in times)

    def rate(self, begin: float, end: float) -> float:
        """Synthetic requests a second between two times, in seconds since the fault."""
        since = self.began + int(begin * 1e9)
        return len(self.scene.arrivals(since, self.began + int(end * 1e9))) / (end - begin)

    def stops(self, within: float) -> str:
        """Demand that synthetic traffic became zero and stayed so; tell when, in words."""
        assert self.zero <= within, f"{self.name}: synthetic requests reached the app for {self.zero:.3f} s"
        silent = ((self.healed or time.time_ns()) - self.began) / SECOND - self.zero
        assert silent > min(1.0, within), f"{self.name}: watched for too short a time to call it zero"
        return f"zero within {self.zero:.2f} s" if self.arrivals else "zero at once"

    def goes_on(self, gap: float) -> str:
        """Demand that synthetic traffic went on, with no longer gap than this."""
        assert self.longest_gap <= gap, f"{self.name}: no synthetic request for {self.longest_gap:.3f} s"
        return "goes on, by design"

    def row(self, synthetic: str, replay: str, *, served: float = 1.0, while_: str = "") -> Row:
        """Put the row together, and demand that at least such a share of users was served."""
        visits = self.visits
        failed = [visit for visit in visits if not visit.served]
        assert self.served >= served, f"{self.name}: {len(failed)} of {len(visits)} users failed: {failed[:5]}"
        share = "100%" if not failed else f"{math.floor(1000 * self.served) / 10}%"
        users = f"{share} of {len(visits)}"
        if again := sum(visit.again for visit in visits):
            users += f", {again} of them at the second try"
        if (slowest := max(visit.ended - visit.began for visit in visits) / SECOND) > 1:
            users += f", the slowest after {slowest:.1f} s"
        return Row(self.name, users + (f"; {while_}" if while_ else ""), synthetic, replay)


Table = Callable[[Row], None]
"""Takes in a finished row."""


def table(rows: Sequence[Row]) -> str:
    """Draw the matrix in Markdown."""
    head = ["fault", "real users served", "synthetic traffic at the app", "the replay"]
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


BEGIN, END = "<!-- the fault matrix: begin -->", "<!-- the fault matrix: end -->"


def write(rows: Sequence[Row], document: Path) -> None:
    """Put the matrix into a document, between its marks."""
    before, begins, rest = document.read_text().partition(BEGIN)
    _, ends, after = rest.partition(END)
    if not begins or not ends:
        raise ValueError(f"{document} has no place for the matrix: {BEGIN} and {END}")
    document.write_text(f"{before}{BEGIN}\n\n{table(rows)}\n\n{END}{after}")
