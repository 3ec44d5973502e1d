"""Plays a case to a proxy, and sums up what the app saw and what the client got.

Nothing is waited for by the clock where it can be told: `tests.support.wire` says how many answers the bytes are worth,
and a probe sent after them shows whether the connection goes on. Only a proxy that neither answers nor closes lets the
time run out, and that is a finding.
"""

import random
import re
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from tests.support.differential.answers import AnswerCase
from tests.support.differential.corpus import Case
from tests.support.differential.origin import Seen
from tests.support.differential.proxies import Proxy
from tests.support.wire import Answer, Fields, read_answers, read_requests

PATIENCE = 2.0
"""Seconds after which a proxy that says nothing counts as silent."""

_HOP_BY_HOP = {
    *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"content-length", b"host"),
}
"""What every proxy may write anew; Host and the body are compared by themselves."""

PROBE = b"/probe/"

_Connection = Literal["kept", "closed", "silent"]


@dataclass(frozen=True)
class Outcome:
    """What became of a case."""

    answers: tuple[Answer, ...]
    connection: _Connection
    seen: tuple[Seen, ...]
    probed: int
    """How often the probe reached the app."""
    broken: tuple[bytes, ...] = ()
    """What the app got that no recipient can trust."""
    noise: bytes = b""
    """What the client got that is no HTTP/1."""

    def client(self) -> str:
        """What the client got, in a few words."""
        told = ["+".join(map(str, [*answer.interim, answer.status])) for answer in self.answers]
        told = [word if answer.whole else word + " cut short" for word, answer in zip(told, self.answers, strict=True)]
        words = ", ".join(
            f"{told[first]} x{last - first}" if last - first > 1 else told[first] for first, last in _runs(told)
        )
        if self.noise:
            words = f"{words}, noise" if words else "noise"
        return f"{words or 'nothing'}; {self.connection}"

    def app(self) -> tuple[dict[str, object], ...]:
        """What the app saw, as far as a proxy is to leave it alone."""
        return tuple(
            {
                "method": seen.request.method,
                "target": seen.request.target,
                "version": seen.request.version,
                "host": seen.request.values(b"host"),
                "fields": _end_to_end(seen.request.fields),
                "body": seen.request.body,
            }
            for seen in self.seen
        )


def _runs(words: Sequence[str]) -> list[tuple[int, int]]:
    bounds = [0, *(here for here in range(1, len(words)) if words[here] != words[here - 1]), len(words)]
    return [(first, last) for first, last in pairwise(bounds) if first < last]


def _end_to_end(fields: Fields) -> list[tuple[bytes, bytes]]:
    return sorted((name.lower(), value) for name, value in fields if name.lower() not in _HOP_BY_HOP)


def differences(case: Case, one: Outcome, other: Outcome) -> list[str]:
    """Name what differs: "client" for what was answered, else what is different in what the app saw."""
    if case.then:
        return []  # a client that ends: how far a proxy gets before it notices is chance
    found = ["client"] if one.client() != other.client() else []
    mine, others = one.app(), other.app()
    if len(mine) != len(others):
        return [*found, "requests"]
    found += sorted({name for a, b in zip(mine, others, strict=True) for name in a if a[name] != b[name]})
    if not found and _from_app(one) != _from_app(other):
        return ["answers"]
    return found


def _from_app(outcome: Outcome) -> list[bytes]:
    return [answer.body for answer in outcome.answers if answer.status < 400]


def heard_otherwise(one: Outcome, other: Outcome) -> list[str]:
    """Name what differs in an answer: "client" for its status and its end, "body"."""
    found = ["client"] if one.client() != other.client() else []
    return found if found or _from_app(one) == _from_app(other) else ["body"]


def split(case: Case) -> list[bytes]:
    """Cut a case's bytes at up to four places, the same ones each time."""
    choice = random.Random(case.name)
    count = min(len(case.data) - 1, choice.randint(1, 4))
    if count < 1:
        return [case.data]
    cuts = [0, *sorted(choice.sample(range(1, len(case.data)), count)), len(case.data)]
    return [case.data[first:last] for first, last in pairwise(cuts)]


def _probe(case: Case) -> bytes:
    slug = re.sub(r"[^a-z0-9]+", "-", case.name.lower()).encode()
    return PROBE + slug


