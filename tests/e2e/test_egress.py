"""The egress: the calls of an app that passes traces on and knows nothing of load tests. The test plays the app.

One sidecar for all of them. The app's server keeps what arrives, so a test takes the trace that a synthetic request was
given there, and makes calls with it, as tracing would. Clients that speak no TLS do not get ready to verify any, which
takes 25 ms each time.
"""

import contextlib
import os
import secrets
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from addons.egress.serving import LOOKUPS
from loadtag import headers, keys
from rules.wire import EgressState
from tests.support.authority import Authority
from tests.support.processes import Process, alive, eventually, free_port, gone, resident, run
from tests.support.service import Arrived, Service
from tests.support.stack import Stack


def traceparent(sampled: str = "01") -> str:
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-{sampled}"


@dataclass
class Shop:
    """An app with its sidecar, and a service that it calls, in plain and in TLS."""

    stack: Stack
    sidecar: Process
    app: Service
    service: Service
    secured: Service
    egress: int
    folder: Path

    @property
    def proxy(self) -> str:
        return f"http://127.0.0.1:{self.egress}"

    def ask(self, path: str, **fields: str) -> Arrived:
        """Send a request to the sidecar, and give what the app got."""
        told = {name.replace("_", "-"): value for name, value in fields.items()}
        answer = httpx.get(self.stack.url + path, headers=told, trust_env=False, verify=False)
        assert answer.status_code == 200, answer.text
        return self.app.last(path)

    def synthetic(self, run: str = "run-1", **fields: str) -> str:
        """Have a synthetic request come in; give the traceparent that the app was given."""
        for _ in range(8):
            self.ask("/earns")
        tag = dict(self.stack.tagged(run))
        found = self.ask(f"/{secrets.token_hex(4)}", **tag, **fields).get("traceparent")
        assert found
        return found

    def call(self, path: str, **fields: str) -> Arrived:
        """Call the service through the egress, in plain, and give what it got."""
        told = {name.replace("_", "-"): value for name, value in fields.items()}
        with httpx.Client(proxy=self.proxy, timeout=40, verify=False) as client:
            assert client.get(f"http://127.0.0.1:{self.service.port}{path}", headers=told).text == path
        return self.service.last(path)

    def state(self) -> EgressState:
        found = self.stack.state().egress
        assert found
        return found

    def counts(self, calls: Callable[[], object], expected: dict[str, int]) -> None:
        """Make calls, and wait until they are counted: a client has its answer a moment before. No others may be."""
        seen: list[dict[str, dict[str, int]]] = []

        def settled() -> bool:
            seen.append(self.state().calls)
            return seen[-4:].count(seen[-1]) == 4

        eventually(settled, every=0.02)
        before = seen[-1]
        calls()

        def grown() -> dict[str, int]:
            after = self.state().calls
            found = {f"{kind}/{by}": after[kind][by] - before[kind][by] for kind in after for by in after[kind]}
            return {name: count for name, count in found.items() if count}

        eventually(lambda: sum(grown().values()) >= sum(expected.values()))
        assert grown() == expected


def run_of(fields: list[tuple[str, str]]) -> str | None:
    """Give the run that a load tag names, as whatever stands behind a sidecar believes it."""
    tag = headers.unverified_tag([(name.encode(), value.encode()) for name, value in fields])
    return tag and tag.run_id


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("egress")
    authority = Authority(folder)
    certificate = authority.issue("service", "localhost")
    private, _ = keys.generate(folder, "load")
    app, service, secured = Service(), Service(), Service()
    with contextlib.ExitStack() as running:
        running.enter_context(app.running())
        running.enter_context(service.running())
        running.enter_context(secured.running(authority.serving(certificate)))
        stack = Stack(folder, f"http://127.0.0.1:{app.port}", Path(), keys.load_private(private))
        egress = free_port()
        made = stack.sidecar(
            **{
                "egress": f"127.0.0.1:{egress}",
                "egress-intercept": "localhost",
                "egress-ca": str(folder / "ca.pem"),
                "egress-map": f"payments.internal=http://127.0.0.1:{service.port}",
                "max-extra": "100%",
                "default-third-party": "pass",
            }
        )
        with made as sidecar:
            yield Shop(stack, sidecar, app, service, secured, egress, folder)


