"""Add-on: hands what real users sent to the capture log, and never gets in its way."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from pydantic import ValidationError

from addons.books import Row, cell
from addons.glance import Fields, glance
from addons.passage import BODY_SIZE, KIND, has_open_end, is_long
from addons.selection import Selection, Wanted, declare, read
from addons.streamed import Streamed
from captures.accounting import Counts
from captures.bodies import BodyPolicy
from captures.errors import CaptureError
from captures.keeper import Keeper
from captures.keyring import Recipients
from captures.records import Record
from captures.redaction import DEFAULTS, Redactor, load_key, load_rules
from captures.sampling import Sampler
from captures.worker import Worker
from captures.writer import CaptureWriter, Fsync, WriterSettings
from rules.units import Duration, Size, UnitError

logger = logging.getLogger(__name__)

# The counters of a hot path are reached by their place: an attribute of `Counts` costs half as much again.
_SEEN, _FILTERED, _SAMPLED_OUT, _IN_FLIGHT, _SYNTHETIC, _UNTRUSTED = (
    cell("counts") + getattr(Counts, name).offset // 8
    for name in ("seen", "filtered", "sampled_out", "in_flight", "synthetic", "untrusted")
)

_SENT = "reamp_sent"
"""The header fields of a real request and the host in them, until it is recorded."""


_PATIENCE = 5.0
"""Seconds to wait for the disk that has the redaction's key and rules: nobody is served before."""


