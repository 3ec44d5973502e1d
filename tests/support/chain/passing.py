"""What a way of passing the mark on has to offer to the services, and which of them this process was told to use."""

import importlib
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

import aiohttp
import grpc.aio
import httpx
import requests

from tests.support.chain.setting import Setting


class Passing(Protocol):
    """A module with these functions."""

    def told(self) -> str | None:
        """Which run is being served, as the app itself can ask; None if it is none, or nobody can tell."""

    def asgi(self, app: Any) -> Any:
        """Wrap an ASGI app."""

    def wsgi(self, app: Any) -> Any:
        """Wrap a WSGI app."""

    def aiohttp_middlewares(self) -> Sequence[Any]:
        """What an aiohttp app is made with."""

    def grpc_server_interceptors(self) -> Sequence[Any]:
        """What a gRPC server is made with."""

    def httpx_client(self) -> httpx.AsyncClient:
        """For outgoing calls."""

    def requests_session(self) -> requests.Session:
        """For outgoing calls."""

    def aiohttp_session(self) -> aiohttp.ClientSession:
        """For outgoing calls. To be made in a running loop."""

    def grpc_channel(self, target: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
        """For outgoing calls, by TLS if there are credentials. To be made in a running loop."""

    def inject(self, carrier: dict[str, str]) -> None:
        """Put what is being served into a message's headers."""

    def serve(self, carrier: dict[str, str]) -> AbstractContextManager[object]:
        """Serve what a message's headers tell of."""


def chosen(setting: Setting) -> Passing:
    """Give the way that this process was told to use. Without the library there is nothing of it in the process."""
    found = cast("Passing", importlib.import_module(f"tests.support.chain.with_{setting.mode}"))
    assert setting.mode != "traces" or "loadtag" not in sys.modules
    return found
