"""gRPC: calls bear the tag of the request being served, and servers tell the app what they serve.

``instrument()`` hooks into what makes channels and servers, so it has to stand before these are made. By hand:

    channel = grpc.intercept_channel(grpc.insecure_channel(target), client_interceptor(target))
    server = grpc.server(pool, interceptors=[server_interceptor()])

    channel = grpc.aio.insecure_channel(target, interceptors=aio_client_interceptors(target))
    server = grpc.aio.server(interceptors=[aio_server_interceptor()])

Unary and streaming in both directions. The metadata of a call are those of OpenTelemetry's propagators: ``baggage``.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from loadtag.context import current, serve
from loadtag.faults import tell
from loadtag.integrations.hooking import Hook, always, follow, guarded, tagging
from loadtag.integrations.stepping import AsyncSteps, Steps
from loadtag.propagation import DefaultSetter, extract, injected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from loadtag.context import Dark, Served

_TEXT = DefaultSetter(names=str, values=str)  # values are bytes only under names that end in -bin


def instrument() -> None:
    """Put hooks on all channels and servers that are made in this process from now on."""
    for hook in _HOOKS:
        hook.put_on()


def uninstrument() -> None:
    """Take the hooks off again. Channels and servers that were made meanwhile keep theirs."""
    for hook in _HOOKS:
        hook.take_off()


def client_interceptor(target: str | None = None) -> grpc.UnaryUnaryClientInterceptor:
    """Return an interceptor of all four kinds, for ``grpc.intercept_channel``.

    `target` is what the channel was made for, if the tag is kept inside: calls don't tell where they go.
    """
    return _Client(host(target))


def server_interceptor() -> grpc.ServerInterceptor:
    """Return an interceptor for ``grpc.server(pool, interceptors=[...])``: the first of them."""
    return _Server()


def aio_client_interceptors(target: str | None = None) -> list[grpc.aio.ClientInterceptor]:
    """Return one interceptor of each kind, for ``grpc.aio.insecure_channel(target, interceptors=...)``."""
    name = host(target)
    return [_AioUnaryUnary(name), _AioUnaryStream(name), _AioStreamUnary(name), _AioStreamStream(name)]


def aio_server_interceptor() -> grpc.aio.ServerInterceptor:
    """Return an interceptor for ``grpc.aio.server(interceptors=[...])``: the first of them."""
    return _AioServer()


def host(target: str | None) -> str | None:
    """Return the host of a channel's target (``dns:///name:443``, ``ipv4:10.0.0.1:443``), with its port.

    For sockets of this machine ``localhost``. See gRPC's "Name Resolution" (doc/naming.md).
    """
    if target is None:
        return None
    scheme, _, rest = target.partition(":")
    if scheme in {"unix", "unix-abstract", "vsock"}:
        return "localhost"
    if scheme in {"ipv4", "ipv6"}:
        return rest.lstrip("/").split(",")[0]
    return (rest if scheme == "dns" else target).rpartition("/")[2]


class _CallDetails(grpc.ClientCallDetails):
    """The details of a call with other metadata. gRPC asks for these attributes, and offers no class that has them."""

    def __init__(self, details: Any, metadata: tuple[Any, ...]) -> None:
        self.method = details.method
        self.timeout = details.timeout
        self.metadata = metadata
        self.credentials = getattr(details, "credentials", None)
        self.wait_for_ready = getattr(details, "wait_for_ready", None)
        self.compression = getattr(details, "compression", None)


def _tagged(details: Any, to: str | None) -> Any:
    if current() is None:
        return details
    return guarded(functools.partial(_changed, to=to), details)


def _changed(details: Any, to: str | None) -> Any:
    metadata = tuple(injected(details.metadata, _TEXT, to=to))
    if hasattr(details, "_replace"):
        return details._replace(metadata=metadata)
    return _CallDetails(details, metadata)


class _Client(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    def __init__(self, to: str | None) -> None:
        self._to = to

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(_tagged(client_call_details, self._to), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(_tagged(client_call_details, self._to), request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(_tagged(client_call_details, self._to), request_iterator)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(_tagged(client_call_details, self._to), request_iterator)


class _Aio:
    def __init__(self, to: str | None) -> None:
        self._to = to

    def _tagged(self, details: Any) -> Any:
        if current() is None:
            return details
        return guarded(self._changed, details)

    def _changed(self, details: Any) -> Any:
        pairs = injected(details.metadata, _TEXT, to=self._to)
        return details._replace(metadata=grpc.aio.Metadata(*pairs))


# gRPC asks each only for calls of the first of these kinds that it is of, so there is one for each.


class _AioUnaryUnary(_Aio, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(self._tagged(client_call_details), request)


class _AioUnaryStream(_Aio, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(self._tagged(client_call_details), request)


class _AioStreamUnary(_Aio, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(self._tagged(client_call_details), request_iterator)


class _AioStreamStream(_Aio, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(self._tagged(client_call_details), request_iterator)


# gRPC runs each call in a context of its own, interceptors and handler alike (before it did so, in threads that know of
# nothing): a real call's handler is run as it is.


class _Server(grpc.ServerInterceptor):
    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        served = extract(handler_call_details.invocation_metadata)
        if served is None and not tagging():
            return continuation(handler_call_details)
        follow()
        with serve(served):
            handler = continuation(handler_call_details)
        return guarded(functools.partial(_serving, served=served), handler)


class _AioServer(grpc.aio.ServerInterceptor):
    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        served = extract(handler_call_details.invocation_metadata)
        if served is None and not tagging():
            return await continuation(handler_call_details)
        follow()
        with serve(served):
            handler = await continuation(handler_call_details)
        return guarded(functools.partial(_serving, served=served), handler)


def _serving(handler: Any, served: Served | Dark | None) -> Any:
    """Return a handler that serves while the app's runs."""
    if handler is None:
        return None
    kind = f"{'stream' if handler.request_streaming else 'unary'}_{'stream' if handler.response_streaming else 'unary'}"
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    behaviour = _behaviour(getattr(handler, kind), served, streaming=bool(handler.response_streaming))
    return make(behaviour, handler.request_deserializer, handler.response_serializer)


