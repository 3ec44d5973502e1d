"""mitmproxy's flow files <-> records.

A flow says more of an answer than a record, and a record more of time than a flow: floats of seconds have steps of some
240 ns today. So what a flow has no place for goes into its metadata, which is there for add-ons and which mitmproxy
carries along. It counts only for as long as the flow was not changed into one that it does not fit any more.
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from mitmproxy import connection, exceptions, flow, http
from mitmproxy.io import FlowReader, FlowWriter
from mitmproxy.net.http import status_codes
from mitmproxy.net.http.url import default_port, parse_authority

from captures.columns import MAX_TIME
from captures.exchange.notes import Notes
from captures.records import Record

MAX_FLOW = 256 << 20
"""Bytes of one flow, with both bodies. A file could claim a terabyte and have it reserved."""

_METADATA = "reamp_record"
_EXACT = ("arrival_ns", "authority", "body_size", "response_size", "status", "ttfb_ns", "duration_ns")
"""What a flow may not be able to hold exactly."""

_SUPPOSED = 80
_MAX_NUMBER = 1 << 63


def as_flow(record: Record) -> http.HTTPFlow:
    """Make the flow that mitmproxy would have made of this request.

    The answer has no headers and its body counts as missing, as mitmproxy says of bodies that it streamed.
    """
    arrival = record.arrival_ns / 1e9
    tls = record.scheme == "https"
    host, port = parse_authority(record.authority.encode("utf-8", "surrogateescape"), check=False)
    port = port or default_port(record.scheme) or _SUPPOSED
    client = connection.Client(peername=("", 0), sockname=("", 0), timestamp_start=arrival, tls=tls)
    server = connection.Server(address=None, tls=tls)
    made = http.HTTPFlow(client, server)
    made.timestamp_created = arrival
    made.request = http.Request(
        # mitmproxy wants real text here; what else it was stands in the metadata
        host=host.encode("utf-8", "replace").decode(),
        port=port,
        method=_raw(record.method),
        scheme=_raw(record.scheme),
        # An authority would make it the absolute form in HTTP/1, in which nobody asked.
        authority=_raw(record.authority) if record.http_version.startswith(("HTTP/2", "HTTP/3")) else b"",
        path=_raw(record.path),
        http_version=_raw(record.http_version),
        headers=http.Headers(record.headers),
        content=record.body,
        trailers=None,
        timestamp_start=arrival,
        timestamp_end=arrival,
    )
    end = (record.arrival_ns + record.duration_ns) / 1e9
    if record.status:
        made.response = http.Response(
            http_version=_raw(record.http_version),
            status_code=record.status,
            reason=status_codes.RESPONSES.get(record.status, "").encode(),
            headers=http.Headers(),
            content=None if record.response_size else b"",
            trailers=None,
            timestamp_start=(record.arrival_ns + max(0, record.ttfb_ns)) / 1e9,
            timestamp_end=end,
        )
    else:
        made.error = flow.Error("The request was not answered.", end)
    plain = _plain(made)
    told = {name: value for name in _EXACT if (value := getattr(record, name)) != getattr(plain, name)}
    if told:
        made.metadata[_METADATA] = {name: _raw(value) if name == "authority" else value for name, value in told.items()}
    return made


def as_record(asked: http.HTTPFlow) -> Record:
    """Make the record of a flow, exactly the one that it was made of if that is where it comes from."""
    plain = _plain(asked)
    known = asked.metadata.get(_METADATA)
    if not isinstance(known, dict):
        return plain
    try:
        exact: dict[str, Any] = {
            name: value.decode("utf-8", "surrogateescape") if name == "authority" else _number(value)
            for name, value in known.items()
            if name in _EXACT
        }
        told = plain._replace(**exact)
        same = _plain(as_flow(told)) == plain
    except (ValueError, TypeError, AttributeError, OverflowError):
        return plain
    return told if same else plain


def read(file: BinaryIO, notes: Notes) -> Iterator[Record]:
    """Read a flow file of any version that mitmproxy can convert. What does not read is added to `notes`.

    After a flow that makes no sense reading goes on with the next one; after bytes that are none it cannot.
    """
    bounded = _Bounded(file)
    number = 0
    # The converter tells of each flow of an old version at the level of warnings.
    logging.getLogger("mitmproxy.io.compat").setLevel(logging.ERROR)
    while True:
        start = bounded.position
        try:
            for one in FlowReader(bounded).stream():  # type: ignore[arg-type]
                number += 1
                start = bounded.position
                record = _checked(one, number, notes)
                if record is not None:
                    yield record
        except exceptions.FlowReadException as error:
            framing = str(error) == "Invalid data format." and isinstance(error.__cause__, (ValueError, IndexError))
            if bounded.too_large or framing:
                why = bounded.too_large or "these bytes are no flow"
                notes.broken(f"byte {start}", f"{why}: what follows is not read")
                return
            number += 1
            notes.broken(f"flow {number}", f"it makes no sense to mitmproxy ({error})")
        except RecursionError:
            notes.broken(f"byte {start}", "nested too deep: what follows is not read")
            return
        except Exception as error:  # noqa: BLE001 - mitmproxy trusts what stands in its files
            number += 1
            notes.broken(f"flow {number}", f"it makes no sense to mitmproxy ({type(error).__name__})")
        else:
            return


def write(records: Iterable[Record], file: BinaryIO) -> None:
    """Write a flow file for this version of mitmproxy. It holds everything of a record."""
    writer = FlowWriter(file)
    for record in records:
        writer.add(as_flow(record))


def _checked(one: flow.Flow, number: int, notes: Notes) -> Record | None:
    """Make a record of any flow, if it can become one."""
    if not isinstance(one, http.HTTPFlow):
        notes.skip(f"{one.type.upper()} flows: a capture holds HTTP only")
        return None
    if one.request.method == "CONNECT":
        notes.skip("CONNECT requests: what went through the tunnel counts")
        return None
    try:
        record = as_record(one)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        notes.broken(f"flow {number}", f"{error}")
        return None
    if not 0 <= record.arrival_ns < MAX_TIME:
        notes.broken(f"flow {number}", "its time is out of range")
        return None
    if one.is_replay == "request":
        notes.lose("mark of requests that mitmproxy itself had replayed")
    if one.websocket is not None:
        notes.lose("WebSocket messages after the upgrade")
    if one.request.trailers:
        notes.lose("trailers")
    if one.response and (one.response.data.headers.fields or one.response.data.content):
        notes.lose("headers and bodies of answers: a capture keeps status, size and times")
    return record


def _plain(asked: http.HTTPFlow) -> Record:
    """Read a flow without its metadata."""
    request, response = asked.request, asked.response
    data = request.data
    body = data.content or b""
    arrival_ns = round(data.timestamp_start * 1e9)
    status = response_size = duration_ns = 0
    ttfb_ns = -1
    if response is not None:
        status = response.status_code
        answer = response.data
        response_size = _size(response)
        ttfb_ns = max(0, round((answer.timestamp_start or 0) * 1e9) - arrival_ns)
        duration_ns = round((answer.timestamp_end or answer.timestamp_start or 0) * 1e9) - arrival_ns
    if asked.error is not None:
        status = 0
        duration_ns = round(asked.error.timestamp * 1e9) - arrival_ns
    return Record(
        arrival_ns=arrival_ns,
        method=_text(data.method),
        scheme="https" if asked.client_conn.tls else _text(data.scheme) or "http",
        authority=request.host_header or request.authority,
        path=_text(data.path),
        http_version=_text(data.http_version),
        headers=tuple(data.headers.fields),
        body=body,
        body_size=len(body),
        status=status,
        response_size=response_size,
        ttfb_ns=ttfb_ns,
        duration_ns=max(0, ttfb_ns, duration_ns),
    )


def _size(response: http.Response) -> int:
    """Give the size of the answer's body; of one that was streamed mitmproxy only has the announced length."""
    if response.data.content is not None:
        return len(response.data.content)
    length = response.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 18 else 0


def _number(value: Any) -> int:
    if type(value) is not int or not -1 <= value < _MAX_NUMBER:
        raise ValueError("not such a number")
    return value


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


class _Bounded:
    """A file that does not reserve the memory that a hostile length asks for, and knows where it is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._ahead = b""
        self.position = 0
        self.too_large = ""

    def peek(self, size: int) -> bytes:
        if len(self._ahead) < size:
            self._ahead += self._file.read(size - len(self._ahead))
        return self._ahead[:size]

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_FLOW:
            self.too_large = f"a flow of more than {MAX_FLOW >> 20} MiB" if size > 0 else "this is no flow file"
            raise ValueError(self.too_large)
        ahead, self._ahead = self._ahead[:size], self._ahead[size:]
        data = ahead + self._file.read(size - len(ahead)) if size > len(ahead) else ahead
        self.position += len(data)
        return data