def test_what_a_synthetic_request_calls_is_known_for_it_however_it_is_called(shop: Shop) -> None:
    trace = shop.synthetic()
    assert trace.endswith("-00"), "nobody has to keep the spans of a load test"
    told = {"traceparent": trace}
    trusting = ssl.create_default_context(cafile=shop.folder / "state" / "egress" / "mitmproxy-ca-cert.pem")

    def calls() -> None:
        arrived = [shop.call("/absolute", traceparent=trace, x_own="1")]
        with httpx.Client(proxy=shop.proxy, verify=trusting) as client:
            assert client.get(f"https://localhost:{shop.secured.port}/tls", headers=told).text == "/tls"
            assert client.get("http://payments.internal:81/named", headers=told).text == "/named"
        arrived += [shop.secured.last("/tls"), shop.service.last("/named")]
        # A client that has no proxy, and takes the egress for the service.
        named = {"host": "payments.internal", **told}
        assert httpx.get(f"{shop.proxy}/as-host", headers=named, trust_env=False, verify=False).text == "/as-host"
        arrived += [shop.service.last("/as-host"), tunnelled(shop, "/in-tunnel", trace)]
        assert [run_of(one.fields) for one in arrived] == ["run-1"] * 5
        assert {one.get("x-load-test") for one in arrived} == {"run-1"}
        assert arrived[0].get("x-own") == "1"
        assert arrived[3].get("host") == "payments.internal"

    shop.counts(calls, {"synthetic/trace": 5})


def tunnelled(shop: Shop, path: str, trace: str) -> Arrived:
    """Call the service by HTTP/1.1 in clear text within a tunnel."""
    with socket.create_connection(("127.0.0.1", shop.egress), 10) as one:
        one.sendall(f"CONNECT localhost:{shop.service.port} HTTP/1.0\r\n\r\n".encode())
        assert b" 200 " in one.recv(4096)
        one.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\ntraceparent: {trace}\r\n\r\n".encode())
        assert b" 200 " in one.recv(4096)
    return shop.service.last(path)


class _Rpc(grpc.GenericRpcHandler):
    """Answers with what it got, in one piece or piece by piece; or with an error."""

    def __init__(self) -> None:
        self.got: list[list[tuple[str, str]]] = []

    def service(self, handler_call_details: Any) -> Any:
        self.got.append([(name, value) for name, value in handler_call_details.invocation_metadata])
        if handler_call_details.method.endswith("/Each"):
            return grpc.stream_stream_rpc_method_handler(lambda requests, _: (one * 2 for one in requests))
        return grpc.unary_unary_rpc_method_handler(self._answer)

    @staticmethod
    def _answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("x-trailer", "1"),))
        if not request:
            context.abort(grpc.StatusCode.NOT_FOUND, "nothing was asked for")
        return request


@pytest.fixture
def rpc() -> Iterator[tuple[_Rpc, int]]:
    handler = _Rpc()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield handler, port
    server.stop(0).wait()


def test_grpc_is_known_for_it_too_and_works_as_without(shop: Shop, rpc: tuple[_Rpc, int]) -> None:
    handler, port = rpc
    trace = shop.synthetic()
    metadata = (("traceparent", trace),)

    def calls() -> None:
        with grpc.insecure_channel(f"localhost:{port}", options=[("grpc.http_proxy", shop.proxy)]) as channel:
            ask: Any = channel.unary_unary("/shop/Ask")
            each: Any = channel.stream_stream("/shop/Each")
            answer, call = ask.with_call(b"x" * 300_000, metadata=metadata, timeout=20)
            assert (answer, [*call.trailing_metadata()]) == (b"x" * 300_000, [("x-trailer", "1")])
            with pytest.raises(grpc.RpcError) as caught:
                ask(b"", metadata=metadata, timeout=20)
            assert (caught.value.code(), caught.value.details()) == (
                grpc.StatusCode.NOT_FOUND,
                "nothing was asked for",
            )
            # Each answer comes before the next request goes.
            answered = threading.Semaphore(1)
            requests = (number for number in (b"1", b"2", b"3") if answered.acquire(timeout=20))
            for number in each(requests, metadata=metadata, timeout=20):
                assert number in (b"11", b"22", b"33")
                answered.release()
            assert ask(b"real", metadata=(("traceparent", traceparent()),), timeout=20) == b"real"

    shop.counts(calls, {"synthetic/trace": 3, "unattributed/unknown": 1})
    assert [run_of(fields) for fields in handler.got] == ["run-1", "run-1", "run-1", None]


