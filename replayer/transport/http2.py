"""HTTP/2: many requests at a time on a connection, up to the limit that the other end sets.

The library `h2` keeps the state of the protocol; here are the bounds, and what its events mean for requests. Frames are
cut here and given to it one by one, because

- a frame that is too long has to be found out when it begins, not when it is held whole;
- GOAWAY is not the end (RFC 9113, 6.8): streams up to the one that it names go on. The library holds it for the end;
- an answer that is malformed has to cost its own stream only (8.1.1), where the library ends the connection;
- another connection, and the schedule, get their turn after `TURN` frames, however many came at once.

A connection is there once the other end's settings are: before that it is not known how many streams it takes.
"""

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from replayer.requests.encoding import Request
from replayer.transport import failures, fields
from replayer.transport.carrier import NEVER, Owner
from replayer.transport.failures import Failure, UnusableError
from replayer.transport.heads import GUARDS, HEAD_END, MAX_HEAD
from replayer.transport.outcomes import Answer, Body
from rules.wire import WITHHELD_HEADER, WITHHELD_STATUSES, Withheld

MAX_STREAMS = 256
"""Streams on one connection, even if the other end allows more: beyond that, another connection is the better one."""

WINDOW = 1 << 20
CONNECTION_WINDOW = 16 << 20
"""Bytes that may come before they are said to be read: of one answer, and of all. They are dropped at once."""

MAX_FRAME = 16_384
"""Bytes of a frame, both ways: what every implementation takes (RFC 9113, 4.2)."""

MAX_TABLE = 4096
"""Bytes of fields that are remembered to compress others, even if the other end would remember more."""

MAX_LEADING_NOWHERE = 1000
"""Frames in a row that bring no request nearer to its end: pings, settings, empty data. More is an attack."""

MAX_UNREAD = 1 << 20
"""Bytes that wait to be sent although no body is among them: the other end asks, and does not listen."""

LAST_STREAM = (1 << 31) - 1

TURN = 256
"""Frames that are taken in before everybody else gets a turn: some milliseconds."""

_DATA, _HEADERS, _GOAWAY = 0, 1, 7
_END_STREAM, _PADDED = 1, 8
_HEADER = 9
_WITHHELD = WITHHELD_HEADER.encode()


class Stream:
    """One request and what came of its answer so far."""

    __slots__ = (
        *("body", "coding", "due_ns", "first_ns", "fed", "fields", "guards", "left", "request", "retried", "sent_ns"),
        *("size", "start", "status"),
    )

    def __init__(self, request: Request, due_ns: int, sent_ns: int, *, retried: bool) -> None:
        self.request = request
        self.due_ns = due_ns
        self.sent_ns = sent_ns
        self.retried = retried
        self.first_ns = 0
        self.status = 0
        self.size = 0
        self.left: int | None = None  # bytes of the body that are still to come, if the answer announced them
        self.guards: Withheld | None = None
        self.body = memoryview(b"")  # of the request: what is still to be sent
        self.fed = 0  # bytes of the answer's body
        self.start = self.coding = b""  # those that are kept, and what they are packed by
        self.fields: tuple[tuple[bytes, bytes], ...] = ()  # of the answer, where bodies are kept


