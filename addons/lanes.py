"""Add-on: which way connections are carried.

Plain HTTP/1.1 goes through the fast lane, all the rest through mitmproxy's own stack: the full lane. A connection
begins in the fast one, which leaves it to the other when it is asked for something that it does not fully understand.
"""

import asyncio
import logging
import ssl

from mitmproxy import ctx, exceptions
from mitmproxy.addonmanager import Loader
from mitmproxy.connection import Client

from addons.fastlane.lane import Lane
from addons.internals.dispatch import hooks_of
from addons.internals.modes import SidecarInstance
from rules.units import Duration, UnitError

logger = logging.getLogger(__name__)

# Options of mitmproxy's own stack that the fast lane does not know: with one of them, nothing is carried by it.
_FOREIGN = ("stream_large_bodies", "body_size_limit", "store_streamed_bodies", "connect_addr")


class Lanes:
    """Gives each server its lane."""

    def __init__(self) -> None:
        self.tls: ssl.SSLContext | None = None
        """For servers that speak TLS: it ends before either lane, so that both see plain bytes."""
        self._timeouts = 600.0, 600.0
        self._lanes: list[Lane] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def load(self, loader: Loader) -> None:
        """Declare the options."""
        loader.add_option("reamp_fast_lane", bool, True, "Carry plain HTTP/1.1 past mitmproxy's own stack.")
        loader.add_option("reamp_client_timeout", str, "10m", "How long a client may be silent when it is its turn.")
        loader.add_option("reamp_upstream_timeout", str, "10m", "How long the app may be silent when it is its turn.")
        loader.add_option(
            "reamp_tls_certificate", str, "", "PEM file with the certificates of a server that speaks TLS."
        )
        loader.add_option("reamp_tls_key", str, "", "PEM file with its private key, if that is another one.")

    def configure(self, updated: set[str]) -> None:
        """Take the settings over."""
        if {"reamp_tls_certificate", "reamp_tls_key"} & updated:
            self.tls = _tls(ctx.options.reamp_tls_certificate, ctx.options.reamp_tls_key)
        self._timeouts = _timeout("reamp_client_timeout"), _timeout("reamp_upstream_timeout")
        for lane in self._lanes:
            self._set(lane)

    def lane_of(self, instance: SidecarInstance) -> Lane:
        """Make the lane for a server that is about to listen."""

        def take_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: Client | None) -> None:
            task = asyncio.get_running_loop().create_task(instance.handle_stream(reader, writer, client))
            self._tasks.add(task)
            task.add_done_callback(self._over)

        lane = Lane(hooks_of(ctx.master), instance.mode, take_over)
        self._set(lane)
        self._lanes.append(lane)
        lane.start()
        return lane

    @property
    def busy(self) -> int:
        """Connections in the fast lane with a request or an answer under way."""
        return sum(lane.busy for lane in self._lanes)

    @property
    def connections(self) -> int:
        """Connections in the fast lane, idle ones included."""
        return sum(len(lane.connections) for lane in self._lanes)

    def drain(self, hurried: bool = True) -> None:
        """End every connection of the fast lane with its next answer; `hurried`: those without a request at once."""
        for lane in self._lanes:
            lane.drain(hurried)

    def done(self) -> None:
        """End all connections."""
        for lane in self._lanes:
            lane.stop()

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A connection in the full lane has failed", exc_info=error)

    def _set(self, lane: Lane) -> None:
        options = ctx.options
        lane.enabled = bool(
            lane.mode.scheme == "http"  # TLS to the app is for the full lane
            and options.reamp_fast_lane
            and options.keep_host_header
            and not any(getattr(options, name) for name in _FOREIGN)
        )
        lane.client_timeout, lane.upstream_timeout = self._timeouts


def _timeout(name: str) -> float:
    try:
        seconds = Duration.parse(getattr(ctx.options, name))
    except UnitError as error:
        raise exceptions.OptionsError(f"{name}: {error}") from error
    if seconds <= 0:
        raise exceptions.OptionsError(f"{name}: has to be above zero")
    return float(seconds)


def _tls(certificate: str, key: str) -> ssl.SSLContext | None:
    if not certificate:
        if key:
            raise exceptions.OptionsError("reamp_tls_key: there is no reamp_tls_certificate to go with it")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        # Without the function, a key with a passphrase would have the process ask for it on its terminal.
        context.load_cert_chain(certificate, key or None, lambda: "")
    except OSError as error:  # which ssl.SSLError is too
        raise exceptions.OptionsError(f"reamp_tls_certificate: {certificate} can't be used: {error}") from error
    return context
