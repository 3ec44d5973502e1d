"""What holds for all tests of hooks."""

import os
import shutil
from collections.abc import Iterator

import pytest

from loadtag.concurrency import leave_executors_alone
from tests.support.processes import Process, free_port


@pytest.fixture(autouse=True)
def directly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls go to servers of the tests, whatever proxy the machine is told to use."""
    for name in [*os.environ]:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis, in which queues are kept."""
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server here")
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with Process(command, tmp_path_factory.mktemp("redis") / "log") as process:
        process.ready(port)
        yield f"redis://127.0.0.1:{port}"


@pytest.fixture(autouse=True)
def executors() -> Iterator[None]:
    """Each hook has to see to executors by itself."""
    leave_executors_alone()
    yield
    leave_executors_alone()
