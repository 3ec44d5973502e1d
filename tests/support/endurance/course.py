"""Runs a course: an app that is killed again and again, a sidecar before it, clients that never stop asking."""

import struct
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from rules.wire import State
from tests.support.endurance.client import Found, Settings
from tests.support.lanes import Lane, flags
from tests.support.processes import Process, answers, eventually, free_port, python, reamp

CLIENTS = 2

STAGES = ((1, 0.05), (8, 0.25), (32, 0.4), (64, 0.3))
"""(connections of each client, share of the requests)"""


@dataclass
class Result:
    """What came of a course."""

    requests: int
    restarts: int
    seconds: float
    ended: Counter[str] = field(default_factory=Counter)
    unserved: list[tuple[float, float]] = field(default_factory=list)
    away: list[tuple[float, float]] = field(default_factory=list)
    """When the app was killed and when it was there again: monotonic time."""
    wrong: list[str] = field(default_factory=list)
    executed_twice: list[int] = field(default_factory=list)
    answered_unexecuted: list[int] = field(default_factory=list)
    malformed: list[str] = field(default_factory=list)
    """What the app got that is no HTTP."""
    state: State | None = None

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    def faults(self) -> list[str]:
        """Say everything that must not have been."""
        found = [*self.wrong, *self.malformed]
        found += [f"{self.ended[how]} {how}" for how in ("wrong", "lost") if self.ended[how]]
        if sum(self.ended.values()) != self.requests:
            found.append(f"{sum(self.ended.values())} came to an end of {self.requests}")
        unserved = self.ended["refused"] + self.ended["cut"]
        if len(self.unserved) != unserved:
            found.append(f"{unserved} refused or cut, and {len(self.unserved)} times of them")
        odd = [
            f"asked at {asked} and refused or cut at {ended}, though the app was there"
            for asked, ended in self.unserved
            if not any(asked <= back and killed <= ended for killed, back in self.away)
        ]
        found += odd[:10]
        found += [f"executed twice: {number}" for number in self.executed_twice[:10]]
        found += [f"answered, but not executed: {number}" for number in self.answered_unexecuted[:10]]
        if self.state is None:
            found.append("the sidecar could not be asked")
        elif not self.state.accounting.reconciles() or self.state.accounting.pending:
            found.append(f"the accounts do not reconcile: {self.state.accounting}")
        elif not self.ended["answered"] <= self.state.accounting.seen <= self.requests:
            found.append(f"{self.state.accounting.seen} seen of {self.requests}")
        return found


class App:
    """The app as a process, which can be killed and started anew on the same port."""

    def __init__(self, folder: Path) -> None:
        self.port, self.journal = free_port(), folder / "journal"
        self._folder = folder
        self.away: list[tuple[float, float]] = []
        """When it was killed and when it was there again."""
        self._process = self._start()

    def _start(self) -> Process:
        command = python("-m", "tests.support.endurance.app", str(self.port), str(self.journal))
        return Process(command, self._folder / "app.out").ready(self.port)

    def restart(self) -> None:
        """Kill it, and start it again."""
        killed = time.monotonic()
        self.stop()
        self._process = self._start()
        self.away.append((killed, time.monotonic()))

    def stop(self) -> None:
        self._process.kill()
        self._process.__exit__(None, None, None)


def run(
    folder: Path, requests: int, workers: int = 1, lane: Lane = "fast", restarts: int = 5, limit: float = 1200
) -> Result:
    """Send so many requests through a sidecar of so many workers, and kill the app so many times meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    app, port, control = App(folder), free_port(), free_port()
    command = reamp(
        "sidecar", "--upstream", f"http://127.0.0.1:{app.port}", "--listen", f"127.0.0.1:{port}",
        "--control", f"127.0.0.1:{control}", "--captures", str(folder / "recordings"),
        "--state", str(folder / "state"), "--workers", str(workers), *flags(lane),
    )  # fmt: skip
    try:
        with Process(command, folder / "sidecar.out") as sidecar:
            sidecar.ready(control)
            eventually(answers(port))
            result = _ask(folder, port, requests, app, restarts, limit)
            result.state = _settled(control)
    finally:
        app.stop()
    _look_at_journal(result, folder, app.journal)
    return result


def _ask(folder: Path, port: int, requests: int, app: App, restarts: int, limit: float) -> Result:
    share = requests // CLIENTS
    begun = time.monotonic()
    clients: list[Process] = []
    try:
        for number in range(CLIENTS):
            stages = [(connections, round(share * part)) for connections, part in STAGES]
            stages[-1] = (stages[-1][0], share - sum(count for _, count in stages[:-1]))
            first = 1 + number * share
            told = Settings(port=port, first=first, stages=stages, seed=number, folder=folder)
            (folder / f"progress-{first}").write_bytes(bytes(8))
            command = python("-m", "tests.support.endurance.client", told.model_dump_json())
            clients.append(Process(command, folder / f"client-{number}.out"))
        left = restarts
        while any(client.running() for client in clients):
            done = sum(struct.unpack("=Q", path.read_bytes())[0] for path in folder.glob("progress-*"))
            if left and done > share * CLIENTS * (restarts - left + 1) / (restarts + 1):
                app.restart()
                left -= 1
            if time.monotonic() - begun > limit:
                raise TimeoutError(f"{done} of {requests} after {limit} s")
            time.sleep(0.02)
        result = Result(share * CLIENTS, restarts - left, time.monotonic() - begun, away=app.away)
        for number, client in enumerate(clients):
            assert client.wait() == 0, client.output
            found = Found.model_validate_json((folder / f"found-{1 + number * share}.json").read_bytes())
            result.ended += found.ended
            result.wrong += found.wrong
            result.unserved += found.unserved
        return result
    finally:
        for client in clients:
            client.__exit__(None, None, None)


def _settled(control: int) -> State:
    """Ask the sidecar for its accounts, once everything is written."""
    with httpx.Client(base_url=f"http://127.0.0.1:{control}", trust_env=False) as client:

        def ask() -> State:
            return State.model_validate_json(client.get("/v1/state").content)

        eventually(lambda: ask().accounting.pending == 0, 30, 0.1)
        return ask()


def _look_at_journal(result: Result, folder: Path, journal: Path) -> None:
    executed: Counter[bytes] = Counter()
    if journal.exists():
        with journal.open("rb") as lines:
            for line in lines:
                if line.startswith(b"malformed"):
                    result.malformed.append(line.decode())
                else:
                    executed[line.rstrip(b"\n")] += 1
    result.executed_twice = [int(number) for number, times in executed.items() if times > 1]
    for path in folder.glob("executed-*"):
        numbers: array[int] = array("Q")
        numbers.frombytes(path.read_bytes())
        result.answered_unexecuted += [number for number in numbers if b"%d" % number not in executed]