def test_calls_that_share_a_connection_at_the_same_time_do_not_mix(shop: Shop, rpc: tuple[_Rpc, int]) -> None:
    handler, port = rpc
    trace = shop.synthetic()

    def calls() -> None:
        with grpc.insecure_channel(f"localhost:{port}", options=[("grpc.http_proxy", shop.proxy)]) as channel:
            ask: Any = channel.unary_unary("/shop/Ask")
            told = [(("traceparent", trace if n % 3 else traceparent()), ("x-number", str(n))) for n in range(60)]
            under_way = [ask.future(b"%d" % n, metadata=metadata, timeout=20) for n, metadata in enumerate(told)]
            assert [one.result() for one in under_way] == [b"%d" % n for n in range(60)]

    shop.counts(calls, {"synthetic/trace": 40, "unattributed/unknown": 20})
    got = {int(dict(fields)["x-number"]): run_of(fields) for fields in handler.got}
    assert got == {n: "run-1" if n % 3 else None for n in range(60)}


def test_a_server_that_is_not_there_for_a_while_can_be_called_again_on_the_same_connection(shop: Shop) -> None:
    port = free_port()

    def serving() -> grpc.Server:
        server = grpc.server(futures.ThreadPoolExecutor(2))
        server.add_generic_rpc_handlers((_Rpc(),))
        assert server.add_insecure_port(f"127.0.0.1:{port}") == port
        server.start()
        return server

    with grpc.insecure_channel(f"localhost:{port}", options=[("grpc.http_proxy", shop.proxy)]) as channel:
        ask: Any = channel.unary_unary("/shop/Ask")
        for _ in range(2):
            with pytest.raises(grpc.RpcError):
                ask(b"1", timeout=20)
            server = serving()
            assert [ask(b"1", timeout=20) for _ in range(2)] == [b"1", b"1"]
            server.stop(0).wait()


def test_real_calls_are_left_alone_to_the_byte(shop: Shop) -> None:
    own = [("traceparent", ""), ("Baggage", "user=1 , x = 2"), ("X-Odd_Name", " a,b "), ("Accept", "*/*")]

    def bytes_of(trace: str, path: str) -> None:
        fields = "".join(f"{name}: {value or trace}\r\n" for name, value in own)
        with socket.create_connection(("127.0.0.1", shop.egress), 10) as one:
            authority = f"127.0.0.1:{shop.service.port}"
            one.sendall(f"GET http://{authority}{path} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n".encode())
            assert b" 200 " in one.recv(4096)
        expected = [("Host", authority), *((name, (value or trace).strip()) for name, value in own)]
        assert shop.service.last(path).fields == expected

    real, synthetic = traceparent(), shop.synthetic()
    shop.ask("/real", traceparent=real)
    shop.counts(lambda: bytes_of(real, "/known"), {"real/trace": 1})
    shop.counts(lambda: bytes_of(traceparent(), "/unknown"), {"unattributed/unknown": 1})
    shop.counts(lambda: bytes_of("none", "/none"), {"unattributed/nothing": 1})
    # From now on a real user bears that trace, too.
    shop.counts(lambda: shop.call("/before", traceparent=synthetic), {"synthetic/trace": 1})
    shop.ask("/real", traceparent=synthetic)
    shop.counts(lambda: bytes_of(synthetic, "/contested"), {"real/contested": 1})
    # And the next synthetic request that comes with it is given another one.
    renewed = shop.synthetic(traceparent=synthetic)
    assert renewed.split("-")[1] != synthetic.split("-")[1]
    assert run_of(shop.call("/renewed", traceparent=renewed).fields) == "run-1"


def test_a_trace_that_comes_with_a_synthetic_request_stays_whatever_header_it_is_in(shop: Shop) -> None:
    own = traceparent()
    assert shop.synthetic(traceparent=own) == own
    low = own.split("-")[1][16:]
    assert run_of(shop.call("/datadog", x_datadog_trace_id=str(int(low, 16))).fields) == "run-1"
    assert run_of(shop.call("/b3", b3=f"{low}-{low}-1").fields) == "run-1"
    assert run_of(shop.call("/other", traceparent=traceparent()).fields) is None


