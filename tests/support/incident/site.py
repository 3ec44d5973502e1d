"""Shops that run, and an incident that a real sidecar has recorded."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from loadtag import keys
from rules.wire import State
from tests.support.incident import stock
from tests.support.incident.mix import Phase, arrivals
from tests.support.incident.setting import PRODUCTION, Fault, Setting
from tests.support.incident.users import Visit, send
from tests.support.processes import Process, answers, eventually, free_port, python, reamp

LOG_FORMAT = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
    '"$http_user_agent" $request_time $msec'
)
"""How the shop's access log is written."""


class Stocks:
    """Databases, made once for each number of products."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def copy(self, products: int, to: Path) -> Path:
        """Give a shop a database of its own."""
        made = self._folder / f"{products}.db"
        if not made.exists():
            stock.make(made, products)
        return Path(shutil.copyfile(made, to))


@dataclass
class Shop:
    """One that runs."""

    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "access.log"


@contextlib.contextmanager
def shop(
    folder: Path, stocks: Stocks, fault: Fault, *, fixed: bool = False, products: int = PRODUCTION
) -> Iterator[Shop]:
    """Run a shop in a folder of its own: production, or a clone of it."""
    folder.mkdir(parents=True)
    made = Shop(folder)
    setting = Setting(str(stocks.copy(products, folder / "shop.db")), str(made.log), fault, fixed)
    command = python("-m", "uvicorn", "tests.support.incident.app:app", "--port", str(made.port))
    # Idle connections are kept as long as nginx keeps them: nobody has one closed just when it is used again.
    command += ["--log-level", "warning", "--no-access-log", "--timeout-keep-alive", "75"]
    with Process(command, folder / "shop.out", setting.written()) as process:
        process.ready(made.port)
        yield made


@dataclass
class Recorded:
    """An incident, as it was recorded."""

    captures: Path
    log: Path
    visits: list[Visit]


def record(folder: Path, stocks: Stocks, fault: Fault, phases: Sequence[Phase], products: int = PRODUCTION) -> Recorded:
    """Have users go to a shop with the fault, through a sidecar."""
    keys.generate(folder, "load")
    listen, control, captures = free_port(), free_port(), folder / "recordings"
    with shop(folder / "production", stocks, fault, products=products) as production:
        options = {
            "upstream": production.url,
            "listen": f"127.0.0.1:{listen}",
            "control": f"127.0.0.1:{control}",
            "captures": str(captures),
            "state": str(folder / "state"),
            "public-key": str(folder / "load.pub"),
        }
        command = reamp("sidecar", *(part for name, value in options.items() for part in (f"--{name}", value)))
        with Process(command, folder / "sidecar.out") as sidecar:
            sidecar.ready(control)
            eventually(answers(listen))
            visits = send(f"http://127.0.0.1:{listen}", arrivals(list(phases)))
            eventually(lambda: _pending(control) == 0, 30)
    return Recorded(captures, production.log, visits)


def _pending(control: int) -> int:
    # No TLS is spoken, but to be ready to verify some would take 25 ms each time.
    answer = httpx.get(f"http://127.0.0.1:{control}/v1/state", trust_env=False, verify=False)
    return State.model_validate_json(answer.content).accounting.pending
