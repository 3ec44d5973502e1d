"""A shop, a sidecar before it, and a pair of keys: what most end-to-end tests begin with."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from captures.reader import Capture
from captures.records import Record
from loadtag import Signer, keys
from rules.wire import State
from tests.support.processes import Process, answers, eventually, free_port, reamp, shop

AUDIENCE = "test-shop"


@dataclass
class Stack:
    """Everything runs on loopback, and in `folder`."""

    folder: Path
    app: str
    app_log: Path
    signer: Signer
    listen: int = field(default_factory=free_port)
    control_port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listen}"

    @property
    def control(self) -> str:
        return f"http://127.0.0.1:{self.control_port}"

    @property
    def captures(self) -> Path:
        return self.folder / "recordings"

    def options(self, **changes: str) -> list[str]:
        values = {
            "upstream": self.app,
            "listen": f"127.0.0.1:{self.listen}",
            "control": f"127.0.0.1:{self.control_port}",
            "captures": str(self.captures),
            "state": str(self.folder / "state"),
            "public-key": str(self.folder / "load.pub"),
            "audience": AUDIENCE,
            **changes,
        }
        return [part for name, value in values.items() for part in (f"--{name}", value)]

    def sidecar(self, **changes: str) -> Process:
        """Start a sidecar as a user would. Use it as a context manager."""
        process = Process(reamp("sidecar", *self.options(**changes)), self.folder / "sidecar.out")
        process.ready(self.control_port)
        eventually(answers(self.listen))
        return process

    def token(self, run: str = "run-1", seconds: float = 600, audience: str = AUDIENCE) -> str:
        return self.signer.sign(run, int(time.time() + seconds), audience)

    def tagged(self, run: str = "run-1", token: str | None = None) -> list[tuple[str, str]]:
        return [("baggage", f"loadtest={token or self.token(run)}"), ("x-load-test", run)]

    def state(self) -> State:
        return State.model_validate_json(httpx.get(f"{self.control}/v1/state", trust_env=False).content)

    def records(self) -> list[Record]:
        return list(Capture(self.captures).records())

    def seen_by_app(self) -> list[tuple[int, str, str, str, str]]:
        """The app's own log: (unix ns, run or -, request id or -, method, path)."""
        lines = [line.split(" ", 4) for line in self.app_log.read_text().splitlines()]
        return [(int(at), run, request, method, path) for at, run, request, method, path in lines]


@contextlib.contextmanager
def stack(folder: Path) -> Iterator[Stack]:
    """A shop and keys; the sidecar is started by the test, as it needs it."""
    private, _ = keys.generate(folder, "load")
    with shop(folder) as (app, log):
        yield Stack(folder, app, log, keys.load_private(private))
