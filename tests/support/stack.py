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
from tests.support.lines import whole_lines
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

    def options(self, **changes: str | None) -> list[str]:
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
        return [part for name, value in values.items() if value is not None for part in (f"--{name}", value)]

    def sidecar(self, **changes: str) -> Process:
        """Start a sidecar as a user would. Use it as a context manager."""
        return self._started(reamp("sidecar", *self.options(**changes)))

    def tap(self, share: str = "100%", **changes: str) -> Process:
        """Start a tap in its place: who carries the traffic, and copies it to `url`, is up to the test."""
        options = self.options(**{"upstream": None, "tap-share": share, **changes})
        return self._started(reamp("sidecar", "--tap", *options))

    def _started(self, command: list[str]) -> Process:
        process = Process(command, self.folder / "sidecar.out")
        process.ready(self.control_port)
        eventually(answers(self.listen))
        return process

    def token(self, run: str = "run-1", seconds: float = 600, audience: str = AUDIENCE) -> str:
        return self.signer.sign(run, int(time.time() + seconds), audience)

    def tagged(self, run: str = "run-1", token: str | None = None) -> list[tuple[str, str]]:
        return [("baggage", f"loadtest={token or self.token(run)}"), ("x-load-test", run)]

    def state(self) -> State:
        # No TLS is spoken, but to be ready to verify some would take 25 ms each time.
        answer = httpx.get(f"{self.control}/v1/state", trust_env=False, verify=False)
        return State.model_validate_json(answer.content)

    def records(self) -> list[Record]:
        return list(Capture(self.captures).records())

    def seen_by_app(self) -> list[tuple[int, str, str, str, str]]:
        """The app's own log: (unix ns, run or -, request id or -, method, path)."""
        lines = [line.split(" ", 4) for line in whole_lines(self.app_log)]
        return [(int(at), run, request, method, path) for at, run, request, method, path in lines]


@contextlib.contextmanager
def stack(folder: Path) -> Iterator[Stack]:
    """A shop and keys; the sidecar is started by the test, as it needs it."""
    private, _ = keys.generate(folder, "load")
    with shop(folder) as (app, log):
        yield Stack(folder, app, log, keys.load_private(private))
