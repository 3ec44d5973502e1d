"""The add-ons' hooks, resolved once for each change of the add-ons.

For every event, mitmproxy looks the hook up on each add-on anew, inside a coroutine and a context manager. That is
right for a dozen add-ons that a person watches; for a sidecar it was more than a third of the time of a request.
Tested with mitmproxy 12.2.
"""

import inspect
import types
from collections.abc import Callable, Coroutine, Iterator
from operator import length_hint
from typing import Any, NamedTuple

from mitmproxy import addonmanager, connection, exceptions, tcp
from mitmproxy.addonmanager import AddonManager
from mitmproxy.flow import Flow
from mitmproxy.hooks import ConfigureHook, Hook, UpdateHook, all_hooks
from mitmproxy.master import Master

from addons.internals.trial import at_once, expect, passes

Function = Callable[..., Any]


class _Plan(NamedTuple):
    """What to call for one hook, in order."""

    functions: tuple[Function, ...]
    after: tuple[int, ...]
    """For each function the position to go on from if it fails: a fault ends only its own element of the chain."""


class Hooks:
    """The add-ons' hooks of one master, resolved once for each change of the add-ons.

    What changes while an event is on its way through the chain counts from the next event on.
    """

    __slots__ = ("_manager", "_plans", "_updates")

    def __init__(self, manager: AddonManager) -> None:
        self._manager = manager
        self._plans: dict[str, _Plan] = {}
        self._updates = False

    def forget(self) -> None:
        """Resolve everything anew: the add-ons have changed."""
        self._plans.clear()

    def run(self, name: str, data: Any) -> Coroutine[Any, Any, None] | None:
        """Call every add-on's hook `name` with `data` (and, for a flow, the `update` hook afterwards), in place.

        Gives None if all is done. Else a coroutine that has to be awaited: it finishes the rest (the first hook that
        waits, then all that follow).
        """
        # The hottest function of the sidecar: nothing in here may cost anything as long as nothing waits or fails.
        try:
            functions, after = self._plans[name]
        except KeyError:
            functions, after = self._resolve(name)
        rest = iter(functions)
        while True:
            try:
                for function in rest:
                    result = function(data)
                    if result is not None and inspect.isawaitable(result):
                        return self._finish(_Plan(functions, after), rest, data, result)
            except exceptions.AddonHalt:
                pass
            except exceptions.OptionsError:
                raise
            except Exception as error:  # noqa: BLE001 - as mitmproxy does: an add-on's fault must not end the proxy
                rest = _past_failure(functions, after, rest, error)
                continue
            if self._updates and isinstance(data, Flow):
                return self.run("update", [data])
            return None

    async def trigger(self, event: Hook) -> None:
        """Call every add-on's hook for `event`, but not the `update` hook."""
        plan = self._plans.get(event.name) or self._resolve(event.name)
        await _walk(plan, iter(plan.functions), event.args(), None)

    async def _finish(self, plan: _Plan, rest: Iterator[Function], data: Any, waiting: Any) -> None:
        await _walk(plan, rest, [data], waiting)
        if self._updates and isinstance(data, Flow):
            await self.trigger(UpdateHook([data]))

    def _resolve(self, name: str) -> _Plan:
        plan = self._plans[name] = _plan(self._manager.chain, name)
        self._updates = bool(_plan(self._manager.chain, UpdateHook.name).functions)
        return plan


class PlainHooks(Hooks):
    """The same the plain way, for a mitmproxy that is not known here."""

    __slots__ = ()

    def run(self, name: str, data: Any) -> Coroutine[Any, Any, None] | None:
        """Give a coroutine that leaves it all to mitmproxy."""
        handling: Coroutine[Any, Any, None] = self._manager.handle_lifecycle(all_hooks[name](data))
        return handling


class _Watched(AddonManager):
    """An add-on manager that tells its hooks when the add-ons change, and uses them itself."""

    reamp_hooks: Hooks

    def register(self, addon: Any) -> Any:
        try:
            return super().register(addon)  # type: ignore[no-untyped-call]
        finally:
            self.reamp_hooks.forget()

    def add(self, *addons: Any) -> None:
        try:
            super().add(*addons)  # type: ignore[no-untyped-call]
        finally:
            self.reamp_hooks.forget()

    def remove(self, addon: Any) -> None:
        try:
            super().remove(addon)  # type: ignore[no-untyped-call]
        finally:
            self.reamp_hooks.forget()

    def clear(self) -> None:
        try:
            super().clear()  # type: ignore[no-untyped-call]
        finally:
            self.reamp_hooks.forget()

    def trigger(self, event: Hook) -> None:
        try:
            super().trigger(event)
        finally:
            if isinstance(event, ConfigureHook):
                self.reamp_hooks.forget()  # scripts may have been put into another order, which nobody registers

    async def trigger_event(self, event: Hook) -> None:
        await self.reamp_hooks.trigger(event)

    async def handle_lifecycle(self, event: Hook) -> None:
        (data,) = event.args()
        waiting = self.reamp_hooks.run(event.name, data)
        if waiting is not None:
            await waiting


