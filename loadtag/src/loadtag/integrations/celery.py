"""Celery: tasks bear the tag of the request that sent them, and so do the tasks that they send.

Call ``instrument()`` in both, where tasks are sent and where workers run them: in the module of the Celery app, which
both import, one line is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from celery import signals

from loadtag.context import serve
from loadtag.faults import tell
from loadtag.integrations.hooking import follow
from loadtag.propagation import extract, inject

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_UID = "loadtag"

# By the request of the task. A worker has one for each task that it runs at the moment.
_serving: MutableMapping[Any, serve] = WeakKeyDictionary()


def instrument() -> None:
    """Put hooks on all apps of this process: what they send, and what they run."""
    signals.before_task_publish.connect(_publish, weak=False, dispatch_uid=_UID)
    signals.task_prerun.connect(_begin, weak=False, dispatch_uid=_UID)
    signals.task_postrun.connect(_end, weak=False, dispatch_uid=_UID)


def uninstrument() -> None:
    """Take the hooks off again."""
    signals.before_task_publish.disconnect(dispatch_uid=_UID)
    signals.task_prerun.disconnect(dispatch_uid=_UID)
    signals.task_postrun.disconnect(dispatch_uid=_UID)


def _publish(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        inject(headers)  # of this one message: Celery makes them anew for each


def _begin(task: Any = None, **_: Any) -> None:
    try:
        request = task.request
        if request.called_directly or request.is_eager:
            return  # runs within whoever called it: what they serve is served
        # With Celery's second protocol a message's headers are what its request consists of.
        served = extract(vars(request)) or extract(request.headers or ())
        if served is not None:
            follow()
        block = serve(served)
        block.__enter__()
        _serving[request] = block
    except Exception as error:  # noqa: BLE001 - Celery would catch it, and call it an error of the app
        tell(f"a task can't be looked at for a load tag: {type(error).__name__}")


def _end(task: Any = None, **_: Any) -> None:
    block = _serving.pop(task.request, None)
    if block is not None:
        block.__exit__()
