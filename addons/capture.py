"""Add-on: hands what real users sent to the capture log, and never gets in its way."""

import logging
from pathlib import Path
from typing import Any

from mitmproxy import ctx, exceptions, http
from mitmproxy.addonmanager import Loader
from pydantic import ValidationError

from addons.passage import Kind, is_long, kind_of, milestone_ns
from captures.accounting import Counts
from captures.codec import MAX_BODY
from captures.errors import CaptureError
from captures.records import Record
from captures.redaction import Redactor, load_key
from captures.writer import CaptureWriter, WriterSettings
from rules.units import Duration, Size, UnitError

logger = logging.getLogger(__name__)

_SETTLED = "reamp_settled"


class _Tap:
    """Passes a streamed body through, counts it and keeps its beginning. mitmproxy calls it with each piece."""

    __slots__ = ("keep", "kept", "size")

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.kept = bytearray()
        self.size = 0

    def __call__(self, piece: bytes) -> bytes:
        self.size += len(piece)
        room = self.keep - len(self.kept)
        if room > 0:
            self.kept += piece[:room]
        return piece


class Capture:
    """Records real requests. Everything that can take time happens behind `captures.writer`'s bounded queue."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.writer: CaptureWriter | None = None
        self._settings: dict[str, Any] = {}
        self._body_limit = 0

    def load(self, loader: Loader) -> None:
        """Declare the options."""
        loader.add_option("reamp_captures", str, "", "Folder to record into. Empty: nothing is recorded.")
        loader.add_option("reamp_body_limit", str, "64KiB", "Bytes of each request body to keep.")
        loader.add_option(
            "reamp_redaction_key",
            str,
            ".reamp/redaction.key",
            "File with the key of the pseudonyms that stand for secrets. Made if missing; keep it away from captures.",
        )
        loader.add_option("reamp_segment_size", str, "64MiB", "Start a new file at this size.")
        loader.add_option("reamp_segment_age", str, "10m", "Start a new file at this age.")
        loader.add_option(
            "reamp_flush", str, "1s", "At most this much is lost if the sidecar is killed while the disk keeps up."
        )
        loader.add_option("reamp_queue_size", str, "32MiB", "Memory for records that wait for the disk.")

    def configure(self, updated: set[str]) -> None:
        """Check the options; the folder itself is opened when the proxy runs."""
        try:
            self._body_limit = Size.parse(ctx.options.reamp_body_limit)
            self._settings = {
                "segment_size": Size.parse(ctx.options.reamp_segment_size),
                "segment_age": Duration.parse(ctx.options.reamp_segment_age),
                "flush": Duration.parse(ctx.options.reamp_flush),
                "queue_size": Size.parse(ctx.options.reamp_queue_size),
            }
            WriterSettings(**self._settings)
        except ValidationError as error:
            reasons = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
            raise exceptions.OptionsError(f"reamp capture options: {reasons}") from error
        except UnitError as error:
            raise exceptions.OptionsError(f"reamp capture options: {error}") from error
        if self._body_limit > MAX_BODY:
            raise exceptions.OptionsError(f"reamp_body_limit: at most {Size(MAX_BODY)} fit into a record")

    async def running(self) -> None:
        """Start writing."""
        if not ctx.options.reamp_captures or self.writer:
            return
        try:
            redactor = Redactor(load_key(Path(ctx.options.reamp_redaction_key)))
        except CaptureError as error:
            # Without the key nothing may be recorded, and traffic goes on all the same. (A warning: an error that is
            # logged at start would end the process.)
            logger.warning("Nothing is recorded: no redaction key: %s", error)
            return
        folder = Path(ctx.options.reamp_captures)
        writer = CaptureWriter(folder, WriterSettings(**self._settings), self.counts, redactor)
        await writer.start()
        self.writer = writer

    async def done(self) -> None:
        """Write out what is left."""
        if self.writer:
            await self.writer.close()

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Count the request, and decide whether its body is passed on as it comes."""
        kind = kind_of(flow)
        self.counts.seen += 1
        if kind is Kind.SYNTHETIC:
            self.counts.synthetic += 1
        elif kind is Kind.UNTRUSTED:
            self.counts.untrusted += 1
        elif flow.error is not None:
            self.counts.filtered += 1  # malformed: mitmproxy refuses it, and the app never sees it
            flow.metadata[_SETTLED] = True
        else:
            self.counts.in_flight += 1
        if flow.response is None and flow.error is None and is_long(flow.request):
            flow.request.stream = _Tap(self._body_limit if kind is Kind.REAL else 0)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Let long or endless answers (downloads, server-sent events) through as they come."""
        if flow.response and is_long(flow.response):
            flow.response.stream = _Tap(0)

    def response(self, flow: http.HTTPFlow) -> None:
        """Record an answered request."""
        self._settle(flow)

    def error(self, flow: http.HTTPFlow) -> None:
        """Record a request that was not answered: it was part of the traffic too."""
        self._settle(flow)

    def _settle(self, flow: http.HTTPFlow) -> None:
        if kind_of(flow) is not Kind.REAL or _SETTLED in flow.metadata:
            return
        flow.metadata[_SETTLED] = True
        self.counts.in_flight -= 1
        if self.writer is None:
            self.counts.filtered += 1
            return
        try:
            record = _record(flow, self._body_limit)
        except Exception:
            self.counts.dropped += 1
            logger.exception("A request could not be recorded")
            return
        self.writer.offer(record)


def _record(flow: http.HTTPFlow, body_limit: int) -> Record:
    request, response = flow.request, flow.response
    if isinstance(request.stream, _Tap):
        body, body_size = bytes(request.stream.kept), request.stream.size
    else:
        content = request.raw_content or b""
        body, body_size = content[:body_limit], len(content)
    arrival_ns = milestone_ns(request.timestamp_start)
    status = response_size = ended_ns = 0
    ttfb_ns = -1
    if response is not None:
        ttfb_ns = max(0, milestone_ns(response.timestamp_start) - arrival_ns)
        ended_ns = milestone_ns(response.timestamp_end)
        response_size = response.stream.size if isinstance(response.stream, _Tap) else len(response.raw_content or b"")
        status = response.status_code
    if flow.error is not None:
        status = 0  # whatever had come of an answer, the client did not get it whole
        ended_ns = milestone_ns(flow.error.timestamp)
    duration_ns = max(0, ended_ns - arrival_ns, ttfb_ns)
    return Record(
        arrival_ns,
        request.method,
        "https" if flow.client_conn.tls else "http",
        request.host_header or request.authority,
        request.path,
        request.http_version,
        request.headers.fields,
        body,
        body_size,
        status,
        response_size,
        ttfb_ns,
        duration_ns,
    )
