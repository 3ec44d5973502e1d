"""The services, their queue and the sidecar, with all that it takes to see a replay through them."""

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from loadtag import keys
from replayer.books.report import Report
from rules.exits import Exit
from tests.support.authority import Authority
from tests.support.chain.reckoning import STATIONS, Reckoning, reckon, sightings
from tests.support.chain.setting import Setting
from tests.support.chain.users import Users
from tests.support.processes import Process, eventually, free_port, python, reamp
from tests.support.stack import Stack

RECORDED = "recorded"
"""How the names of recorded orders begin, and so those of a replay."""

CALLS = 4
"""That an order leads to: to the warehouse, the courier, the warehouse again, the ledger."""

_LASTS = ("callback", "ledger")
"""Where an order arrives last."""


@dataclass
class Site:
    """All of it runs."""

    setting: Setting
    stack: Stack
    processes: dict[str, Process]
    _forgotten: int = 0

    @property
    def diaries(self) -> Path:
        return Path(self.setting.diaries)

    def count(self, station: str) -> int:
        """How many orders have arrived there."""
        name = {"queue": "courier", "callback": "warehouse"}.get(station, station)
        diary = self.diaries / name
        return diary.read_text().count(f"{station} ") if diary.exists() else 0

    def calls(self) -> Counter[str]:
        """Calls that the egress has carried, by whose they were. Nothing where there is none."""
        egress = self.stack.state().egress
        kinds = egress.calls if egress else {}
        return Counter({f"{kind} ({by})": n for kind, counts in kinds.items() for by, n in counts.items()})

    def settle(self, seconds: float = 60) -> None:
        """Wait until every order that came has gone through, however many wait in the queue.

        What does not arrive is for the reckoning to tell: it ends when nothing has moved for so many seconds.
        """
        moved, before = time.monotonic(), -1
        while not self._settled():
            if (now := sum(map(self.count, STATIONS))) != before:
                moved, before = time.monotonic(), now
            if time.monotonic() - moved > seconds:
                return
            time.sleep(0.1)

    def _settled(self) -> bool:
        orders = self.count(STATIONS[0])
        if {self.count(station) for station in _LASTS} != {orders}:
            return False
        # The egress counts a call when it has been answered.
        return self.stack.state().egress is None or self.calls().total() >= CALLS * (orders + self._forgotten)

    def record(self, orders: int) -> Path:
        """Have some orders recorded. Return a copy of the recording; the diaries begin anew."""
        with Users(self.stack.url, RECORDED) as users:
            eventually(lambda: len(users.answered) + len(users.failed) >= orders, 60)
        assert not users.failed, users.failed[:3]
        self.settle()
        eventually(lambda: self.stack.state().accounting.pending == 0)
        self._forgotten = self.count(STATIONS[0])
        for diary in self.diaries.iterdir():
            diary.write_text("")
        return Path(shutil.copytree(self.stack.captures, self.stack.folder / "recorded"))

    def replay(self, recording: Path, requests: int, users: Users, at_least: int, seconds: float) -> Report:
        """Replay so many requests of it onto the live site, until `at_least` users were served, too."""
        runs = self.stack.folder / "runs"
        command = reamp(
            *("replay", str(recording), "--to", self.stack.url, "--sidecar", self.stack.control, "--no-preflight"),
            *("--amplify", "1.25x", "--duration", "2h", "--max-requests", str(requests)),
            *("--key", str(self.stack.folder / "load.key"), "--runs", str(runs)),
        )
        with Process(command, self.stack.folder / "replay.out") as process:
            self.processes["replay"] = process
            code = process.wait(seconds)
            # On a busy machine it may have sent late, and says so. What was sent is what counts here.
            assert code in (Exit.DONE, Exit.INVALID), process.output
        eventually(lambda: len(users.answered) + len(users.failed) >= at_least, seconds, 0.1)
        (report,) = runs.glob("*/report.json")
        return Report.model_validate_json(report.read_text())

    def reckon(self, users: Users, report: Report) -> Reckoning:
        """Hold the diaries against what was sent."""
        return reckon(
            sightings(self.diaries),
            users.answered,
            RECORDED,
            report.accounts.answered,
            report.run,
            library=self.setting.mode != "traces",
        )


@contextlib.contextmanager
def site(folder: Path, mode: str) -> Iterator[Site]:
    """Start all of it. Skips the test where there is no Redis."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("there is no Redis here (Debian: apt-get install redis-server)")
    folder.mkdir(parents=True, exist_ok=True)
    diaries = folder / "diaries"
    diaries.mkdir()
    front, warehouse, courier, ledger, queue = (free_port() for _ in range(5))
    setting = Setting(mode, str(diaries), front, warehouse, courier, ledger, queue)
    private, _ = keys.generate(folder, "load")
    stack = Stack(folder, setting.url(setting.front), Path(), keys.load_private(private))
    options, environment = dict[str, str](), setting.written()
    if mode != "library":
        egress = f"127.0.0.1:{free_port()}"
        certificate = Authority(folder).issue("ledger", "localhost")
        trusted = folder / "state" / "egress" / "mitmproxy-ca-cert.pem"
        setting = setting._replace(certificate=str(certificate), trusted=str(trusted))
        options = {
            "workers": "2",  # either may meet an order, and the egress has to know
            "egress": egress,
            "egress-intercept": f"localhost:{setting.ledger}",
            "egress-ca": str(folder / "ca.pem"),
        }
        environment = {**setting.written(), **dict.fromkeys(("HTTP_PROXY", "http_proxy"), f"http://{egress}")}
    commands = {
        "queue": [server, "--port", str(setting.queue), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        "ledger": python("-m", "tests.support.chain.ledger"),
        "courier": python("-m", "tests.support.chain.courier"),
        "warehouse": python("-m", "tests.support.chain.warehouse"),
        "front": python(
            *("-m", "uvicorn", "tests.support.chain.front:app", "--port", str(setting.front), "--log-level", "warning")
        ),
    }
    with contextlib.ExitStack() as running:
        # First, for with the egress comes the authority that a service has to trust.
        started = {"sidecar": running.enter_context(stack.sidecar(**options))}
        for name, command in commands.items():
            started[name] = running.enter_context(Process(command, folder / f"{name}.out", environment))
        for name in commands:
            started[name].ready(getattr(setting, name))
        yield Site(setting, stack, started)
