"""Flows and messages, built without their constructors.

mitmproxy's constructors check the type of every field, copy the headers and draw a UUID: about 60 us for one exchange.
Here the very same objects get the very same attributes directly. Tested with mitmproxy 12.2.
"""

import os
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from mitmproxy import http
from mitmproxy.connection import Client, Server

from addons.internals.trial import expect, passes

Fields = tuple[tuple[bytes, bytes], ...]

RequestMaker = Callable[[Client, Server, bytes, bytes, Fields, str, int, float], http.HTTPFlow]
ResponseMaker = Callable[[bytes, int, bytes, Fields, float], http.Response]

_new = object.__new__
_ids = count(int.from_bytes(os.urandom(6)))
_half = f"{os.urandom(4).hex()}-{os.urandom(2).hex()}-4{os.urandom(2).hex()[1:]}-a{os.urandom(2).hex()[1:]}-"


def _id() -> str:
    """Make a UUID: random once for each process, then counted. `uuid4` asks the kernel each time."""
    return _half + "%012x" % (next(_ids) & 0xFFFFFFFFFFFF)


def quick_flow(
    client: Client, server: Server, method: bytes, path: bytes, fields: Fields, host: str, port: int, now: float
) -> http.HTTPFlow:
    """Make a flow with a request that has no content yet. `now` is unix seconds."""
    headers = _new(http.Headers)
    headers.fields = fields
    data = _new(http.RequestData)
    data.__dict__ = {
        "http_version": b"HTTP/1.1",
        "headers": headers,
        "content": None,
        "trailers": None,
        "timestamp_start": now,
        "timestamp_end": None,
        "host": host,
        "port": port,
        "method": method,
        "scheme": b"http",
        "authority": b"",
        "path": path,
    }
    request = _new(http.Request)
    request.data = data
    flow = _new(http.HTTPFlow)
    flow.__dict__ = {
        "id": _id(),
        "client_conn": client,
        "server_conn": server,
        "live": True,
        "timestamp_created": now,
        "intercepted": False,
        "_resume_event": None,
        "_backup": None,
        "marked": "",
        "is_replay": None,
        "metadata": {},
        "comment": "",
        "request": request,
    }
    return flow


def quick_response(version: bytes, status: int, reason: bytes, fields: Fields, now: float) -> http.Response:
    """Make a response that has no content yet."""
    headers = _new(http.Headers)
    headers.fields = fields
    data = _new(http.ResponseData)
    data.__dict__ = {
        "http_version": version,
        "headers": headers,
        "content": None,
        "trailers": None,
        "timestamp_start": now,
        "timestamp_end": None,
        "status_code": status,
        "reason": reason,
    }
    response = _new(http.Response)
    response.data = data
    return response


def plain_flow(
    client: Client, server: Server, method: bytes, path: bytes, fields: Fields, host: str, port: int, now: float
) -> http.HTTPFlow:
    """Make the same flow the official way."""
    flow = http.HTTPFlow(client, server, live=True)
    flow.timestamp_created = now
    flow.request = http.Request(
        host=host,
        port=port,
        method=method,
        scheme=b"http",
        authority=b"",
        path=path,
        http_version=b"HTTP/1.1",
        headers=http.Headers(fields),
        content=None,
        trailers=None,
        timestamp_start=now,
        timestamp_end=None,
    )
    return flow


def plain_response(version: bytes, status: int, reason: bytes, fields: Fields, now: float) -> http.Response:
    """Make the same response the official way."""
    return http.Response(
        http_version=version,
        status_code=status,
        reason=reason,
        headers=http.Headers(fields),
        content=None,
        trailers=None,
        timestamp_start=now,
        timestamp_end=None,
    )


def makers() -> tuple[RequestMaker, ResponseMaker]:
    """Give the quick ways to make a flow and a response if they pass their test, else the plain ones."""
    if passes("building flows without their constructors", _self_test):
        return quick_flow, quick_response
    return plain_flow, plain_response


def _self_test() -> None:
    """Compare both ways."""
    client = Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), timestamp_start=0.0)
    server = Server(address=("127.0.0.1", 3))
    fields = ((b"Host", b"a"), (b"X", b"\xff"))
    now = time.time()
    flows = []
    for flow_maker, response_maker in ((quick_flow, quick_response), (plain_flow, plain_response)):
        flow = flow_maker(client, server, b"GET", b"/a?b", fields, "127.0.0.1", 3, now)
        flow.response = response_maker(b"HTTP/1.1", 200, b"OK", fields, now)
        flows.append(flow)
    quick, plain = flows
    expect(len(quick.id) == len(plain.id) and quick.id[14] == plain.id[14] == "4", "an id is another kind of UUID")
    quick.id = plain.id
    expect(_parts(quick) == _parts(plain), "the attributes differ")
    expect(quick.get_state() == plain.get_state(), "the states differ")


def _parts(flow: http.HTTPFlow) -> list[dict[str, Any]]:
    """Give the attributes of a flow's objects; of those that are such objects themselves, only their type."""
    owners = (
        flow,
        flow.request,
        flow.request.data,
        flow.request.headers,
        flow.response,
        getattr(flow.response, "data", None),
        getattr(flow.response, "headers", None),
    )
    skipped = {"request", "response", "data", "headers"}
    return [{k: v if k not in skipped else type(v) for k, v in vars(one).items()} for one in owners]
