"""One thread for compression and files, apart from all others and never in the way of the end of the process."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any

Job = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Worker(Executor):
    """Runs what it is given, one after the other, in a daemon thread.

    The standard thread pool is joined when the interpreter exits, so one write that hangs on a dead disk would keep
    the sidecar from ever ending. This one is left behind.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit[**P, T](self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Put one call in the queue."""
        future: Future[T] = Future()
        self._jobs.put((future, function, args, kwargs))
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:
        """End the thread after what is in the queue. Never waits."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, function, args, kwargs = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the future
                future.set_exception(error)
            del job, future, function, args, kwargs  # a block must not live on until the next one comes
