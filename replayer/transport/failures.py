"""What can go wrong with a request, by name, and how an error is given its name. Pure.

Without a connection (nothing was sent):

    dns                 the target's name has no address
    refused             nobody listens there
    connect             any other reason not to get a connection
    connect-timeout     no connection in time, with TLS no handshake
    tls                 no TLS handshake; also what breaks the TLS of a connection later, such as a client certificate
                        that is asked for and missing (TLS 1.3 tells that after the handshake)
    certificate         the target's certificate does not verify: expired, another name, an unknown authority
    alpn                HTTP/2 was demanded, and the target does not agree to it

(With HTTP/2, a connection is there once the target's settings are. What ends it before is `closed`, `reset`, `protocol`
or `connect-timeout`, and nothing was sent either.)

Without any byte of the answer:

    closed              the connection ended; of HTTP/2 also: was given up (GOAWAY) before the request was processed
    reset               the connection was reset; of HTTP/2 also: the stream was (RST_STREAM)
    first-byte-timeout  no byte of the answer in time

Inside the answer, or any time:

    truncated           the connection or the stream ended or was reset inside the answer
    timeout             no whole answer in time
    protocol            what came is not HTTP, or without end: fields, interim answers, frames that lead nowhere
"""

import socket
import ssl
from typing import Literal, get_args

Unconnected = Literal["dns", "refused", "connect", "connect-timeout", "tls", "certificate", "alpn"]
Failure = Literal[Unconnected, "closed", "reset", "first-byte-timeout", "truncated", "timeout", "protocol"]

FAILURES: tuple[Failure, ...] = get_args(Failure)


class UnusableError(ConnectionError):
    """A connection is there, and can't be used."""

    def __init__(self, failure: "Failure", why: str) -> None:
        super().__init__(why)
        self.failure = failure


_UNCONNECTED: tuple[tuple[type[Exception], Unconnected], ...] = (
    (TimeoutError, "connect-timeout"),
    (ssl.SSLCertVerificationError, "certificate"),
    (ssl.SSLError, "tls"),
    (ValueError, "tls"),  # a name that no certificate can bear
    (socket.gaierror, "dns"),
    (ConnectionRefusedError, "refused"),
    # Only a connection that is there can be reset, so it was in the handshake.
    (ConnectionResetError, "tls"),
    (ConnectionAbortedError, "tls"),
    (BrokenPipeError, "tls"),
)


_NO_PROTOCOL = ("TLSV1_ALERT_NO_APPLICATION_PROTOCOL", "NO_APPLICATION_PROTOCOL")


def to_connect(error: BaseException) -> Failure:
    """Name the reason why there is no connection."""
    if isinstance(error, UnusableError):
        return error.failure
    if isinstance(error, ssl.SSLError) and error.reason in _NO_PROTOCOL:
        return "alpn"
    for kind, failure in _UNCONNECTED:
        if isinstance(error, kind):
            return failure
    return "connect"


def of_end(error: Exception | None, *, begun: bool) -> Failure:
    """Name the end of a connection that left a request without its whole answer; `begun` if some of it came."""
    if isinstance(error, ssl.SSLError):
        return "tls"
    if begun:
        return "truncated"
    return "closed" if error is None else "reset"