def test_its_own_tag_decides_if_it_is_no_forgery(shop: Shop) -> None:
    real, new = traceparent(), traceparent()
    shop.ask("/real", traceparent=real)
    tag = dict(shop.stack.tagged("run-7"))
    assert run_of(shop.call("/own", **tag, traceparent=real).fields) == "run-7"
    assert run_of(shop.call("/own", **tag, traceparent=new).fields) == "run-7"
    assert run_of(shop.call("/continued", traceparent=new).fields) == "run-7", "whoever continues that is known"

    expired = dict(shop.stack.tagged("run-8", shop.stack.token("run-8", -5)))
    assert run_of(shop.call("/expired", **expired).fields) == "run-8", "as a user's call it would be nobody's to refuse"

    token = shop.stack.token()
    forged = dict(shop.stack.tagged("run-1", token[:-9] + ("A" if token[-9] != "A" else "B") + token[-8:]))
    before = shop.state().forged
    arrived = shop.call("/forged", **forged, traceparent=real)
    assert (arrived.get("baggage"), arrived.get("x-load-test")) == (None, None)
    assert shop.state().forged == before + 1


@contextlib.contextmanager
def fickle(*answers: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server that ends each connection with the second request on it: gives its port, and what it was asked."""
    asked: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listener.accept()
                with peer, contextlib.suppress(ConnectionError):
                    asked.append(peer.recv(65536))
                    peer.sendall(answers[0])
                    if len(answers) > 1:
                        peer.sendall(answers[1] * 30_000)
                    asked.append(peer.recv(65536))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1], asked
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def test_a_kept_connection_that_ends_costs_no_call_that_can_be_sent_again(shop: Shop) -> None:
    trace = shop.synthetic()
    with fickle(OK) as (port, asked), httpx.Client(proxy=shop.proxy, timeout=20, verify=False) as client:
        url = f"http://127.0.0.1:{port}/"
        assert [client.get(url).status_code for _ in range(3)] == [200, 200, 200]
        lines = [one.split(b" ")[0] for one in asked]
        assert lines == [b"GET", b"GET", b"GET", b"GET", b"GET"], "the second and the third one twice"
        assert client.post(url, content=b"1").status_code == 502, "it may have been done"
    with fickle(OK) as (port, _), httpx.Client(proxy=shop.proxy, timeout=20, verify=False) as client:
        url, told = f"http://127.0.0.1:{port}/", {"traceparent": trace}
        assert [client.get(url, headers=told).status_code for _ in range(2)] == [200, 502], "synthetic ones go once"


def test_an_answer_whose_head_has_no_end_is_cut_off(shop: Shop) -> None:
    with fickle(b"HTTP/1.1 200 OK\r\n", b"a: " + b"b" * 60 + b"\r\n") as (port, _):
        with httpx.Client(proxy=shop.proxy, timeout=20, verify=False) as client:
            assert client.get(f"http://127.0.0.1:{port}/").status_code == 502


def test_an_answer_that_tells_its_length_twice_is_none_to_refuse(shop: Shop) -> None:
    """No client does, so a call must not be lost by it."""
    both = b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    with fickle(both) as (port, _), httpx.Client(proxy=shop.proxy, timeout=20, verify=False) as client:
        answer = client.get(f"http://127.0.0.1:{port}/")
    assert (answer.status_code, answer.text, answer.headers.get("content-length")) == (200, "ok", None)


def test_names_that_nobody_answers_for_do_not_hold_up_other_calls(shop: Shop) -> None:
    """What holds them up is a lookup that waits, for which there have to be threads."""
    with httpx.Client(proxy=shop.proxy, timeout=20, verify=False) as client:
        assert client.get(f"http://localhost:{shop.service.port}/by-name").text == "/by-name"
    assert len([*Path(f"/proc/{shop.state().pid}/task").iterdir()]) > LOOKUPS


def test_tunnels_that_are_not_looked_into_pass_as_they_are(shop: Shop) -> None:
    def calls() -> None:
        for server_first in (True, False):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                here = listener.getsockname()[1]
                with socket.create_connection(("127.0.0.1", shop.egress), 10) as one:
                    one.sendall(f"CONNECT 127.0.0.1:{here} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                    peer, _ = listener.accept()
                    assert b" 200 " in one.recv(4096)
                    with peer:
                        if server_first:
                            peer.sendall(b"220 hello\r\n")
                            assert one.recv(4096) == b"220 hello\r\n"
                        one.sendall(b"\x00\xff any")
                        assert peer.recv(4096) == b"\x00\xff any"
        with socket.create_connection(("127.0.0.1", shop.egress), 10) as one:
            one.sendall(f"CONNECT 127.0.0.1:{free_port()} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert b" 502 " in one.recv(4096), "the app is told as it would be without a proxy"

    shop.counts(calls, {"unattributed/tunnel": 3})


def test_a_switch_of_protocols_passes(shop: Shop) -> None:
    with socket.create_connection(("127.0.0.1", shop.egress), 10) as one:
        authority = f"127.0.0.1:{shop.service.port}"
        fields = "connection: upgrade\r\nupgrade: echo\r\n"
        one.sendall(f"GET http://{authority}/up HTTP/1.1\r\nhost: {authority}\r\n{fields}\r\n".encode())
        assert b" 101 " in one.recv(4096)
        for piece in (b"\x00first", b"second"):
            one.sendall(piece)
            assert one.recv(4096) == piece


def test_bodies_of_any_size_pass_and_are_not_kept(shop: Shop) -> None:
    pid = shop.state().pid
    size = 48 << 20
    with httpx.Client(proxy=shop.proxy, timeout=30, verify=False) as client:
        url = f"http://127.0.0.1:{shop.service.port}"
        client.get(f"{url}/warm")
        before = resident(pid)
        client.post(f"{url}/upload", content=bytes(size))
        with client.stream("GET", f"{url}/big/{size}") as answer:
            assert sum(map(len, answer.iter_bytes())) == size
    assert shop.service.last("/upload").size == size
    assert resident(pid) - before < size / 3


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "127.1", "2130706433", "[::ffff:127.0.0.1]"])
def test_nothing_goes_in_circles_and_nobody_reaches_the_control_port(shop: Shop, host: str) -> None:
    before = shop.state().refused
    with httpx.Client(proxy=shop.proxy, timeout=20, verify=False) as client:
        for port in (shop.egress, shop.stack.control_port):
            assert client.get(f"http://{host}:{port}/v1/state").status_code in (400, 502)
    for port in (shop.egress, shop.stack.control_port):
        with socket.create_connection(("127.0.0.1", shop.egress), 20) as one:
            one.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\n\r\n".encode())
            told = one.recv(4096)
            if b" 200 " in told:  # it is looked into, so that it is connected when something is asked for in it
                one.sendall(b"GET /v1/state HTTP/1.1\r\nhost: x\r\n\r\n")
                told = one.recv(4096)
            assert b" 502 " in told or b" 400 " in told
    assert shop.state().refused >= before + (4 if "::" not in host else 2)


HOSTILE = {
    "a head without end": b"GET http://x/ HTTP/1.1\r\n" + b"a: b\r\n" * 60_000,
    "a line without end": b"GET http://x/" + b"a" * 300_000,
    "no HTTP": b"\x00\x01\x02\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "another scheme": b"GET ftp://127.0.0.1/ HTTP/1.1\r\nhost: x\r\n\r\n",
    "two lengths": b"POST http://127.0.0.1:1/ HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "a tunnel to nowhere": b"CONNECT :0 HTTP/1.1\r\n\r\n",
    "a tunnel to a name that is none": b"CONNECT \xff\xfe:99999999999 HTTP/1.1\r\n\r\n",
    "a thousand traces": b"GET http://127.0.0.1:1/ HTTP/1.1\r\nhost: x\r\n"
    + b"".join(b"x-datadog-trace-id: %d\r\n" % number for number in range(1000, 2000))
    + b"\r\n",
    "HTTP/2 from the start": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_odd_input_ends_its_own_connection_and_nothing_else(shop: Shop, what: str) -> None:
    pid = shop.state().pid
    with socket.create_connection(("127.0.0.1", shop.egress), 20) as one, contextlib.suppress(ConnectionError):
        one.sendall(HOSTILE[what])
        answer = one.recv(65536)
        assert not answer or answer.split()[1] in (b"400", b"431", b"502"), answer
    assert shop.call("/after").target == "/after"
    assert shop.state().pid == pid


def test_what_is_told_of_it_adds_up(shop: Shop) -> None:
    shop.counts(lambda: shop.call("/one"), {"unattributed/nothing": 1})
    text = httpx.get(f"{shop.stack.control}/metrics", trust_env=False, verify=False).text
    found = {family.name: family for family in text_string_to_metric_families(text)}
    state = shop.state()
    by: dict[str, dict[str, int]] = {}
    for sample in found["reamp_egress_calls"].samples:
        kind = by.setdefault(sample.labels["kind"], {})
        kind[sample.labels["by"]] = kind.get(sample.labels["by"], 0) + int(sample.value)
    assert by == state.calls
    assert found["reamp_egress_up"].samples[0].value == 1
    assert found["reamp_egress_hit_ratio"].samples[0].value == state.hit_ratio
    assert httpx.get(f"{shop.stack.control}/v1/state", trust_env=False, verify=False).json()["egress"][
        "hit_ratio"
    ] == pytest.approx(state.hit_ratio)
    status = run("status", "--sidecar", shop.stack.control).stdout
    assert f"127.0.0.1:{shop.egress}, carries calls" in status
    assert f"{sum(state.calls['unattributed'].values())} (" in status


def test_a_reload_costs_no_call(shop: Shop) -> None:
    pid, before = shop.state().pid, len(shop.service.arrived)
    trace = shop.synthetic()
    done: list[Arrived] = []
    shop.service.slow.clear()
    under_way = threading.Thread(target=lambda: done.append(shop.call("/slow")))
    under_way.start()
    eventually(lambda: any(one.target == "/slow" for one in shop.service.arrived[before:]))
    shop.sidecar.signal(signal.SIGHUP)
    eventually(lambda: shop.state().pid not in (0, pid))
    assert run_of(shop.call("/reloaded", traceparent=trace).fields) == "run-1"
    shop.service.slow.set()
    under_way.join(20)
    assert [one.target for one in done] == ["/slow"]
    eventually(lambda: not alive(pid))
    shop.service.slow.clear()


def test_one_that_is_killed_costs_the_calls_under_way_and_no_others(shop: Shop) -> None:
    trace, pid = shop.synthetic(), shop.state().pid
    shop.counts(lambda: shop.call("/of-nobody", traceparent=traceparent()), {"unattributed/unknown": 1})
    before, failed, arrived = shop.state(), [], len(shop.service.arrived)

    def call_slowly() -> None:
        try:
            shop.call("/slow")
        except httpx.HTTPError as error:
            failed.append(error)

    under_way = threading.Thread(target=call_slowly)
    under_way.start()
    eventually(lambda: any(one.target == "/slow" for one in shop.service.arrived[arrived:]))
    # Files that have gone since are no reason to leave the app without its calls.
    (shop.folder / "ca.pem").unlink()
    key = (shop.folder / "load.pub").rename(shop.folder / "gone.pub")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not alive(pid))
    # The port is held, so that calls wait for the next one instead of being refused.
    tag = dict(shop.stack.tagged("run-9"))
    assert run_of(shop.call("/tagged", **tag).fields) == "run-9", "a tag that can't be verified is still no user's"
    key.rename(shop.folder / "load.pub")
    assert run_of(shop.call("/after", traceparent=trace).fields) == "run-1", "what is known of traces is not lost"
    under_way.join(20)
    assert len(failed) == 1
    eventually(lambda: shop.state().serves)
    after = shop.state()
    assert (after.restarts, after.pid != pid) == (before.restarts + 1, True)
    assert after.calls["unattributed"]["unknown"] >= before.calls["unattributed"]["unknown"] > 0, "nor what was counted"


def test_the_supervisor_is_killed_and_calls_go_on_until_another_takes_over(shop: Shop) -> None:
    """Last: it takes the sidecar with it."""
    pid, known = shop.state().pid, shop.synthetic()
    orphans = [worker.pid for worker in shop.stack.state().workers]
    url = f"http://127.0.0.1:{shop.service.port}/kept"
    with contextlib.ExitStack() as opened:
        kept = [opened.enter_context(httpx.Client(proxy=shop.proxy, timeout=20, verify=False)) for _ in range(2)]
        assert [one.get(url).status_code for one in kept] == [200, 200]
        os.kill(shop.sidecar.pid, signal.SIGKILL)
        assert shop.call("/orphaned").target == "/orphaned"
        options = {"default-third-party": "pass", "max-extra": "100%"}
        opened.enter_context(shop.stack.sidecar(egress=f"127.0.0.1:{shop.egress}", **options))
        # For as long as a worker without a supervisor accepts users, it refuses synthetic requests.
        eventually(lambda: gone(orphans), 40)
        # By connections to the one that is to go: what comes in at its successor is known there, too.
        for client, trace, run in zip(kept, (known, shop.synthetic("run-2")), ("run-1", "run-2"), strict=True):
            assert client.get(url, headers={"traceparent": trace}).status_code == 200
            client.close()
            assert run_of(shop.service.last("/kept").fields) == run
        assert run_of(shop.call("/new", traceparent=known).fields) == "run-1"
        eventually(lambda: not alive(pid))
        assert shop.call("/taken-over").target == "/taken-over"
        assert shop.state().pid != pid
    with pytest.raises(httpx.ConnectError):
        shop.call("/gone")