def _behaviour(original: Callable[..., Any], served: Served | Dark | None, *, streaming: bool) -> Callable[..., Any]:
    """Return a function of the same sort: gRPC looks at it to learn how it has to be run."""
    if _is(inspect.isasyncgenfunction, original):

        async def generate(*args: Any) -> AsyncIterator[Any]:
            steps = AsyncSteps(original(*args), served)
            try:
                async for item in steps:
                    yield item
            finally:
                await steps.aclose()

        return functools.wraps(original)(generate)
    if _is(inspect.iscoroutinefunction, original):

        async def await_(*args: Any) -> Any:
            with serve(served):
                return await original(*args)

        return functools.wraps(original)(await_)

    def call(*args: Any) -> Any:
        with serve(served):
            answer = original(*args)
        return Steps(answer, served) if streaming else answer

    return functools.wraps(original)(call)


def _is(sort: Callable[[Any], bool], function: Any) -> bool:
    """Tell whether a function, a ``functools.partial`` of one, or an object that is called like one is of a sort."""
    return sort(function) or sort(getattr(type(function), "__call__", None))  # noqa: B004 - not whether, but which


def _channel(original: Callable[..., Any]) -> Callable[..., Any]:
    def make(*args: Any, **kwargs: Any) -> Any:
        channel = original(*args, **kwargs)
        return grpc.intercept_channel(channel, client_interceptor(kwargs["target"] if "target" in kwargs else args[0]))

    return make


def _aio_channel(original: Callable[..., Any], targets: int = 0, place: int = 3) -> Callable[..., Any]:
    """Around what takes a target and, at some place, interceptors."""

    def make(*args: Any, **kwargs: Any) -> Any:
        target = args[targets] if len(args) > targets else kwargs.get("target")
        # Last, so that what other interceptors add to the baggage is there when the tag joins it.
        args, kwargs = _changed_at(place, args, kwargs, lambda given: [*given, *aio_client_interceptors(target)])
        return original(*args, **kwargs)

    return make


def _serving_by(interceptor: Callable[[], Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def around(original: Callable[..., Any]) -> Callable[..., Any]:
        def make(*args: Any, **kwargs: Any) -> Any:
            # First, so that the others know what is being served.
            args, kwargs = _changed_at(2, args, kwargs, lambda given: [interceptor(), *given])
            return original(*args, **kwargs)

        return make

    return around


def _changed_at(
    place: int, args: tuple[Any, ...], kwargs: dict[str, Any], change: Callable[[Any], list[Any]]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments with other interceptors, which are given at some place or by name.

    Places are known and not asked for: who stands before gRPC's function may take any arguments.
    """
    by_place = len(args) > place
    given = args[place] if by_place else kwargs.get("interceptors")
    try:
        changed = change(given or ())
    except Exception as error:  # noqa: BLE001 - whatever is wrong with them, gRPC tells the app
        tell(f"no load tags by gRPC: {type(error).__name__}")
        return args, kwargs
    if by_place:
        return (*args[:place], changed, *args[place + 1 :]), kwargs
    return args, {**kwargs, "interceptors": changed}


# What both functions make, and others that stand before them (OpenTelemetry's) can't get below of. Where a gRPC to come
# has it no more, the functions have to do.
_CHANNEL = getattr(getattr(grpc.aio, "_channel", None), "Channel", None)

_HOOKS = (
    Hook(grpc, "insecure_channel", _channel, always),
    Hook(grpc, "secure_channel", _channel, always),
    Hook(grpc, "server", _serving_by(server_interceptor), always),
    *(
        [Hook(_CHANNEL, "__init__", functools.partial(_aio_channel, targets=1, place=5), always)]
        if _CHANNEL is not None
        else [
            Hook(grpc.aio, "insecure_channel", _aio_channel, always),
            Hook(grpc.aio, "secure_channel", functools.partial(_aio_channel, place=4), always),
        ]
    ),
    Hook(grpc.aio, "server", _serving_by(aio_server_interceptor), always),
)
