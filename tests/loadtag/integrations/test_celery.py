"""Tasks by Celery and a real worker in a process of its own, with threads."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from celery.signals import before_task_publish

from loadtag import serve
from loadtag.integrations import instrument, uninstrument
from tests.support.bearing import served
from tests.support.processes import Process, eventually, python
from tests.support.tasks import celery, seen

NAME = "tests.support.tasks"


@pytest.fixture(scope="module")
def site(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Celery, Path]]:
    folder = tmp_path_factory.mktemp("celery")
    broker = f"{redis_url}/1"
    command = python("-m", "celery", "-A", NAME, "worker", "--pool", "threads", "-c", "4", "--loglevel", "WARNING")
    quick = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    with Process([*command, *quick], folder / "log", {"TASKS": str(folder), "BROKER": broker}) as worker:
        with celery(broker) as app:
            yield app, folder
        worker.kill()  # it would take seconds to end, and nobody needs what it leaves


@pytest.fixture(autouse=True)
def hooked() -> Iterator[None]:
    instrument("celery")
    yield
    uninstrument("celery")


def send(app: Celery, task: str, name: str, run: str | None) -> None:
    with serve(served(run) if run else None):
        app.send_task(f"{NAME}.{task}", [name])


def test_a_worker_serves_what_the_sender_of_each_task_served(site: tuple[Celery, Path]) -> None:
    app, folder = site
    runs = {f"add-{number}": f"run-{number}" if number % 3 else None for number in range(30)}
    for name, run in runs.items():
        send(app, "add", name, run)
    eventually(lambda: {*runs} <= {*seen(folder)}, 40)
    assert {name: run for name, run in seen(folder).items() if name in runs} == {n: str(run) for n, run in runs.items()}


def test_two_tasks_at_the_same_time_do_not_mix(site: tuple[Celery, Path]) -> None:
    app, folder = site
    send(app, "meet", "meet-a", "run-1")
    send(app, "meet", "meet-b", None)
    eventually(lambda: {"meet-a", "meet-b"} <= {*seen(folder)}, 40)
    assert (seen(folder)["meet-a"], seen(folder)["meet-b"]) == ("run-1", "None")


@pytest.mark.parametrize("run", ["run-1", None])
def test_what_a_task_sends_is_part_of_what_it_is_part_of(run: str | None, site: tuple[Celery, Path]) -> None:
    app, folder = site
    send(app, "order", f"order-{run}", run)
    send(app, "retried", f"retried-{run}", run)
    names = {f"order-{run}{part}" for part in ("", "/sent", "/first", "/second", "/within")}
    names |= {f"retried-{run}/{count}" for count in range(3)}
    eventually(lambda: names <= {*seen(folder)}, 40)
    assert {seen(folder)[name] for name in names} == {str(run)}


def test_a_task_that_fails_leaves_no_tag_behind(site: tuple[Celery, Path]) -> None:
    app, folder = site
    for number in range(8):  # more than there are threads
        send(app, "fails", f"fails-{number}", "run-1")
        send(app, "add", f"after-{number}", None)
    names = {f"{kind}-{number}" for kind in ("fails", "after") for number in range(8)}
    eventually(lambda: names <= {*seen(folder)}, 40)
    assert {seen(folder)[name] for name in names if name.startswith("fails")} == {"run-1"}
    assert {seen(folder)[name] for name in names if name.startswith("after")} == {"None"}
    assert "can't be" not in (folder / "log").read_text()


def test_what_the_app_puts_in_headers_arrives() -> None:
    app, sent = celery("memory://"), []

    def note(headers: dict[str, object], **_: object) -> None:
        sent.append({name: headers.get(name) for name in ("own", "baggage", "x-load-test")})

    given = {"own": "1", "baggage": "user=alice"}
    before_task_publish.connect(note)
    try:
        with serve(served("run-1")):
            app.send_task("t", headers=given)
        uninstrument("celery")
        with serve(served("run-1")):
            app.send_task("t", headers=given)
    finally:
        before_task_publish.disconnect(note)
    tagged = f"user=alice,loadtest={served('run-1').token}"
    assert sent == [
        {"own": "1", "baggage": tagged, "x-load-test": "run-1"},
        {"own": "1", "baggage": "user=alice", "x-load-test": None},
    ]
    assert given == {"own": "1", "baggage": "user=alice"}
