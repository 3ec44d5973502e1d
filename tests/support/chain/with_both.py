"""Services that use loadtag, and whose calls go by the egress as well, as where third parties have rules."""

import aiohttp
import httpx

from tests.support.chain.with_library import (
    aiohttp_middlewares,
    asgi,
    grpc_channel,
    grpc_server_interceptors,
    inject,
    requests_session,
    serve,
    told,
    wsgi,
)

__all__ = [
    "aiohttp_middlewares",
    "aiohttp_session",
    "asgi",
    "grpc_channel",
    "grpc_server_interceptors",
    "httpx_client",
    "inject",
    "requests_session",
    "serve",
    "told",
    "wsgi",
]


def httpx_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=30)  # which goes by HTTP_PROXY


def aiohttp_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(trust_env=True)
