"""Jobs by RQ, a real Redis and real workers: one in a process of its own that forks, one in this process."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from rq import Callback, Queue, Retry, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from loadtag import current_run, serve
from loadtag.integrations import instrument, uninstrument
from loadtag.integrations.rq import LoadTagJob
from tests.support import tasks
from tests.support.bearing import served
from tests.support.processes import ROOT, Process, eventually
from tests.support.tasks import seen

NAME = "tests.support.tasks"


@pytest.fixture
def connection(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connection:
        connection.flushdb()
        yield connection


@pytest.fixture
def hooked() -> Iterator[None]:
    instrument("rq")
    instrument("rq")
    yield
    uninstrument("rq")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tasks, "FOLDER", tmp_path)
    return tmp_path


class Worker(SimpleWorker):
    """RQ's, without the thread that listens for commands: it would be waited for, a second each time."""

    def subscribe(self) -> None:
        """Listen to nobody."""

    def _install_signal_handlers(self) -> None:
        """Leave those of the tests."""


def work(queue: Queue) -> None:
    """Do all that is queued, here and now."""
    worker = Worker([queue], connection=queue.connection, serializer=queue.serializer)
    worker.work(burst=True, logging_level="ERROR")


@pytest.mark.usefixtures("hooked")
def test_a_worker_serves_what_the_maker_of_each_job_served(connection: redis.Redis, folder: Path) -> None:
    queue = Queue(connection=connection)
    shared = {"own": "1"}  # one mapping for all jobs of the app
    runs = {f"job-{number}": f"run-{number}" if number % 3 else None for number in range(9)}
    for name, run in runs.items():
        with serve(served(run) if run else None):
            queue.enqueue(tasks.job, name, meta=shared)
    jobs = queue.jobs
    work(queue)
    assert seen(folder) == {name: str(run) for name, run in runs.items()}
    assert shared == {"own": "1"}
    assert {job.meta["own"] for job in jobs} == {"1"}
    assert current_run() is None


@pytest.mark.usefixtures("hooked")
@pytest.mark.parametrize("run", ["run-1", None])
def test_all_that_becomes_of_a_job_is_part_of_it(run: str | None, connection: redis.Redis, folder: Path) -> None:
    queue = Queue(connection=connection)
    with serve(served(run) if run else None):
        first = queue.enqueue(tasks.job, "first", on_success=Callback(tasks.succeeded))
        queue.enqueue(tasks.coroutine_job, "second", depends_on=first)
        queue.enqueue(tasks.failing_job, "third", on_failure=Callback(tasks.failed))
        queue.enqueue_many([Queue.prepare_data(tasks.job, ("fourth",))])
    with serve(served("another")):
        work(queue)
    expected = ("first", "first/succeeded", "second", "third", "third/failed", "fourth")
    assert seen(folder) == dict.fromkeys(expected, str(run))


@pytest.mark.usefixtures("hooked")
def test_a_job_that_is_tried_again_is_the_same_job(connection: redis.Redis, folder: Path) -> None:
    queue = Queue(connection=connection)
    with serve(served("run-1")):
        queue.enqueue(tasks.failing_job, "again", retry=Retry(max=2))
    work(queue)
    assert (folder / tasks.SEEN).read_text() == "again run-1\n" * 3


@pytest.mark.usefixtures("hooked")
def test_a_queue_without_workers_and_one_of_json(connection: redis.Redis, folder: Path) -> None:
    with serve(served("run-1")):
        Queue(connection=connection, is_async=False).enqueue(tasks.job, "at-once")
        queue = Queue("json", connection=connection, serializer=JSONSerializer)
        queue.enqueue(tasks.job, "json")
    work(queue)
    assert seen(folder) == {"at-once": "run-1", "json": "run-1"}


def test_without_hooks_there_is_no_tag(connection: redis.Redis, folder: Path) -> None:
    queue = Queue(connection=connection)
    instrument("rq")
    with serve(served("run-1")):
        queue.enqueue(tasks.job, "tagged")
        uninstrument("rq")
        queue.enqueue(tasks.job, "untagged")
    assert [sorted(job.meta) for job in queue.jobs] == [["loadtag"], []]
    work(queue)
    assert seen(folder) == {"tagged": "None", "untagged": "None"}


@pytest.mark.usefixtures("hooked")
def test_a_broken_tag_is_no_tag(connection: redis.Redis, folder: Path) -> None:
    queue = Queue(connection=connection)
    broken = [None, "rubbish", {"baggage": "loadtest=rubbish"}, ["x"], 5]
    for number, carried in enumerate(broken):
        queue.enqueue(tasks.job, f"broken-{number}", meta={"loadtag": carried})
    work(queue)
    assert seen(folder) == {f"broken-{number}": "None" for number in range(len(broken))}


def test_a_worker_needs_no_code_but_a_job_class(redis_url: str, connection: redis.Redis, tmp_path: Path) -> None:
    queue = Queue(connection=connection, job_class=LoadTagJob)
    with serve(served("run-1")):
        job = queue.enqueue(f"{NAME}.job", "one", on_success=Callback(f"{NAME}.succeeded"))
    queue.enqueue(f"{NAME}.job", "two", on_success=Callback(f"{NAME}.succeeded"))
    assert isinstance(job, Job)
    program = str(Path(sys.executable).with_name("rq"))
    command = [program, "worker", "--url", redis_url, "--burst", "--job-class", "loadtag.integrations.rq.LoadTagJob"]
    with Process([*command, "--path", str(ROOT)], tmp_path / "log", {"TASKS": str(tmp_path)}) as worker:
        eventually(lambda: not worker.running(), 40)
        assert seen(tmp_path) == {"one": "run-1", "one/succeeded": "run-1", "two": "None", "two/succeeded": "None"}
