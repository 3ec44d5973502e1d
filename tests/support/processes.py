"""Start real processes on loopback and end them by their id."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from signal import Signals
from types import TracebackType
from typing import Self

import pytest

ROOT = Path(__file__).resolve().parents[2]


_given: set[int] = set()


def free_port() -> int:
    """A port that nobody uses at the moment, below those that the kernel gives to clients.

    It may take a while until it is bound. So each of the processes that share the tests has ports of its own to give,
    and gives none of them twice.
    """
    count, worker = os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"), os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    share = 20_000 // int(count)
    first = 10_000 + share * (int(worker.removeprefix("gw")) % int(count))
    while True:
        port = first + secrets.randbelow(share)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


def own_address() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback: nobody is elsewhere")
        return str(probe.getsockname()[0])


def eventually(condition: Callable[[], object], seconds: float = 15, every: float = 0.01) -> None:
    """Wait until `condition` holds; fail after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {condition}")
        time.sleep(every)


def answers(port: int) -> Callable[[], bool]:
    """Whether something listens on `port`."""

    def check() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    return check


def alive(pid: int) -> bool:
    """Whether a process runs. One that has ended may stay listed until whoever inherited it takes notice."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def gone(pids: Iterable[int]) -> bool:
    """Whether none of them runs any more."""
    return not any(map(alive, pids))


class Process:
    """One process, and all that it starts, with their output in a file. Ends with the ``with`` block at the latest.

    What a system does to a whole service (SIGKILL, SIGSTOP, SIGCONT) is done to all its processes; what asks for
    something is sent to the first one only.
    """

    def __init__(self, arguments: Sequence[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.log = log
        self._file = log.open("ab")
        self._popen = subprocess.Popen(
            arguments,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **(env or {})},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def ready(self, port: int) -> Self:
        """Wait until it listens on `port`."""
        check = answers(port)

        def listening() -> bool:
            assert self._popen.poll() is None, f"ended with {self._popen.returncode}:\n{self.output}"
            return check()

        try:
            eventually(listening, 30)
        except BaseException:
            self.kill()
            raise
        return self

    def signal(self, number: Signals) -> None:
        if number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT):
            self._to_all(number)
        else:
            self._popen.send_signal(number)

    def wait(self, seconds: float = 20) -> int:
        return self._popen.wait(seconds)

    def running(self) -> bool:
        return self._popen.poll() is None

    def stop(self) -> int:
        """Ask it to end; make it end if it does not."""
        if self._popen.poll() is None:
            self._to_all(signal.SIGCONT)
            self._popen.terminate()
            try:
                self._popen.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return self._popen.returncode

    def kill(self) -> None:
        self._to_all(signal.SIGKILL)
        self._popen.wait(10)

    def _to_all(self, number: Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # all are gone
            os.killpg(self._popen.pid, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self._to_all(signal.SIGKILL)  # what it has left behind
            self._file.close()


def python(*arguments: str) -> list[str]:
    """A command line for this interpreter."""
    return [sys.executable, *arguments]


def reamp(*arguments: str) -> list[str]:
    """A command line for `reamp`, as a user would type it."""
    return [str(Path(sys.executable).with_name("reamp")), *arguments]


def run(*arguments: str, seconds: float = 60, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `reamp` with `arguments` to its end."""
    return subprocess.run(
        reamp(*arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "200", **(env or {})},
    )


@contextlib.contextmanager
def shop(folder: Path) -> Iterator[tuple[str, Path]]:
    """The app of `tests.support.shop` behind uvicorn: its URL and its access log."""
    port, log = free_port(), folder / "shop.log"
    log.touch()
    command = python("-m", "uvicorn", "tests.support.shop:app", "--port", str(port), "--log-level", "warning")
    with Process(command, folder / "shop.out", {"SHOP_LOG": str(log)}) as process:
        process.ready(port)
        yield f"http://127.0.0.1:{port}", log
        process.kill()  # it has nothing to put in order, for which it would take a fifth of a second


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