class Capture:
    """Records real requests. Everything that can take time happens behind `captures.writer`'s bounded queue."""

    def __init__(self, row: Row, tap: int = 0) -> None:
        """`tap`: how many millionths of the requests come as copies, of whose answers nothing is known; 0: none."""
        self._tap = tap
        self.counts = row.counts
        self._cells = row.cells
        self.writer: CaptureWriter | None = None
        self._settings: dict[str, Any] = {}
        self._recipients = Recipients()
        self._selection: Selection | None = None
        self._bodies = BodyPolicy([], 0)
        self._wanted: Wanted | None = None
        self._sampler: Sampler | None = None
        self._keeper: Keeper | None = None

    def load(self, loader: Loader) -> None:
        """Declare the options."""
        loader.add_option("reamp_captures", str, "", "Folder to record into. Empty: nothing is recorded.")
        declare(loader)
        loader.add_option(
            "reamp_redaction_key",
            str,
            ".reamp/redaction.key",
            "File with the key of the pseudonyms that stand for secrets. Made if missing; keep it away from captures.",
        )
        loader.add_option(
            "reamp_redaction_rules", str, "", "YAML file that says what is replaced. Empty: the rules built in."
        )
        loader.add_option("reamp_segment_size", str, "64MiB", "Start a new file at this size.")
        loader.add_option("reamp_segment_age", str, "10m", "Start a new file at this age.")
        loader.add_option(
            "reamp_flush", str, "1s", "At most this much is lost if the sidecar is killed while the disk keeps up."
        )
        loader.add_option(
            "reamp_encrypt_to",
            Sequence[str],
            [],
            "Encrypt what is recorded to these public keys: age1..., or lines of SSH public keys.",
        )
        loader.add_option(
            "reamp_fsync",
            str,
            "none",
            "When recordings have to be on the disk for certain: never, every reamp_flush, or with each block.",
            choices=get_args(Fsync),
        )
        loader.add_option("reamp_queue_size", str, "32MiB", "Memory for records that wait for the disk.")

    def configure(self, updated: set[str]) -> None:
        """Check the options; the folder itself is opened when the proxy runs."""
        try:
            self._settings = {
                "segment_size": Size.parse(ctx.options.reamp_segment_size),
                "segment_age": Duration.parse(ctx.options.reamp_segment_age),
                "flush": Duration.parse(ctx.options.reamp_flush),
                "fsync": ctx.options.reamp_fsync,
                "queue_size": Size.parse(ctx.options.reamp_queue_size),
            }
            WriterSettings(**self._settings)
        except ValidationError as error:
            reasons = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
            raise exceptions.OptionsError(f"reamp capture options: {reasons}") from error
        except UnitError as error:
            raise exceptions.OptionsError(f"reamp capture options: {error}") from error
        try:
            self._recipients = Recipients(ctx.options.reamp_encrypt_to)
        except CaptureError as error:
            raise exceptions.OptionsError(f"reamp_encrypt_to: {error}") from error
        self._selection = read(ctx.options)
        self._bodies, self._wanted = self._selection.bodies, self._selection.wanted

    async def running(self) -> None:
        """Start writing."""
        selection = self._selection
        if not ctx.options.reamp_captures or self.writer or selection is None:
            return
        given = ctx.options.reamp_redaction_rules
        try:
            key = await _aside(load_key, Path(ctx.options.reamp_redaction_key))
            rules = await _aside(load_rules, Path(given)) if given else DEFAULTS
        except CaptureError as error:
            # Without them nothing may be recorded, and traffic goes on all the same. (A warning: an error that is
            # logged at start would end the process.)
            logger.warning("Nothing is recorded: %s", error)
            return
        folder = Path(ctx.options.reamp_captures)
        settings = WriterSettings(**self._settings)
        header = selection.describe(self._tap)
        writer = CaptureWriter(folder, settings, self.counts, Redactor(key, rules), header, self._recipients)
        await writer.start()
        self._sampler = selection.sampler(key)
        self.writer = writer
        if selection.limits.any:
            self._keeper = Keeper(folder, selection.limits, writer, self.counts)
            self._keeper.start()

    async def done(self) -> None:
        """Write out what is left."""
        if self._keeper:
            await self._keeper.close()
            self._keeper = None
        if self.writer:
            await self.writer.close()

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Count the request, keep its headers as they came, and decide whether its body is passed on as it comes."""
        cells, metadata, request = self._cells, flow.metadata, flow.request
        kind = metadata.get(KIND)
        cells[_SEEN] += 1
        if kind == "real":
            if flow.error is not None:
                cells[_FILTERED] += 1  # malformed: mitmproxy refuses it, and the app never sees it
                return
            # Add-ons that come later may change the headers, and the record is of what was sent.
            sent = request.data.headers.fields
            if self._sampler is None or self._sampler.takes(sent, flow.client_conn.peername[0]):
                cells[_IN_FLIGHT] += 1
                metadata[_SENT] = (sent, _authority(request, sent))
            else:
                cells[_SAMPLED_OUT] += 1
        elif kind == "synthetic":
            cells[_SYNTHETIC] += 1
        else:
            cells[_UNTRUSTED] += 1
        answered = flow.response is not None and not self._tap  # at a tap, what is answered is taken in all the same
        if (is_long(request) or has_open_end(request)) and not answered and flow.error is None:
            request.stream = Streamed(self._bodies.keeps(request.data.headers.fields) if _SENT in metadata else 0)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Let long or endless answers (downloads, server-sent events) through as they come."""
        response = flow.response
        if response and is_long(response):
            response.stream = Streamed(0)

    def response(self, flow: http.HTTPFlow) -> None:
        """Record an answered request."""
        self._settle(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        """Record a request that was not answered: it was part of the traffic too."""
        self._settle(flow)

    def _wants(self, wanted: Wanted, flow: http.HTTPFlow) -> bool:
        """Ask a filter. At a tap the answer is none that it could be about."""
        if not self._tap:
            return wanted(flow)
        answer, flow.response = flow.response, None
        try:
            return wanted(flow)
        finally:
            flow.response = answer

    def _settle(self, flow: http.HTTPFlow) -> None:
        came: tuple[Fields, str] | None = flow.metadata.pop(_SENT, None)
        if came is None:
            return  # not to be recorded, or recorded already
        self._cells[_IN_FLIGHT] -= 1
        if self.writer is None:
            self.counts.filtered += 1
            return
        try:
            if self._wanted is not None and not self._wants(self._wanted, flow):
                self.counts.filtered += 1
                return
            record = _record(flow, *came, self._bodies, answered=not self._tap)
        except Exception:
            self.counts.dropped += 1
            logger.exception("A request could not be recorded")
            return
        self.writer.offer(record)


async def _aside[T](load: Callable[[Path], T], path: Path) -> T:
    """Load a file in a thread that nobody has to wait for. Raises CaptureError."""
    worker = Worker("reamp-redaction")
    try:
        return await asyncio.wait_for(asyncio.wrap_future(worker.submit(load, path)), _PATIENCE)
    except TimeoutError:
        raise CaptureError(f"{path}: the disk does not answer") from None
    finally:
        worker.shutdown()


_new_record = tuple.__new__  # half the price of the call with thirteen arguments


def _record(flow: http.HTTPFlow, sent: Fields, authority: str, bodies: BodyPolicy, *, answered: bool = True) -> Record:
    """Make the record of a flow. `answered`: its answer is the app's."""
    request, response = flow.request, flow.response if answered else None
    asked = request.data
    tap = request.stream
    if isinstance(tap, Streamed):
        body, body_size = bytes(tap.kept[: bodies.keeps(sent)]), tap.size
    else:
        body = asked.content or b""
        body_size = len(body)
        if body_size and body_size > (limit := bodies.keeps(sent)):
            body = body[:limit]
    if not answered:
        body_size = max(body_size, flow.metadata.get(BODY_SIZE, 0))
    arrival_ns = _ns(asked.timestamp_start)
    status = response_size = duration_ns = 0
    ttfb_ns = -1
    if response is not None:
        answer = response.data
        # A wall clock that is set back in between must not yield a negative time.
        begun_ns = _ns(answer.timestamp_start or 0)
        ttfb_ns = begun_ns - arrival_ns if begun_ns > arrival_ns else 0
        duration_ns = _ns(answer.timestamp_end or 0) - arrival_ns
        tap = response.stream
        response_size = tap.size if isinstance(tap, Streamed) else len(answer.content or b"")
        status = answer.status_code
    if flow.error is not None and answered:
        status = 0  # whatever had come of an answer, the client did not get it whole
        duration_ns = max(1000, _ns(flow.error.timestamp) - arrival_ns)  # with none it would not be known
    if duration_ns < ttfb_ns or duration_ns < 0:
        duration_ns = max(0, ttfb_ns)
    return _new_record(
        Record,
        (
            arrival_ns,
            _method(asked.method),
            "https" if flow.client_conn.tls else "http",
            authority,
            asked.path.decode("utf-8", "surrogateescape"),
            _text(asked.http_version),
            sent,
            body,
            body_size,
            status,
            response_size,
            ttfb_ns,
            duration_ns,
        ),
    )


def _ns(seconds: float) -> int:
    """Give a time to the microsecond: the steps of such a float are a quarter of one, and noise does not compress."""
    return int(seconds * 1e6) * 1000


def _authority(request: http.Request, sent: Fields) -> str:
    """Give the host as the client named it."""
    if not request.data.authority:
        _, _, host = glance(sent)
        if host and len(host) <= _SHORT:
            return _text(host)
    return request.host_header or request.authority


_SHORT = 256
"""Longer texts are not kept: a client must not be able to fill the memory."""


@lru_cache(maxsize=1024)
def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


@lru_cache(maxsize=64)
def _method(raw: bytes) -> str:
    return _text(raw).upper()
