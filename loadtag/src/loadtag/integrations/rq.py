"""RQ: jobs bear the tag of the request that made them, in their ``meta``, and so do the jobs that they make.

Call ``instrument()`` where jobs are made. Workers need no code: ``rq worker --job-class
loadtag.integrations.rq.LoadTagJob``, or ``instrument()`` in whatever starts them.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from rq.job import Job

from loadtag.context import serve
from loadtag.integrations.hooking import Hook, always, follow, guarded, tagging
from loadtag.propagation import extract, inject

if TYPE_CHECKING:
    from collections.abc import Callable


def instrument() -> None:
    """Put hooks on all jobs of this process: those that are made, and those that are run."""
    for hook in _HOOKS:
        hook.put_on()


def uninstrument() -> None:
    """Take the hooks off again."""
    for hook in _HOOKS:
        hook.take_off()


_KEY = "loadtag"
"""What the tag is called in a job's ``meta``: a mapping, beside what the app keeps there."""


def _tagged(job: Job) -> Job:
    carrier: dict[str, str] = {}
    inject(carrier)
    job.meta = {**job.meta, _KEY: carrier}  # a new one: what the app gave may be given to other jobs as well
    return job


def _served(job: Any) -> serve:
    carrier = job.meta.get(_KEY) if isinstance(job.meta, dict) else None
    served = extract(carrier or {})
    if served is not None:
        follow()
    return serve(served)


def _create(original: Callable[..., Any]) -> Callable[..., Any]:
    def create(*args: Any, **kwargs: Any) -> Any:
        return guarded(_tagged, original(*args, **kwargs))

    return create


def _perform(original: Callable[..., Any]) -> Callable[..., Any]:
    def perform(self: Job, *args: Any, **kwargs: Any) -> Any:
        with _served(self):
            return original(self, *args, **kwargs)

    return perform


def _callback(original: Callable[..., Any]) -> Callable[..., Any]:
    """Around the getter of a callback: workers call what it returns after the job, or in place of it."""

    def get(self: Job) -> Any:
        callback = original(self)
        if callback is None or inspect.iscoroutinefunction(callback):  # RQ refuses coroutines, and by this very test
            return callback

        @functools.wraps(callback)
        def served(*args: Any, **kwargs: Any) -> Any:
            with _served(self):
                return callback(*args, **kwargs)

        return served

    return get


class LoadTagJob(Job):
    """A job class for queues and workers: ``Queue(job_class=LoadTagJob)``, ``rq worker --job-class ...``."""

    @classmethod
    def create(cls, *args: Any, **kwargs: Any) -> Job:
        """Make a job that bears the tag of what is being served (takes what RQ's own takes)."""
        job = super().create(*args, **kwargs)
        return guarded(_tagged, job) if tagging() else job

    def perform(self) -> Any:
        """Run the job."""
        with _served(self):
            return super().perform()


_CALLBACKS = [name for name in ("success_callback", "failure_callback", "stopped_callback") if hasattr(Job, name)]
"""The last of them came with RQ 1.14."""

for _name in _CALLBACKS:
    setattr(LoadTagJob, _name, property(_callback(vars(Job)[_name].fget)))


_HOOKS = (
    Hook(Job, "create", _create, tagging),
    Hook(Job, "perform", _perform, always),
    *(Hook(Job, name, _callback, always) for name in _CALLBACKS),
)