def hooks_of(master: Master) -> Hooks:
    """Give the hooks of a master: one object for each, however often it is asked for."""
    manager = master.addons
    found: Hooks | None = getattr(manager, "reamp_hooks", None)
    if found is None:
        quick = passes("dispatching hooks from a table", _self_test)
        found = (Hooks if quick else PlainHooks)(manager)
        setattr(manager, "reamp_hooks", found)  # noqa: B010 - mitmproxy's class knows nothing of it
        if quick:
            manager.__class__ = _watched(type(manager))
    return found


def _watched(manager: type[AddonManager]) -> type[AddonManager]:
    return _Watched if manager is AddonManager else type(manager.__name__, (_Watched, manager), {})


def _plan(chain: list[Any], name: str) -> _Plan:
    functions: list[Function] = []
    after: list[int] = []
    for element in chain:
        try:
            for addon in addonmanager.traverse([element]):
                found = getattr(addon, name, None)
                if found and not isinstance(found, types.ModuleType):  # a script may import a module of that name
                    functions.append(found if callable(found) else _not_callable(addon, name))
        except Exception as error:  # noqa: BLE001 - an add-on's fault: to be told when the hook is called
            functions.append(_raising(error))
        after += [len(functions)] * (len(functions) - len(after))
    return _Plan(tuple(functions), tuple(after))


def _not_callable(addon: Any, name: str) -> Function:
    return _raising(exceptions.AddonManagerError(f"Addon handler {name} ({addon}) not callable"))


def _raising(error: Exception) -> Function:
    def fail(*_: Any) -> None:
        raise error

    return fail


async def _walk(plan: _Plan, rest: Iterator[Function], arguments: list[Any], waiting: Any) -> None:
    """Wait for what the last function called has given, then call the rest."""
    while True:
        try:
            if waiting is not None:
                await waiting
            for function in rest:
                result = function(*arguments)
                if result is not None and inspect.isawaitable(result):
                    await result
        except exceptions.AddonHalt:
            pass
        except exceptions.OptionsError:
            raise
        except Exception as error:  # noqa: BLE001 - see Hooks.run
            waiting = None
            rest = _past_failure(plan.functions, plan.after, rest, error)
            continue
        return


def _past_failure(
    functions: tuple[Function, ...], after: tuple[int, ...], rest: Iterator[Function], error: Exception
) -> Iterator[Function]:
    """Log an add-on's fault as mitmproxy does, and give what is to be called all the same."""
    trace = error.__traceback__
    if trace is not None:
        trace = trace.tb_next or trace  # without our own frame
    addonmanager.logger.error("Addon error: %s", error, exc_info=(type(error), error, trace))
    failed = len(functions) - length_hint(rest) - 1
    return iter(functions[after[failed] :])


class _Probe:
    """An add-on of the self-test, with another one inside."""

    def __init__(self, name: str, seen: list[str], *addons: Any, halts: bool = False) -> None:
        self.name, self.seen, self.addons, self.halts = name, seen, addons, halts

    def tcp_start(self, _flow: Flow) -> None:
        self.seen.append(f"{self.name} start")
        if self.halts:
            raise exceptions.AddonHalt

    def update(self, flows: list[Flow]) -> None:
        self.seen.append(f"{self.name} update {len(flows)}")


def _self_test() -> None:
    """Compare with mitmproxy's own way, on add-ons that nest and halt."""
    stub: Any = types.SimpleNamespace(options=types.SimpleNamespace(changed=types.SimpleNamespace(connect=id)))
    client = connection.Client(peername=("", 0), sockname=("", 0))
    flow = tcp.TCPFlow(client, connection.Server(address=None))
    event = all_hooks["tcp_start"](flow)
    seen: list[str] = []
    manager = AddonManager(stub)
    manager.chain += [_Probe("a", seen, _Probe("b", seen)), _Probe("c", seen, halts=True), _Probe("d", seen)]
    at_once(manager.handle_lifecycle(event))
    theirs = seen[:]
    seen.clear()
    expect(Hooks(manager).run("tcp_start", flow) is None, "a hook waits without need")
    expect(theirs and seen == theirs, f"called {seen} instead of {theirs}")
    watched = _Watched(stub)  # type: ignore[no-untyped-call] # mitmproxy's
    watched.reamp_hooks = Hooks(watched)
    watched.chain += manager.chain
    seen.clear()
    at_once(watched.handle_lifecycle(event))
    expect(seen == theirs, f"called {seen} instead of {theirs}")
