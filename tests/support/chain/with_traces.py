"""Services that know nothing of load tests: OpenTelemetry passes the trace on, as `traceparent` and nothing else.

Real spans of the SDK, so that each service's calls bear another span and the same trace. What instrumentations do for
each library is done here in a few lines, with `traceparent` alone: OpenTelemetry's own baggage would pass the tag on,
too. Outgoing calls go by ``HTTP_PROXY``.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import grpc.aio
import httpx
import requests
from aiohttp import web
from opentelemetry import context as contexts
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_tracer = TracerProvider().get_tracer("chain")
_propagator = TraceContextTextMapPropagator()


def told() -> str | None:
    return None


@contextmanager
def serve(carrier: dict[str, str]) -> Iterator[None]:
    before = contexts.attach(_propagator.extract(carrier, contexts.Context()))
    try:
        with _tracer.start_as_current_span("serve"):
            yield
    finally:
        contexts.detach(before)


def inject(carrier: Any) -> None:
    _propagator.inject(carrier)


def asgi(app: Any) -> Any:
    async def traced(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        with serve({name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}):
            await app(scope, receive, send)

    return traced


def wsgi(app: Any) -> Any:
    def traced(environ: Any, start_response: Any) -> Any:
        with serve({"traceparent": environ.get("HTTP_TRACEPARENT", "")}):
            return list(app(environ, start_response))

    return traced


def aiohttp_middlewares() -> Sequence[Any]:
    @web.middleware
    async def traced(request: web.Request, handler: Any) -> web.StreamResponse:
        with serve({name.lower(): value for name, value in request.headers.items()}):
            return await handler(request)  # type: ignore[no-any-return]

    return [traced]


def grpc_server_interceptors() -> Sequence[Any]:
    return []


def httpx_client() -> httpx.AsyncClient:
    async def trace(request: httpx.Request) -> None:
        inject(request.headers)

    return httpx.AsyncClient(event_hooks={"request": [trace]}, timeout=30)


class _Adapter(requests.adapters.HTTPAdapter):
    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        inject(request.headers)
        return super().send(request, *arguments, **options)


def requests_session() -> requests.Session:
    session = requests.Session()
    session.mount("http://", _Adapter())
    return session


def aiohttp_session() -> aiohttp.ClientSession:
    async def trace(_: aiohttp.ClientSession, __: SimpleNamespace, asked: aiohttp.TraceRequestStartParams) -> None:
        inject(asked.headers)

    tracing = aiohttp.TraceConfig()
    tracing.on_request_start.append(trace)
    return aiohttp.ClientSession(trace_configs=[tracing], trust_env=True)


class _Interceptor(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        carrier: dict[str, str] = {}
        inject(carrier)
        metadata = grpc.aio.Metadata(*(details.metadata or ()), *carrier.items())
        return await continuation(details._replace(metadata=metadata), request)


def grpc_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    if credentials:
        return grpc.aio.secure_channel(target, credentials, interceptors=[_Interceptor()])
    return grpc.aio.insecure_channel(target, interceptors=[_Interceptor()])