class _Client:
    """One connection that remembers all it was sent."""

    def __init__(self, port: int, methods: list[bytes]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._methods = methods
        self.received = b""
        self.over = False

    def send(self, pieces: Sequence[bytes]) -> None:
        with suppress(OSError):  # whoever refuses need not read to the end
            for number, piece in enumerate(pieces):
                if number:
                    time.sleep(0.001)  # gives the proxy a chance to see the piece alone; nothing depends on it
                self._socket.sendall(piece)

    def finish(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()

    def answers(self) -> list[Answer]:
        return read_answers(self.received, self._methods, over=self.over)

    def read_until(self, count: int | None) -> bool:
        """Read until so many answers have come, or the end. Gives False if neither comes in time."""
        end = time.monotonic() + PATIENCE
        while not self.over:
            with suppress(ValueError):
                if count is not None and len(self.answers()) >= count:
                    return True
            self._socket.settimeout(max(0.001, end - time.monotonic()))
            try:
                data = self._socket.recv(1 << 20)
            except TimeoutError:
                return False
            except OSError:
                data = b""
            self.over = not data
            self.received += data
        return True


def play(proxy: Proxy, case: Case, pieces: Sequence[bytes] = ()) -> Outcome:
    """Send a case's bytes, by default in one piece."""
    reading = read_requests(case.data)
    probe = _probe(case)
    methods = [request.method for request in reading.requests]
    client = _Client(proxy.port, [*methods, b"GET"])
    connection: _Connection = "closed"
    try:
        client.send(pieces or [case.data])
        goodbye = b"GET " + probe + b" HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"
        if case.then == "close":
            client.close()
            _wait_for_its_turn(proxy)
            return _sum_up(proxy, [], "closed", probe)
        if case.then == "half-close":
            client.finish()
            in_time = client.read_until(None)
        else:
            in_time = client.read_until(len(methods))
            if in_time and not client.over:
                if reading.end == "incomplete":
                    client.finish()
                elif reading.end != "closing":
                    client.send([goodbye])
                in_time = client.read_until(None)
        try:
            answers, noise = client.answers(), b""
        except ValueError:
            answers, noise = [], client.received
    finally:
        client.close()
    if not in_time:
        connection = "silent"
    elif answers and _is_of(probe, answers[-1]):
        connection, answers = "kept", answers[:-1]
    return _sum_up(proxy, answers, connection, probe, noise)


def _is_of(probe: bytes, answer: Answer) -> bool:
    return answer.body.startswith(b"saw GET " + probe + b" ")


def hear(proxy: Proxy, case: AnswerCase) -> Outcome:
    """Have the app give a case's answer, then ask for something else on the same connection."""
    probe = PROBE + case.slug
    client = _Client(proxy.port, [case.method, b"GET"])
    connection: _Connection = "closed"
    try:
        client.send([case.request])
        in_time = client.read_until(1)
        if in_time and not client.over:
            if case.waits:
                client.finish()
            else:
                client.send([b"GET " + probe + b" HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"])
            in_time = client.read_until(None)
        try:
            answers, noise = client.answers(), b""
        except ValueError:
            answers, noise = [], client.received
    finally:
        client.close()
    if not in_time:
        connection = "silent"
    elif len(answers) > 1 and (_is_of(probe, answers[-1]) or (case.script.end != "keep" and answers[-1].status == 502)):
        # If the app goes unannounced, what is asked next may find its connection just closed.
        connection, answers = "kept", answers[:-1]
    return _sum_up(proxy, answers, connection, probe, noise)


def in_turn(proxy: Proxy) -> bool:
    """Whether somebody else, on a connection of their own, gets the answer to what they asked."""
    return _wait_for_its_turn(proxy).startswith(b"saw GET /turn ")


def _sum_up(
    proxy: Proxy, answers: Sequence[Answer], connection: _Connection, probe: bytes, noise: bytes = b""
) -> Outcome:
    arrived, broken = proxy.origin.take()
    seen = [one for one in arrived if one.request.target != b"/turn"]
    own = tuple(one for one in seen if one.request.target != probe)
    return Outcome(tuple(answers), connection, own, len(seen) - len(own), tuple(broken), noise)


def _wait_for_its_turn(proxy: Proxy) -> bytes:
    """Ask for something on another connection: when it is answered, the proxy has got over what was before."""
    client = _Client(proxy.port, [b"GET"])
    client.send([b"GET /turn HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"])
    client.read_until(None)
    client.close()
    with suppress(ValueError, IndexError):
        return client.answers()[0].body
    return client.received