class Connection(asyncio.Protocol):
    """One connection and the requests that are on it. `up` is done when it can carry some."""

    def __init__(self, pool: Owner, up: asyncio.Future[None]) -> None:
        self.room = False
        self.limit = 0
        self._pool = pool
        self._up = up
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, Stream] = {}
        self._unsent: dict[int, Stream] = {}  # those whose body is not sent whole
        self._inbox = b""
        self._deferred = False
        self._paused = False  # whether more is written than the other end reads
        self._leaving = False  # whether it takes no new requests
        self._gone = False
        self._idle_frames = 0
        self._heard_ns = 0  # when the last bytes came
        self._served = 0
        self._scheme = b"https" if pool.target.tls is not None else b"http"
        self._takes: dict[type, Callable[[Any], None]] = {
            h2.events.RemoteSettingsChanged: self._on_settings,
            h2.events.WindowUpdated: self._on_window,
            h2.events.InformationalResponseReceived: self._on_interim,
            h2.events.ResponseReceived: self._on_answer,
            h2.events.DataReceived: self._on_data,
            h2.events.TrailersReceived: self._on_trailers,
            h2.events.StreamEnded: self._on_end,
            h2.events.StreamReset: self._on_reset,
        }
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                header_encoding=None,
                # `fields` does both, and what is wrong with an answer costs its own stream only.
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
            )
        )

    @property
    def sent_ns(self) -> int:
        """When the oldest request was sent that is on its way."""
        return next(iter(self._streams.values())).sent_ns if self._streams else NEVER

    @property
    def resting(self) -> bool:
        """Whether nothing is on its way."""
        return not self._streams

    # --- beginning ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the other end; its settings are waited for."""
        self._transport = cast("asyncio.Transport", transport)
        if self._up.done():
            self._leave()  # it comes too late
            return
        settings = {
            SettingCodes.ENABLE_PUSH: 0,
            SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
            SettingCodes.MAX_FRAME_SIZE: MAX_FRAME,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD,
        }
        self._h2.local_settings = h2.settings.Settings(client=True, initial_values=settings)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(CONNECTION_WINDOW - 65_535)
        self._flush()

    # --- sending ---

    def send(self, request: Request, due_ns: int, ready_ns: int, now_ns: int) -> None:
        """Send a request; only while there is `room`."""
        pool, stream = self._pool, Stream(request, due_ns, now_ns, retried=False)
        pool.in_flight += 1
        number = self._prepare(stream)
        # Looked up as late as can be: what passed since `now_ns` is the sender's own doing, so it counts as its lag.
        stream.sent_ns = sent_ns = pool.clock()
        pool.outcomes.sent(due_ns, ready_ns + sent_ns - now_ns, sent_ns)
        self._begin(number)

    def send_again(self, request: Request, due_ns: int, sent_ns: int) -> None:
        """Send what another connection lost; it was counted then."""
        self._begin(self._prepare(Stream(request, due_ns, sent_ns, retried=True)))

    def _prepare(self, stream: Stream) -> int:
        """Make the frame of the headers, which is not sent yet; give the number of the stream."""
        request = stream.request
        whole = request.prefix + self._pool.outcomes.token() + request.tail
        cut = whole.index(HEAD_END)
        body = memoryview(whole)[cut + len(HEAD_END) :]
        number = self._h2.get_next_available_stream_id()
        self._streams[number] = stream
        found = fields.of_request(whole[:cut], self._scheme, trailers=request.trailers)
        self._h2.send_headers(number, found, end_stream=not body)
        if body:
            stream.body = body
            self._unsent[number] = stream
        return number

    def _begin(self, number: int) -> None:
        """Send what was prepared, and of the body what there is room for."""
        if number in self._unsent:
            self._send_bodies()
        self._leaving = self._leaving or number + 2 >= LAST_STREAM
        self._flush()
        self._look_for_room()

    def _send_bodies(self) -> None:
        """Send as much of the bodies as the other end has room for."""
        for number, stream in list(self._unsent.items()):
            while stream.body and not self._paused:
                count = min(self._h2.local_flow_control_window(number), MAX_FRAME, self._h2.max_outbound_frame_size)
                if count <= 0:
                    break
                part, stream.body = stream.body[:count], stream.body[count:]
                self._h2.send_data(number, part.tobytes(), end_stream=not stream.body)
                self._idle_frames = 0
                self._flush()
            if not stream.body:
                del self._unsent[number]

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None:
            self._pool.sent_bytes += len(data)
            self._transport.write(data)

    def pause_writing(self) -> None:
        """Send no more for now (called by the event loop)."""
        self._paused = True
        self._look_for_room()

    def resume_writing(self) -> None:
        """Go on (called by the event loop)."""
        self._paused = False
        if self._gone:
            return
        self._send_bodies()
        self._look_for_room()
        self._pool.release(self)

    def _look_for_room(self) -> None:
        """Find out whether another request may be sent, and tell the pool's list of those that take some."""
        room = len(self._streams) < self.limit and not (self._paused or self._leaving or self._gone)
        self.room = room and self._up.done()
        if self.room:
            self._pool.idle[self] = None
        else:
            self._pool.idle.pop(self, None)

    # --- receiving ---

    def data_received(self, data: bytes) -> None:
        """Take in what came."""
        self._heard_ns = self._pool.clock()
        self._inbox = self._inbox + data if self._inbox else data
        if not self._deferred:
            self._take_in()

    def _go_on(self) -> None:
        self._deferred = False
        if not self._gone and self._transport is not None:
            self._transport.resume_reading()
            self._take_in()

    def _take_in(self) -> None:
        """Cut frames and take them in, no more than a turn's worth."""
        inbox, at, turn = self._inbox, 0, TURN
        try:
            while len(inbox) - at >= _HEADER and turn and not self._gone:
                length = int.from_bytes(inbox[at : at + 3])
                _check_frame(inbox, at, length)
                end = at + _HEADER + length
                if end > len(inbox):
                    break
                self._frame(inbox[at:end])
                at = end
                turn -= 1
        except Exception as error:  # noqa: BLE001 - whatever it makes the library do, it is the other end's doing
            self._fail_all("protocol", error)
        if self._gone:
            self._inbox = b""
            return
        self._inbox = inbox[at:]
        self._flush()
        if not turn and self._transport is not None:
            self._deferred = True
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on)
        if self._leaving and not self._streams:
            self._retire()
        else:
            self._pool.release(self)

    def _frame(self, frame: bytes) -> None:
        kind, flags = frame[3], frame[4]
        number = int.from_bytes(frame[5:9]) & LAST_STREAM
        self._idle_frames += 1
        if kind == _GOAWAY:
            self._goaway(frame, number)
        elif kind in (_DATA, _HEADERS) and number and not number & 1:
            raise h2.exceptions.ProtocolError("a stream of its own")
        else:
            if kind == _DATA:
                self._check_length(number, flags, frame)
            for event in self._h2.receive_data(frame):
                take = self._takes.get(type(event))
                if take is not None:
                    take(event)
        unread = self._paused and self._transport is not None and self._transport.get_write_buffer_size() > MAX_UNREAD
        if self._idle_frames > MAX_LEADING_NOWHERE or unread:
            self._fail_all("protocol", "frames without end that lead nowhere")

    def _check_length(self, number: int, flags: int, frame: bytes) -> None:
        """Give up a stream whose body is not as long as announced, before the library gives up the connection."""
        stream = self._streams.get(number)
        if stream is None or stream.left is None:
            return
        padding = frame[_HEADER] + 1 if flags & _PADDED and len(frame) > _HEADER else 0
        stream.left -= len(frame) - _HEADER - padding
        if stream.left < 0:
            self._reset(number, stream, "protocol", "a body longer than announced")
        elif stream.left and flags & _END_STREAM:
            self._reset(number, stream, "truncated", "a body shorter than announced")

    def _goaway(self, frame: bytes, number: int) -> None:
        """Take no new requests; those that the other end will not process are lost, the others go on."""
        if number or len(frame) < _HEADER + 8:
            raise h2.exceptions.ProtocolError("a GOAWAY that is none")
        last, code = struct.unpack("!II", frame[_HEADER : _HEADER + 8])
        self._leaving = True
        if not self._up.done():
            self._fail_all("closed", f"GOAWAY: {_named(code)}")
            return
        self._look_for_room()
        if code and not self._served:
            self._pool.turned_down("closed", f"GOAWAY: {_named(code)}")  # such as ENHANCE_YOUR_CALM
        for lost, stream in [item for item in self._streams.items() if item[0] > last & LAST_STREAM]:
            # Not processed (RFC 9113, 8.7), so it may be sent again each time. That ends: others were answered here.
            stream.retried = stream.retried and not self._served
            self._lose(lost, stream, "closed", f"GOAWAY: {_named(code)}")

    # --- events of the library ---

    def _on_settings(self, _event: h2.events.RemoteSettingsChanged) -> None:
        remote = self._h2.remote_settings
        self._h2.encoder.header_table_size = min(remote.header_table_size, MAX_TABLE)
        self.limit = min(remote.max_concurrent_streams, MAX_STREAMS)
        self._send_bodies()
        if self.limit and not self._up.done():
            self._up.set_result(None)
            self._idle_frames = 0
            self._look_for_room()
            self._pool.connected(self)
        self._look_for_room()

    def _on_window(self, _event: h2.events.WindowUpdated) -> None:
        self._send_bodies()

    def _on_interim(self, event: h2.events.InformationalResponseReceived) -> None:
        stream = self._streams.get(event.stream_id or 0)
        if stream is None:
            return
        self._begun(stream)
        stream.size += fields.size(event.headers or [])
        wrong = fields.fault(list(event.headers or []))
        if (b":status", b"101") in (event.headers or []):
            wrong = "it switches protocols"  # not in HTTP/2 (RFC 9113, 8.6)
        if stream.size > MAX_HEAD:
            wrong = f"more than {MAX_HEAD} bytes of fields"
        if wrong is not None:
            self._reset(event.stream_id or 0, stream, "protocol", wrong)

    def _on_answer(self, event: h2.events.ResponseReceived) -> None:
        number = event.stream_id or 0
        stream = self._streams.get(number)
        if stream is None:
            return
        self._begun(stream)
        self._idle_frames = 0
        found = list(event.headers or [])
        stream.size += fields.size(found)
        wrong = fields.fault(found)
        try:
            left = fields.length(found)
        except ValueError:
            wrong = "a content-length that is none"
        if wrong is not None:
            self._reset(number, stream, "protocol", wrong)
            return
        stream.status = int(found[0][1])
        if stream.status in WITHHELD_STATUSES and self._pool.target.guarded:
            stream.guards = next((GUARDS.get(value.lower()) for name, value in found if name == _WITHHELD), None)
        if self._pool.target.kept:
            stream.coding = b", ".join(value for name, value in found if name == b"content-encoding")
            stream.fields = tuple((name, value) for name, value in found[1:])
        bodiless = stream.request.head or stream.status in (204, 304)
        stream.left = None if bodiless else left
        if event.stream_ended is not None and stream.left:
            self._reset(number, stream, "truncated", "a body shorter than announced")

    def _on_data(self, event: h2.events.DataReceived) -> None:
        number = event.stream_id or 0
        counted = event.flow_controlled_length or 0
        if counted:
            # Read and dropped, so the other end may send as much again.
            self._h2.acknowledge_received_data(counted, number)
        stream = self._streams.get(number)
        if stream is not None and event.data:
            self._idle_frames = 0
            stream.size += len(event.data)
            target = self._pool.target
            if target.kept:
                stream.fed += len(event.data)
                stream.start += event.data[: target.kept - len(stream.start)]
            if target.longest is not None and stream.size > target.longest:
                self._reset(number, stream, "protocol", f"an answer of more than {target.longest} bytes")

    def _on_trailers(self, event: h2.events.TrailersReceived) -> None:
        stream = self._streams.get(event.stream_id or 0)
        if stream is None:
            return
        stream.size += fields.size(event.headers or [])
        wrong = fields.fault_of_trailers(list(event.headers or []))
        if wrong is not None:
            self._reset(event.stream_id or 0, stream, "protocol", wrong)
        elif stream.left:
            self._reset(event.stream_id or 0, stream, "truncated", "a body shorter than announced")

    def _on_end(self, event: h2.events.StreamEnded) -> None:
        number = event.stream_id or 0
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        if self._unsent.pop(number, None) is not None:
            # It was answered before it was sent whole, so the rest is of no use (RFC 9113, 8.1).
            self._h2.reset_stream(number, ErrorCodes.CANCEL)
        pool = self._pool
        if not self._served:
            pool.served()
        self._served += 1
        pool.in_flight -= 1
        answer = Answer(
            stream.request,
            stream.due_ns,
            stream.sent_ns,
            stream.first_ns,
            pool.clock(),
            stream.status,
            stream.size,
            stream.guards,
            Body(stream.fed, stream.start, stream.coding, stream.fields) if pool.target.kept else None,
        )
        self._look_for_room()
        pool.outcomes.answered(answer)

    def _on_reset(self, event: h2.events.StreamReset) -> None:
        number = event.stream_id or 0
        stream = self._streams.get(number)
        if stream is None:
            return
        why = f"RST_STREAM: {_named(event.error_code or 0)}"
        if not event.remote_reset:
            self._drop(number, stream, "protocol", _named(event.error_code or 0))  # the library did, and said why
        elif stream.first_ns:
            self._drop(number, stream, "truncated", why)
        elif event.error_code == ErrorCodes.REFUSED_STREAM:
            self._lose(number, stream, "reset", why)  # not processed, it says (RFC 9113, 8.7)
        else:
            self._drop(number, stream, "reset", why)

    def _begun(self, stream: Stream) -> None:
        if not stream.first_ns:
            stream.first_ns = self._heard_ns

    # --- ending ---

    def connection_lost(self, exc: Exception | None) -> None:
        """Find out what the end of the connection means for each request on it."""
        if self._gone:
            return
        if not self._up.done():
            self._fail_all(failures.of_end(exc, begun=False), exc or "it ended before its settings came")
            return
        self._leave()
        for number, stream in list(self._streams.items()):
            failure = failures.of_end(exc, begun=bool(stream.first_ns))
            # It may have ended before the request reached the other end (RFC 9112, 9.3.1).
            if self._served and self._heard_ns <= stream.sent_ns and not stream.first_ns:
                self._lose(number, stream, failure, exc)
            else:
                self._drop(number, stream, failure, exc)
        self._pool.forget(self)

    def _lose(self, number: int, stream: Stream, failure: Failure, why: object) -> None:
        """Send again elsewhere what was not processed here, if that does no harm; else it has failed."""
        if (
            stream.request.safe
            and not stream.retried
            and not stream.first_ns
            and self._pool.retry(stream.request, stream.due_ns, stream.sent_ns)
        ):
            self._forget(number)
        else:
            self._drop(number, stream, failure, why)

    def _drop(self, number: int, stream: Stream, failure: Failure, why: object) -> None:
        """Give up one request."""
        self._forget(number)
        pool = self._pool
        pool.in_flight -= 1
        pool.explain(failure, why)
        pool.outcomes.failed(stream.request, stream.sent_ns, failure)

    def _reset(self, number: int, stream: Stream, failure: Failure, why: str | None) -> None:
        """Give up one request, and tell the other end."""
        code = ErrorCodes.CANCEL if "timeout" in failure else ErrorCodes.PROTOCOL_ERROR
        with suppress(h2.exceptions.H2Error):  # it is closed on both sides
            self._h2.reset_stream(number, code)
        self._drop(number, stream, failure, why)

    def _forget(self, number: int) -> None:
        self._streams.pop(number, None)
        self._unsent.pop(number, None)
        self._look_for_room()

    def _fail_all(self, failure: Failure, why: object) -> None:
        """Give up the connection, because of what came over it."""
        if self._gone:
            return
        self._leave()
        if not self._up.done():
            self._up.set_exception(UnusableError(failure, str(why) or type(why).__name__))
        for number, stream in list(self._streams.items()):
            self._drop(number, stream, failure, why)
        self._pool.forget(self)

    def expire(self, whole_ns: int, first_ns: int) -> None:
        """Give up what was sent before `whole_ns`, or before `first_ns` and has brought no byte yet."""
        for number, stream in list(self._streams.items()):
            if stream.sent_ns < whole_ns:
                late: Failure = "timeout"
            elif stream.sent_ns < first_ns and not stream.first_ns:
                late = "first-byte-timeout"
            else:
                continue
            if self._heard_ns <= stream.sent_ns:
                self._leaving = True  # nobody may be there any more
            self._reset(number, stream, late, None)
        if not self._gone:
            self._flush()
            if self._leaving and not self._streams:
                self._retire()
            else:
                self._pool.release(self)

    def _retire(self) -> None:
        self._leave()
        self._pool.forget(self)

    def _leave(self) -> None:
        self._gone = True
        self._look_for_room()
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def drop(self) -> None:
        """Close at once, and say nothing of the requests."""
        self._streams.clear()
        self._unsent.clear()
        self._leave()


def _named(code: int | ErrorCodes) -> str:
    try:
        return ErrorCodes(code).name
    except ValueError:
        return f"error {code:#x}"


def _check_frame(data: bytes, at: int, length: int) -> None:
    if length > MAX_FRAME:
        what = "it answers in HTTP/1.1" if data.startswith(b"HTTP/", at) else f"a frame of {length} bytes"
        raise h2.exceptions.FrameTooLargeError(what)
