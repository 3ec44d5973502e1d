"""Plugins: a function of the user's own that changes requests, or leaves them out. Public, for whoever writes one.

    # shop_plugin.py, and then: reamp replay ... --plugin shop_plugin:newest
    from replayer.plugins import PluginRequest

    def newest(request: PluginRequest) -> PluginRequest | None:
        if request.path.startswith("/admin"):
            return None
        return request.with_header("X-Api-Version", "2")

The function is called once for each record that is read, in the recording's order, and in the event loop that keeps the
schedule: it should take microseconds, and wait for nothing. Records are read ahead of need, some more than once (a dry
run, a loop), and amplified copies share what it gave for their record; so it should depend on its argument alone.

Whatever it gives is held to the rules for a recorded request. It can't move a request to another target, set free a
write that no ``--allow`` names, put a second field or request into the first, or take off or forge the load tag, which
is put in afterwards. What it raises is counted and told, and the run goes on without that request.
"""

import importlib
import inspect
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from rules.exits import UserError

Refusal = Literal["plugin", "plugin-error"]
"""Why a record is not sent: the plugin gave None, or it failed or gave what can't be sent."""

MOST_TOLD = 20
"""Different failures that are told in words; all are counted."""

_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")

_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Half characters that stand for no byte, as those from `surrogateescape` do."""


@dataclass(frozen=True, slots=True)
class PluginRequest:
    """A request as it would be sent, but for what the sender writes itself: framing, the load tag, renewed keys."""

    method: str
    path: str
    """With its query, as on the wire: ``/item/7?full=1``. What is not UTF-8 in it is kept by `surrogateescape`."""
    authority: str
    """What goes into `Host`. The connection goes where the plan sends this host: to its target, or by ``--resolve``."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """(name, value) in their order; repeated names stay repeated."""
    body: bytes = b""

    def header(self, name: str) -> bytes | None:
        """Give the value of the first field of this name, in large or small letters; None if there is none."""
        wanted = _bytes(name).lower()
        return next((value for field, value in self.headers if field.lower() == wanted), None)

    def with_header(self, name: str, value: str | bytes) -> "PluginRequest":
        """Give a copy with this field, in the place of all of its name."""
        raw = _bytes(name)
        return self.changed(headers=(*self._without(raw), (raw, _bytes(value))))

    def without_header(self, name: str) -> "PluginRequest":
        """Give a copy without any field of this name."""
        return self.changed(headers=tuple(self._without(_bytes(name))))

    def changed(
        self,
        *,
        method: str | None = None,
        path: str | None = None,
        authority: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] | None = None,
        body: bytes | None = None,
    ) -> "PluginRequest":
        """Give a copy with what is given, and the rest as it is."""
        return PluginRequest(  # dataclasses.replace takes four times as long
            self.method if method is None else method,
            self.path if path is None else path,
            self.authority if authority is None else authority,
            self.headers if headers is None else headers,
            self.body if body is None else body,
        )

    def _without(self, name: bytes) -> list[tuple[bytes, bytes]]:
        length, unwanted = len(name), name.lower()
        return [field for field in self.headers if len(field[0]) != length or field[0].lower() != unwanted]


Plugin = Callable[[PluginRequest], PluginRequest | None]
"""Gives the request to send: the one it got, a changed one, or None for none."""


class Hook:
    """Calls a plugin, and counts what it refuses and where it fails. `name` is for people."""

    def __init__(self, plugin: Plugin, name: str = "the plugin") -> None:
        self.name = name
        self.failures: Counter[str] = Counter()
        """How often it failed, by what happened, in words."""
        self._plugin = plugin
        self._told = 0

    def __call__(self, request: PluginRequest) -> PluginRequest | Refusal:
        """Give what becomes of a request. Raises nothing that the plugin raises, but for KeyboardInterrupt."""
        try:
            given = self._plugin(request)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it ends no run
            return self.failed(f"{described(error)}{place(error)}")
        if given is request:
            return request
        if given is None:
            return "plugin"
        wrong = _wrong(given)
        return given if wrong is None else self.failed(wrong)

    def failed(self, what: str) -> Refusal:
        """Count a failure."""
        self.failures[what if what in self.failures or len(self.failures) < MOST_TOLD else "others"] += 1
        return "plugin-error"

    @contextmanager
    def timed(self, clock: Callable[[], float]) -> Iterator[list[float]]:
        """Give a list to which each call in the context adds the time it took, by `clock`."""
        plugin, took = self._plugin, list[float]()

        def call(request: PluginRequest) -> PluginRequest | None:
            began = clock()
            try:
                return plugin(request)
            finally:
                took.append(clock() - began)

        self._plugin = call
        try:
            yield took
        finally:
            self._plugin = plugin

    def forget(self) -> None:
        """Begin to count anew."""
        self.failures.clear()
        self._told = 0

    def news(self) -> list[str]:
        """Give the kinds of failure that were met since the last time."""
        if len(self.failures) == self._told:
            return []
        found = list(self.failures)[self._told :]
        self._told = len(self.failures)
        return found


def plugin_name(text: str) -> str:
    """Check what names a plugin. Raises ValueError."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r}: write a module and a function, like shop_plugin:newest")
    return text


