"""A sidecar before an origin that keeps every byte it gets: what became of what a client sent, told in five ways."""

import contextlib
import re
import socket
import socketserver
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from captures.reader import Capture
from loadtag import Signer, headers, keys
from rules.wire import Grant, State
from tests.support.processes import Process, answers, eventually, free_port, reamp
from tests.support.wire import Request, read_answers, read_requests

AUDIENCE = "test-shop"
RUN = "run-1"
SILENCE = 5.0
"""Seconds after which a client gives up."""
WARM = "warm"


class Keeper:
    """An origin that reads HTTP/1 as `tests.support.wire` does, answers each request and keeps what came."""

    def __init__(self) -> None:
        self.connections: list[bytearray] = []
        connections = self.connections

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                kept, answered = bytearray(), 0
                connections.append(kept)
                with contextlib.suppress(OSError):
                    while data := self.request.recv(65536):
                        kept.extend(data)
                        found = len(read_requests(bytes(kept)).requests)
                        self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" * (found - answered))
                        answered = found

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def requests(self) -> Iterator[tuple[Request, bytes]]:
        """Everything that came, with its very bytes. Fails if anything came that is no whole request."""
        for kept in list(self.connections):
            data, begun = bytes(kept), 0
            reading = read_requests(data)
            assert reading.end in ("complete", "closing"), (reading.why, data[-500:])
            for request in reading.requests:
                yield request, data[begun : request.stop]
                begun = request.stop
            assert begun == len(data), data[begun:]


class Case:
    """One thing that a client does. `kinds`: how the sidecar counted it, ``kind outcome``, sorted."""

    def __init__(self) -> None:
        self.kinds: list[str] = []


