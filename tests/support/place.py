"""A recording of four routes, the app of `tests.support.mixed` to play it to, and a key."""

from collections.abc import Iterator
from pathlib import Path

from captures.records import Record
from loadtag import keys
from tests.support.processes import Process, answers, eventually, free_port, python, reamp, run
from tests.support.recording import record, write

SECONDS, RATE = 5, 200


def mixed() -> Iterator[Record]:
    """Give records that a slower and healthier app answered: /slow is recorded at 4 ms, and nothing failed."""
    for n in range(SECONDS * RATE):
        route = ("quick", "slow", "failing", "item")[n % 4]
        yield record(n / RATE, f"/{route}/{n}", duration_ns=4_000_000 + n % 7 * 100_000, ttfb_ns=3_000_000)


PATIENT = {"REAMP_REPLAY_MAX_LAG": "1m", "REAMP_REPLAY_LAG_BOUND": "1m", "REAMP_REPLAY_LATE_BOUND": "100%"}
"""For runs of which it is not asked whether a busy machine keeps their schedule."""


class Place:
    """An app, a recording and a key."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        keys.generate(folder, "load")
        write(folder / "recordings", mixed())

    def app(self, **env: str) -> Process:
        """Serve the app until the context ends."""
        command = ["-m", "uvicorn", "tests.support.mixed:app", "--port", str(self.port), "--log-level", "warning"]
        process = Process(python(*command), self.folder / "app.out", env)
        eventually(answers(self.port))
        return process

    def arguments(self, runs: str, *more: str) -> list[str]:
        to = ["--to", f"http://127.0.0.1:{self.port}", "--idle-target", "--key", str(self.folder / "load.key")]
        return ["replay", str(self.folder / "recordings"), *to, "--runs", str(self.folder / runs), *more]

    def replay(self, runs: str, *more: str) -> Path:
        """Replay; give the run's folder."""
        done = run(*self.arguments(runs, *more), env=PATIENT)
        assert done.returncode == 0, done.stdout + done.stderr
        (folder,) = (self.folder / runs).iterdir()
        return folder

    def start(self, runs: str, *more: str) -> Process:
        return Process(reamp(*self.arguments(runs, *more)), self.folder / "replay.out")