def load(text: str) -> Plugin:
    """Import a plugin that changes requests, from the current folder too. Raises UserError."""
    return find(text, "--plugin", "the request")


def find(text: str, told: str, argument: str) -> Callable[[Any], Any]:
    """Import a function of the user's own that takes one argument, from the current folder too. Raises UserError.

    `told` and `argument` are for people: what named the function, and what it is to take.
    """
    module_name, _, path = plugin_name(text).partition(":")
    here = os.getcwd()  # noqa: PTH109 - an entry of Python's path is text
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the user's code
        looked = " (in the current folder and in Python's path)" if isinstance(error, ModuleNotFoundError) else ""
        raise UserError(
            f"{told} {text}: {module_name} can't be imported: {described(error)}{place(error)}{looked}"
        ) from None
    for part in path.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise UserError(f"{told} {text}: {module_name} has no {path}")
    if not callable(found):
        raise UserError(f"{told} {text}: it is no function but {_kind(found)}")
    if inspect.iscoroutinefunction(found) or inspect.isgeneratorfunction(found):
        raise UserError(f"{told} {text}: it has to be a plain function (def, no async and no yield)")
    try:
        inspect.signature(found).bind(None)
    except TypeError:
        raise UserError(f"{told} {text}: it has to take one argument, {argument}") from None
    except ValueError:
        pass  # of some that are written in C nothing is known
    return found  # type: ignore[no-any-return]


def _wrong(given: object) -> str | None:
    """Say what is wrong with what a plugin gave, as far as types go; None: nothing."""
    if not isinstance(given, PluginRequest):
        return f"it gave {_kind(given)}, which is neither a PluginRequest nor None"
    for name in ("method", "path", "authority"):
        value = getattr(given, name)
        if not isinstance(value, str):
            return f"it gave a request whose {name} is {_kind(value)} and not str"
        if not value.isascii() and _LONE.search(value):
            return f"it gave a request whose {name} holds what is no text"
    body: object = given.body
    if not isinstance(body, bytes):
        return f"it gave a request whose body is {_kind(body)} and not bytes"
    headers: Any = given.headers
    # Three loops that run in C are quicker than one that does not.
    if not (
        isinstance(headers, tuple)
        and {*map(type, headers)} <= {tuple}
        and {*map(len, headers)} <= {2}
        and {*map(type, chain.from_iterable(headers))} <= {bytes}
    ):
        return "it gave a request whose headers are not a tuple of pairs of bytes"
    return None


def described(error: BaseException) -> str:
    """Name an error, on one line."""
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def place(error: BaseException) -> str:
    """Say where it was raised: the innermost place outside this module and the import machinery."""
    found, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file not in (__file__, importlib.__file__) and not file.startswith("<"):
            found = f" ({os.path.basename(file)}:{trace.tb_lineno})"  # noqa: PTH119 - it may be no path
        trace = trace.tb_next
    return found


def _kind(value: object) -> str:
    return type(value).__name__


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
