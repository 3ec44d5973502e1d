"""Add-on: hands copies of real requests over to the aide, after they were answered.

It runs in users' requests, so it never waits and never raises: what it can't do at once is not done, and counted.
"""

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Callable, Sequence

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader

from addons.books import Shared
from addons.dark.accounts import (
    EXCLUDED,
    HANDED,
    SAMPLED_OUT,
    SEEN,
    SHED,
    STOPPED,
    TOO_LONG,
    UNANSWERED,
    Accounts,
)
from addons.dark.choosing import Chooser
from addons.dark.comparison import Aspect, Aspects, Checksum, checksum
from addons.dark.copying import MESSAGE, Copy, packed
from addons.glance import Fields, glance
from addons.learning import Learning
from addons.passage import KIND, REFUSED
from addons.streamed import Streamed
from rules.units import Share, Size, UnitError

logger = logging.getLogger(__name__)

COPIED = "reamp_dark"
"""In the metadata of a request that is to be copied."""

PAUSE_NS = 1_000_000
"""Nanoseconds for which a socket that was found full is taken to be full: then to shed costs nothing."""


class HandOver:
    """Decides when a request comes, and hands over when its answer has gone."""

    def __init__(
        self, shared: Shared, accounts: Accounts, row: int, outlet: int, learning: Learning | None = None
    ) -> None:
        """`outlet`: the descriptor of the socket to the aide. It stays open as long as this process lives.

        `learning`: where there is an egress, it has to know the copies' traces.
        """
        self._shared, self._accounts, self._learning = shared, accounts, learning
        self._cells = accounts.worker(row)
        self._send = socket.socket(fileno=outlet).send if outlet >= 0 else _nowhere
        self._chooser = Chooser(Share.parse("10%"))
        self._limit, self._name = 0, ""
        self._hashes = False
        self._full_until = 0
        self._soon: Callable[..., object] | None = None

    def load(self, loader: Loader) -> None:
        """Declare the options."""
        loader.add_option("reamp_dark_share", str, "10%", "Share of real requests that are copied.")
        loader.add_option("reamp_dark_allow", Sequence[str], [], "Methods to copy beside GET, HEAD and OPTIONS.")
        loader.add_option("reamp_dark_body_limit", str, "64KiB", "Requests with longer bodies are not copied.")
        loader.add_option("reamp_dark_name", str, "dark", "What the mark of the copies says.")
        loader.add_option("reamp_dark_compare", str, "", "What of the answers is compared: status,size,body-hash.")

    def configure(self, updated: set[str]) -> None:
        """Take the options over."""
        options = ctx.options
        try:
            share = Share.parse(options.reamp_dark_share)
            self._chooser = Chooser(share, options.reamp_dark_allow)
            self._limit = min(MESSAGE, Size.parse(options.reamp_dark_body_limit))
            self._name = options.reamp_dark_name
            self._hashes = Aspect.BODY_HASH in Aspects.parse(options.reamp_dark_compare)
        except (UnitError, ValueError) as error:
            raise exceptions.OptionsError(f"reamp dark options: {error}") from error
        self._accounts.share = share

    def running(self) -> None:
        """Learn which loop this is."""
        self._soon = asyncio.get_running_loop().call_soon

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Decide. A streamed body has to be kept from its first piece on."""
        metadata, request = flow.metadata, flow.request
        if metadata.get(KIND) != "real" or flow.error is not None:
            return
        cells = self._cells
        cells[SEEN] += 1
        data = request.data
        if REFUSED in metadata or not self._chooser.may(data.method, glance(data.headers.fields)[0]):
            cells[EXCLUDED] += 1
        elif not self._chooser.takes():
            cells[SAMPLED_OUT] += 1
        else:
            metadata[COPIED] = ""
            tap = request.stream
            if isinstance(tap, Streamed):
                tap.keep = max(tap.keep, self._limit)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Add an answer up that is passed on as it comes."""
        if self._hashes and COPIED in flow.metadata and flow.response is not None:
            tap = flow.response.stream
            if isinstance(tap, Streamed):
                tap.also = Checksum()

    def response(self, flow: http.HTTPFlow) -> None:
        """Hand over, when the loop has sent what there is of the answer."""
        if COPIED in flow.metadata:
            del flow.metadata[COPIED]
            if self._soon is None:
                self._cells[UNANSWERED] += 1
            else:
                self._soon(self._hand_over, flow)

    def error(self, flow: http.HTTPFlow) -> None:
        """Copy nothing that was not answered: there is nothing to compare with, and whoever asked has left."""
        if COPIED in flow.metadata:
            del flow.metadata[COPIED]
            self._cells[UNANSWERED] += 1

    def _hand_over(self, flow: http.HTTPFlow) -> None:
        now = time.monotonic_ns()
        try:
            if (place := self._handed(flow, now)) == HANDED:
                return
        except BlockingIOError:
            self._full_until = now + PAUSE_NS
            place = SHED
        except OSError as error:
            # ENOBUFS is a full socket, too; so is one with nobody left at its other end.
            place = TOO_LONG if error.errno == errno.EMSGSIZE else SHED
        except Exception:
            place = UNANSWERED
            logger.exception("A request could not be copied")
        self._cells[place] += 1

    def _handed(self, flow: http.HTTPFlow, now: int) -> int:
        """Try to, and give the place where it is counted; what was handed over is already. Raises OSError."""
        shared = self._shared
        if shared.engaged or self._accounts.engaged or not shared.watched(now):
            return STOPPED
        if now < self._full_until:
            return SHED
        request, response = flow.request.data, flow.response
        if response is None:
            return UNANSWERED
        tap = flow.request.stream
        if isinstance(tap, Streamed):
            length, body = tap.size, bytes(tap.kept)
        else:
            body = request.content or b""
            length = len(body)
        if length > self._limit or len(body) < length:
            return TOO_LONG
        answer, tap = response.data, response.stream
        if isinstance(tap, Streamed):
            size, hashed = tap.size, tap.also.value if isinstance(tap.also, Checksum) else 0
        else:
            content = answer.content or b""
            size, hashed = len(content), checksum(content) if self._hashes else 0
        fields = request.headers.fields
        host = glance(fields)[2] or request.authority or request.host.encode()
        took = (answer.timestamp_end or 0.0) - request.timestamp_start
        message = packed(
            Copy(
                now,
                request.method,
                request.path,
                host,
                self._apart(fields),
                body,
                answer.status_code,
                size,
                hashed,
                max(0, int(took * 1e9)),
            )
        )
        if len(message) > MESSAGE:
            return TOO_LONG
        self._cells[HANDED] += 1  # before the aide can count it: what it has was handed over
        try:
            self._send(message, socket.MSG_DONTWAIT)
        except OSError:
            self._cells[HANDED] -= 1
            raise
        return HANDED

    def _apart(self, fields: Fields) -> Fields:
        """Give them with a trace of the copy's own, if an egress goes by that.

        Raises BlockingIOError if there is no room to note it now.
        """
        if self._learning is None:
            return fields
        found = self._learning.apart(fields, self._name)
        if found is None:
            raise BlockingIOError
        return found


def _nowhere(_: bytes, __: int) -> int:
    raise BlockingIOError