class Field:
    """One sidecar and its origin, for one case after the other. A case's target is its name."""

    def __init__(self, folder: Path, keeper: Keeper, listen: int, control: int, signer: Signer, tls: bool) -> None:
        self.folder, self.keeper, self.listen, self.signer = folder, keeper, listen, signer
        self._control = httpx.Client(base_url=f"http://127.0.0.1:{control}", trust_env=False)
        self._user = httpx.Client(
            base_url=f"{'https' if tls else 'http'}://127.0.0.1:{listen}",
            trust_env=False,
            verify=False,
        )
        self._name = ""
        self._warmed = 0
        self._before: Counter[str] = Counter()
        self._real, self._heard, self._closing = 0, 0.0, False
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()
        eventually(lambda: self._heard)
        now = int(time.time())
        good = signer.sign(RUN, now + 600, AUDIENCE)
        self._tokens = {
            "<good>": good,
            "<other>": signer.sign("run-2", now + 600, AUDIENCE),
            "<expired>": signer.sign(RUN, now - 5, AUDIENCE),
            "<unknown>": Signer(Ed25519PrivateKey.generate()).sign(RUN, now + 600, AUDIENCE),
            "<forged>": good[:-4] + ("AAAA" if not good.endswith("AAAA") else "BBBB"),
        }

    @contextlib.contextmanager
    def case(self, name: str) -> Iterator[Case]:
        """Do something; afterwards the case tells how it was counted."""
        self._name, case = name, Case()
        # A user earns credit first, so that a synthetic request passes if it should.
        assert self._user.get(f"/{WARM}").status_code == 200
        self._warmed += 1
        yield case
        after = self._counted()
        case.kinds = sorted((after - self._before - Counter({"real 2xx": 1})).elements())
        self._before = after

    def send(self, text: str) -> int:
        """Send one request; give the status of the answer, or 0."""
        return next(iter(self.send_all([text])), 0)

    def send_all(self, texts: Sequence[str]) -> list[int]:
        """Send requests on one connection at once; give the statuses of the answers."""
        got = b""
        with socket.create_connection(("127.0.0.1", self.listen), SILENCE) as client, contextlib.suppress(OSError):
            client.sendall(b"".join(map(self._filled, texts)))
            while len(_statuses(got)) < len(texts) and (more := client.recv(65536)):
                got += more
            client.shutdown(socket.SHUT_WR)
            while more := client.recv(65536):  # what else it may be led to answer
                got += more
        return _statuses(got)

    def send_stream(self, fields: list[tuple[str, str]], body: str | None, trailers: Sequence[tuple[str, str]]) -> int:
        """Send one request by HTTP/2, in whatever form; give the status of the answer, or 0.

        A ``|`` in the body ends a frame.
        """
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        config = h2.config.H2Configuration(
            validate_outbound_headers=False, normalize_outbound_headers=False, validate_inbound_headers=False
        )
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        connection.send_headers(1, self._fields(fields), end_stream=body is None)
        frames = [] if body is None else body.split("|")
        for number, frame in enumerate(frames, 1):
            connection.send_data(1, self._filled(frame), end_stream=number == len(frames) and not trailers)
        if trailers:
            connection.send_headers(1, self._fields(trailers), end_stream=True)
        status = 0
        with (
            socket.create_connection(("127.0.0.1", self.listen), SILENCE) as raw,
            context.wrap_socket(raw) as client,
            contextlib.suppress(OSError),
        ):
            client.sendall(connection.data_to_send())
            while data := client.recv(65536):
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.ResponseReceived):
                        status = int(dict(event.headers)[b":status"])
                    elif isinstance(
                        event, h2.events.StreamEnded | h2.events.StreamReset | h2.events.ConnectionTerminated
                    ):
                        return status
                client.sendall(connection.data_to_send())
        return status

    def seen(self) -> dict[str, list[str]]:
        """What reached the app: each case's name, and of each of its requests the run that the app sees, or ``-``."""
        found: dict[str, list[str]] = {}
        for request, raw in self.keeper.requests():
            name = re.sub(r"^http://shop|\?.*", "", request.target.decode("latin-1")).removeprefix("/")
            tag = headers.unverified_tag(request.fields)
            if tag is None:
                assert headers.find(request.fields) is None, raw
            else:
                assert headers.fits(request.fields), raw
                assert request.values(b"x-load-test") == [tag.run_id.encode()], raw
                options = b",".join(request.values(b"connection")).lower()
                assert b"baggage" not in options, raw  # a proxy behind this one would take it away
                assert b"x-load-test" not in options, raw
            assert not request.values(b"upgrade"), raw
            if request.values(b"transfer-encoding"):
                assert raw.endswith(b"\r\n0\r\n\r\n"), raw  # without trailers
            if name != WARM:
                found.setdefault(name, []).append("-" if tag is None else tag.run_id)
        return found

    def recorded(self) -> Counter[str]:
        """How many requests of each case were recorded."""
        eventually(lambda: self._state().accounting.pending == 0)
        paths = (
            record.path.partition("?")[0].removeprefix("/") for record in Capture(self.folder / "recordings").records()
        )
        return Counter(name for name in paths if name != WARM)

    def earned(self) -> int:
        """How many requests have earned credit."""
        now = time.monotonic()
        eventually(lambda: self._heard > now + 0.05, every=0.005)
        return self._real - self._warmed

    def close(self) -> None:
        self._closing = True
        self._listening.join(5)
        self._control.close()
        self._user.close()

    def _filled(self, text: str) -> bytes:
        for name, token in {**self._tokens, "<here>": f"/{self._name}"}.items():
            text = text.replace(name, token)
        return text.encode("latin-1")

    def _fields(self, fields: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
        return [(self._filled(name), self._filled(value)) for name, value in fields]

    def _counted(self) -> Counter[str]:
        """How requests were counted, once none is under way."""
        while True:
            state = self._state()
            found = Counter(
                {f"{kind} {outcome}": n for kind, outcomes in state.requests.items() for outcome, n in outcomes.items()}
            )
            if found.total() == state.accounting.seen:
                return found

    def _state(self) -> State:
        return State.model_validate_json(self._control.get("/v1/state").content)

    def _listen(self) -> None:
        """Hear how many requests have earned credit."""
        token = self.signer.sign("listener", int(time.time()) + 600, AUDIENCE)
        with self._control.stream("GET", "/v1/credits", headers={"baggage": f"loadtest={token}"}) as stream:
            for line in stream.iter_lines():
                self._real, self._heard = Grant.model_validate_json(line).real, time.monotonic()
                if self._closing:
                    return


def _statuses(data: bytes) -> list[int]:
    return [answer.status for answer in read_answers(data, [b"GET"] * 9, over=False) if answer.whole]


@contextlib.contextmanager
def field(folder: Path, *more: str, tls: bool = False) -> Iterator[Field]:
    """Start a sidecar that records everything at once, and lets synthetic traffic be as much as real."""
    private, public = keys.generate(folder, "load")
    keeper, listen, control = Keeper(), free_port(), free_port()
    options = {
        "upstream": keeper.url,
        "listen": f"127.0.0.1:{listen}",
        "control": f"127.0.0.1:{control}",
        "captures": str(folder / "recordings"),
        "state": str(folder / "state"),
        "public-key": str(public),
        "audience": AUDIENCE,
        "max-extra": "100%",
        "flush": "20ms",
    }
    command = reamp("sidecar", *(part for name, value in options.items() for part in (f"--{name}", value)), *more)
    try:
        with Process(command, folder / "sidecar.out") as process:
            process.ready(control)
            eventually(answers(listen))
            made = Field(folder, keeper, listen, control, keys.load_private(private), tls)
            try:
                yield made
            finally:
                made.close()
    finally:
        keeper.close()
