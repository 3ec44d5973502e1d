"""Tasks of Celery and jobs of RQ, for real workers: each writes down what it is told it serves.

``TASKS`` names a folder: ``seen`` in it is what was written down. ``BROKER`` is Celery's; without it there is RQ only.
"""

import os
import threading
import time
from pathlib import Path
from typing import Any

from celery import Celery, chain

from loadtag.integrations import instrument
from tests.support.bearing import told
from tests.support.lines import whole_lines

FOLDER = Path(os.environ.get("TASKS", "."))
SEEN = "seen"


def note(*words: object) -> None:
    with (FOLDER / SEEN).open("a") as file:
        file.write(" ".join(str(word) for word in [*words, told()]) + "\n")


def seen(folder: Path) -> dict[str, str]:
    """Who wrote what down, once each."""
    lines = whole_lines(folder / SEEN) if (folder / SEEN).exists() else []
    found = dict(line.rsplit(" ", 1) for line in lines)
    assert len(found) == len(lines), f"twice: {lines}"
    return found


def celery(broker: str) -> Celery:
    app = Celery("tests.support.tasks", broker=broker)
    app.conf.update(worker_hijack_root_logger=False, worker_prefetch_multiplier=1, task_default_queue="tasks")
    return app


app = celery(os.environ.get("BROKER", "memory://"))
both = threading.Barrier(2)


@app.task  # type: ignore[untyped-decorator]
def add(name: str) -> None:
    time.sleep(0.01)  # others are run meanwhile
    note(name)


@app.task  # type: ignore[untyped-decorator]
def meet(name: str) -> None:
    """Serve something together with another one, for certain."""
    both.wait(20)
    note(name)
    both.wait(20)


@app.task  # type: ignore[untyped-decorator]
def order(name: str) -> None:
    """A task that sends tasks: one by one, in a chain, and one within itself."""
    add.delay(f"{name}/sent")
    chain(add.si(f"{name}/first"), add.si(f"{name}/second")).delay()
    add.apply(args=[f"{name}/within"])
    note(name)


@app.task(bind=True, max_retries=2)  # type: ignore[untyped-decorator]
def retried(self: Any, name: str) -> None:
    note(f"{name}/{self.request.retries}")
    if self.request.retries < 2:
        raise self.retry(countdown=0)


@app.task  # type: ignore[untyped-decorator]
def fails(name: str) -> None:
    note(name)
    raise RuntimeError("the app's own error")


def job(name: str) -> None:
    note(name)


def failing_job(name: str) -> None:
    note(name)
    raise RuntimeError("the app's own error")


async def coroutine_job(name: str) -> None:
    note(name)


def failed(job: Any, _connection: Any, *_error: object) -> None:
    note(f"{job.args[0]}/failed")


def succeeded(job: Any, _connection: Any, _result: object) -> None:
    note(f"{job.args[0]}/succeeded")


if "BROKER" in os.environ:
    instrument("celery")
    instrument("celery")
