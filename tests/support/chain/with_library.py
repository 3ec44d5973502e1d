"""Services that use loadtag as its README says: one line for all calls, one around each app, one for each message."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import aiohttp
import grpc.aio
import httpx
import requests

import loadtag
from loadtag.asgi import LoadTagMiddleware
from loadtag.integrations import instrument
from loadtag.integrations.aiohttp import server_middleware
from loadtag.propagation import extract
from loadtag.propagation import inject as put_on
from loadtag.wsgi import LoadTagMiddleware as WsgiMiddleware

instrument("aiohttp", "grpc", "httpx", "requests")


def told() -> str | None:
    return loadtag.current_run()


def asgi(app: Any) -> Any:
    return LoadTagMiddleware(app)


def wsgi(app: Any) -> Any:
    return WsgiMiddleware(app)


def aiohttp_middlewares() -> Sequence[Any]:
    return [server_middleware]


def grpc_server_interceptors() -> Sequence[Any]:
    return []  # instrumented, as the channels are


def httpx_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=30, trust_env=False)


def requests_session() -> requests.Session:
    return requests.Session()


def aiohttp_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession()


def grpc_channel(target: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
    if credentials:
        return grpc.aio.secure_channel(target, credentials)
    return grpc.aio.insecure_channel(target)


def inject(carrier: dict[str, str]) -> None:
    put_on(carrier)


def serve(carrier: dict[str, str]) -> AbstractContextManager[object]:
    return loadtag.serve(extract(carrier))
