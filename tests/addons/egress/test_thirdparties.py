"""Third parties at the egress's own chain of add-ons: synthetic calls are answered, real ones go out as they came."""

import asyncio
import contextlib
import gc
import re
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h2.connection
import h2.events
import httpx
import pytest
from mitmproxy import options
from mitmproxy.addons.core import Core
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.master import Master
from mitmproxy.proxy.layers.http._http1 import Http1Client

from addons.egress.calls import Calls, Passage
from addons.egress.destinations import Destinations
from addons.egress.naming import COUNTED
from addons.egress.thirdparties import ThirdParties
from addons.egress.tunnels import Tunnels
from addons.internals.outward import EgressMode, Protocols
from addons.internals.quickening import quicken
from addons.parties.policy import Policy
from addons.processes.tallies import Tallies
from addons.traces import Traces
from loadtag import headers
from loadtag.keys import generate, load_private
from tests.support.authority import Authority
from tests.support.provider import provider

RUN = "run-1"

CHARGE: dict[str, Any] = {
    "match": "127.0.0.1/v1/charges",
    "method": "POST",
    "action": "stub",
    "body": {"id": "ch_{{ id }}", "amount": "{{ request.form.amount | int }}", "order": "{{ request.form.order }}"},
}


@dataclass(frozen=True)
class Keys:
    public: Path
    tagged: dict[str, str]
    """Headers of a call that bears a valid tag."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    folder = tmp_path_factory.mktemp("keys")
    private, public = generate(folder, "load")
    token = load_private(private).sign(RUN, int(time.time()) + 3600, "production")
    return Keys(public, {name.decode(): value.decode() for name, value in headers.put([], token, RUN)})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where mitmproxy keeps the authority that it makes: once for all tests."""
    return tmp_path_factory.mktemp("mitmproxy")


@dataclass
class Egress:
    port: int
    tallies: Tallies
    confdir: Path

    def client(self) -> httpx.AsyncClient:
        trust = ssl.create_default_context()
        if (ours := self.confdir / "mitmproxy-ca-cert.pem").exists():
            trust.load_verify_locations(ours)
        proxy = httpx.Proxy(f"http://127.0.0.1:{self.port}")
        return httpx.AsyncClient(proxy=proxy, verify=trust, trust_env=False, timeout=20)

    async def tunnel(self, port: int, name: str, *protocols: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a tunnel to loopback, and TLS in it with whom the egress takes for `name`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % port)
        async with asyncio.timeout(10):
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            trust = ssl.create_default_context(cafile=self.confdir / "mitmproxy-ca-cert.pem")
            if protocols:
                trust.set_alpn_protocols(protocols)
            await writer.start_tls(trust, server_hostname=name)
        return reader, writer

    @property
    def counted(self) -> dict[str, int]:
        return {name: count for name, count in self.tallies.items() if count}


class Harness:
    """Makes egresses."""

    def __init__(self, keys: Keys, confdir: Path, authority: Authority) -> None:
        self._keys, self._confdir, self._authority = keys, confdir, authority

    @contextlib.asynccontextmanager
    async def __call__(
        self,
        *rules: dict[str, Any],
        inside: tuple[str, ...] = ("inner.example",),
        default: str = "block",
        intercepted: tuple[str, ...] = (),
        mapped: tuple[str, ...] = (),
        without: bool = False,
        tunnels: str = "pass",
    ) -> AsyncIterator[Egress]:
        """Run one. `without`: the same without rules for third parties."""
        said = {"inside": inside, "third_parties": rules, "default_third_party": default, "tunnels": tunnels}
        policy = Policy.model_validate(said)
        traces, tallies = Traces.create(), Tallies.create(COUNTED)
        destinations = Destinations(mapped, intercepted)
        calls = Calls(traces, tallies)
        third = [] if without else [ThirdParties(policy, destinations, calls)]
        chain = [calls, *third, Tunnels(destinations, (), tallies), Passage(destinations, tallies)]
        opts = options.Options()
        master = Master(opts)
        quicken(master)
        proxyserver = Proxyserver()
        master.addons.add(Core(), proxyserver, Protocols(destinations.looks_into), TlsConfig(), *chain)
        opts.update(
            mode=[EgressMode.type_name],
            listen_host="127.0.0.1",
            listen_port=0,
            connection_strategy="lazy",
            rawtcp=True,
            websocket=False,
            confdir=str(self._confdir),
            ssl_verify_upstream_trusted_ca=str(self._authority.trust),
            reamp_public_key=[str(self._keys.public)],
        )
        running = asyncio.create_task(master.run())
        async with asyncio.timeout(20):
            while not proxyserver.listen_addrs():
                assert not running.done(), running.result()
                await asyncio.sleep(0.01)
        try:
            yield Egress(proxyserver.listen_addrs()[0][1], tallies, self._confdir)
        finally:
            await proxyserver.servers.update([])
            master.shutdown()
            await running
            tallies.close()
            traces.close()


@pytest.fixture
def egress(keys: Keys, confdir: Path, authority: Authority) -> Harness:
    return Harness(keys, confdir, authority)


async def test_a_charge_is_answered_and_nobody_is_asked(egress: Harness, keys: Keys) -> None:
    async with provider() as real, egress(CHARGE) as out, out.client() as client:
        url = f"http://127.0.0.1:{real.port}/v1/charges"
        form = {"amount": "4200", "order": "7"}
        stubbed = await client.post(url, data=form, headers=keys.tagged)
        assert (stubbed.status_code, stubbed.json()["amount"], stubbed.json()["order"]) == (200, 4200, "7")
        assert stubbed.headers["content-type"] == "application/json"
        assert stubbed.headers["reamp-third-party"] == "stub"
        assert "date" in stubbed.headers
        assert real.connections == 0
        charged = await client.post(url, data=form)
        assert charged.json() == {"id": "real_1", "paid": True}
        assert real.orders == ["7"]
        assert out.counted == {"synthetic/tag/stubbed": 1, "unattributed/nothing/2xx": 1}


def requests() -> list[bytes]:
    """Calls as no sensible client sends them, with ``PORT`` in them."""
    form = b"amount=1&order=2"
    odd = (
        b"POST http://127.0.0.1:PORT/v1/charges?a=%2F&b=+ HTTP/1.1\r\nhOsT: 127.0.0.1:PORT\r\nX-Odd: two  blanks\r\n"
        b"x-odd: again\r\nBaggage: a=b;c, d=\xc3\xbc\r\nContent-Length: 16\r\nx-y: \xfe\r\n\r\n"
    )
    chunked = (
        b"POST http://127.0.0.1:PORT/v1/charges HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"10\r\namount=1&order=2\r\n0\r\n\r\n"
    )
    traced = (
        b"POST http://127.0.0.1:PORT//v1/../v1/charges HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\nIdempotency-Key: k\r\n"
        b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nContent-Length: 16\r\n\r\n"
    )
    return [odd + form, chunked, traced + form]


@pytest.mark.parametrize("number", range(3))
async def test_a_real_call_goes_out_as_it_came_byte_for_byte(egress: Harness, number: int) -> None:
    """Side by side with an egress that has no rules; and but for the target's form, which a proxy has to change."""
    seen, answers = [], []
    for without in (True, False):
        rules = (CHARGE, {"match": "*", "action": "block"})
        async with provider() as real, egress(*rules, without=without) as out:
            reader, writer = await asyncio.open_connection("127.0.0.1", out.port)
            sent = requests()[number].replace(b"PORT", b"%d" % real.port)
            writer.write(sent)
            async with asyncio.timeout(10):
                answers.append(await reader.readuntil(b"true}"))
            writer.close()
            port, came = b"%d" % real.port, b"".join(real.requests[0])
            seen.append(came.replace(port, b"PORT"))
            assert came == sent.replace(b"http://127.0.0.1:" + port, b"", 1)
    assert seen[0] == seen[1]
    assert answers[0] == answers[1]


async def test_a_real_call_in_tls_that_is_looked_into_goes_out_as_it_came(
    egress: Harness, authority: Authority
) -> None:
    serving = authority.serving(authority.issue("looked-into", "127.0.0.1"))
    rules = (CHARGE, {"match": "*", "action": "block"})
    async with provider(serving) as real, egress(*rules, intercepted=("127.0.0.1",)) as out:
        port = b"%d" % real.port
        reader, writer = await out.tunnel(real.port, "127.0.0.1")
        async with asyncio.timeout(10):
            sent = [one.replace(b"http://127.0.0.1:PORT", b"").replace(b"PORT", port) for one in requests()]
            for one in sent:
                writer.write(one)
                assert b'"paid": true}' in await reader.readuntil(b"true}")
        writer.close()
        assert [head + body for head, body in real.requests] == sent


async def test_the_tag_stays_inside_and_the_rest_of_the_baggage_goes_along(egress: Harness, keys: Keys) -> None:
    rules = [{"match": "127.0.0.1", "action": "pass"}]
    baggage = {**keys.tagged, "baggage": "tenant=7," + keys.tagged["baggage"]}
    async with provider() as real:
        async with egress(*rules) as out, out.client() as client:
            await client.post(f"http://127.0.0.1:{real.port}/v1/charges", data={"order": "1"}, headers=baggage)
            assert out.counted == {"synthetic/tag/2xx": 1}
        async with egress(*rules, inside=("default",)) as out, out.client() as client:
            await client.post(f"http://127.0.0.1:{real.port}/v1/charges", data={"order": "2"}, headers=baggage)
    outside, inside = real.heads
    assert re.search(rb"(?im)^baggage: tenant=7\r$", outside)
    assert b"loadtest" not in outside.lower()
    assert b"x-load-test" not in outside.lower()
    assert keys.tagged["baggage"].encode() in inside
    assert b"x-load-test: run-1" in inside


async def test_what_no_rule_names_is_blocked_and_says_so(egress: Harness, keys: Keys) -> None:
    async with provider() as real, egress() as out, out.client() as client:
        blocked = await client.get(f"http://127.0.0.1:{real.port}/mail", headers=keys.tagged)
        assert blocked.status_code == 403
        assert blocked.headers["content-type"] == "application/problem+json"
        assert blocked.json()["type"] == "urn:reamp:third-party-blocked"
        assert "default_third_party" in blocked.json()["detail"]
        head = await client.head(f"http://127.0.0.1:{real.port}/mail", headers=keys.tagged)
        assert (head.status_code, head.content) == (403, b"")
        assert real.connections == 0
        assert (await client.get(f"http://127.0.0.1:{real.port}/mail")).status_code == 200
        assert out.counted == {"synthetic/tag/blocked": 2, "unattributed/nothing/2xx": 1}


async def test_a_name_of_the_map_is_known_by_either_name(egress: Harness, keys: Keys) -> None:
    stub = {"match": "payments.example/v1/*", "action": "stub", "status": 202}
    async with provider() as real:
        mapped = (f"payments.example=http://127.0.0.1:{real.port}",)
        async with egress(stub, mapped=mapped) as out, out.client() as client:
            assert (await client.get("http://payments.example/v1/x", headers=keys.tagged)).status_code == 202
            assert (await client.get("http://payments.example/v2/x", headers=keys.tagged)).status_code == 403
            assert (await client.get("http://payments.example/v1/x")).status_code == 200
        # A name that is inside does not make what it stands for so.
        async with egress(mapped=mapped, inside=("payments.example",)) as out, out.client() as client:
            assert (await client.get("http://payments.example/v1/x", headers=keys.tagged)).status_code == 403
    assert len(real.requests) == 1


async def test_a_name_that_only_the_call_itself_says_is_known(egress: Harness, keys: Keys) -> None:
    """A tunnel to an address: the name stands in TLS (SNI), or in HTTP/2's ``:authority``."""
    rules = [{"match": "payments.example", "action": "stub", "status": 202}]
    async with provider() as real, egress(*rules, intercepted=("127.0.0.1",), default="pass") as out:
        reader, writer = await out.tunnel(real.port, "payments.example")
        tagged = "".join(f"{name}: {value}\r\n" for name, value in keys.tagged.items())
        writer.write(f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n{tagged}\r\n".encode())
        async with asyncio.timeout(10):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 202 ")
        writer.close()

        reader, writer = await out.tunnel(real.port, "127.0.0.1", "h2")
        client = h2.connection.H2Connection()
        client.initiate_connection()
        pseudo = {":method": "GET", ":scheme": "https", ":path": "/", ":authority": "payments.example:443"}
        client.send_headers(1, [*pseudo.items(), *keys.tagged.items()], end_stream=True)
        writer.write(client.data_to_send())
        answer: dict[bytes, bytes] = {}
        async with asyncio.timeout(10):
            while not answer:
                for event in client.receive_data(await reader.read(65536)):
                    if isinstance(event, h2.events.ResponseReceived):
                        answer = dict(event.headers)
        assert answer[b":status"] == b"202"
        writer.close()
        assert real.connections == 0
        assert out.counted == {"synthetic/tag/stubbed": 2}


async def test_calls_of_one_client_do_not_wait_for_each_other(egress: Harness, authority: Authority) -> None:
    """HTTP/2 that is carried on in HTTP/1.1."""
    streams, met = 12, asyncio.Event()
    under_way = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way
        await reader.readuntil(b"\r\n\r\n")
        under_way += 1
        if under_way == streams:
            met.set()
        await met.wait()
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    tls = authority.serving(authority.issue("together", "localhost"))
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server, egress(intercepted=("127.0.0.1",)) as out:
        reader, writer = await out.tunnel(server.sockets[0].getsockname()[1], "localhost", "h2")
        client = h2.connection.H2Connection()
        client.initiate_connection()
        for stream in range(1, 2 * streams, 2):
            pseudo = {":method": "GET", ":scheme": "https", ":path": "/", ":authority": "localhost"}
            client.send_headers(stream, [*pseudo.items()], end_stream=True)
        writer.write(client.data_to_send())
        ended = 0
        async with asyncio.timeout(20):
            while ended < streams:
                seen = client.receive_data(await reader.read(65536))
                ended += sum(isinstance(one, h2.events.StreamEnded) for one in seen)
        writer.close()


async def test_a_stream_that_waits_for_its_answer_is_blocked_at_once(egress: Harness, keys: Keys) -> None:
    """As those of gRPC do, which end when they were answered."""
    async with provider() as real, egress(intercepted=("127.0.0.1",)) as out:
        reader, writer = await out.tunnel(real.port, "127.0.0.1", "h2")
        client = h2.connection.H2Connection()
        client.initiate_connection()
        pseudo = {":method": "POST", ":scheme": "https", ":path": "/", ":authority": "payments.example:443"}
        for stream in (1, 3):
            client.send_headers(stream, [*pseudo.items(), *keys.tagged.items()])
            client.send_data(stream, b"first")
            writer.write(client.data_to_send())
            seen: list[h2.events.Event] = []
            async with asyncio.timeout(10):
                while not any(isinstance(one, h2.events.StreamEnded) for one in seen):
                    seen += client.receive_data(await reader.read(65536))
            (answer,) = [one for one in seen if isinstance(one, h2.events.ResponseReceived)]
            assert dict(answer.headers)[b":status"] == b"403"
            client.send_data(stream, b"last", end_stream=True)
        writer.close()
        assert real.connections == 0
        assert out.counted == {"synthetic/tag/blocked": 2}


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_of_any_length_is_answered_and_not_kept(egress: Harness, keys: Keys, chunked: bool) -> None:
    rule = {"match": "127.0.0.1", "action": "stub", "body": "{{ request.text | length }}"}

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * (256 * 1024)

    length = {} if chunked else {"content-length": str(16 << 20)}
    async with egress(rule) as out, out.client() as client:
        for _ in range(2):  # the second one on the same connection
            said = await client.put("http://127.0.0.1:9/x", content=pieces(), headers={**keys.tagged, **length})
            assert (said.status_code, said.text) == (200, str(256 * 1024))
        assert out.counted == {"synthetic/tag/stubbed": 2}


@pytest.mark.parametrize("status", [204, 304, 402])
async def test_statuses_without_a_body_have_none(egress: Harness, keys: Keys, status: int) -> None:
    rule = {"match": "127.0.0.1", "action": "stub", "status": status, "headers": {"X-Message-Id": ["a", "b"]}}
    async with egress(rule) as out, out.client() as client:
        for _ in range(2):
            said = await client.post("http://127.0.0.1:9/x", headers=keys.tagged)
            assert (said.status_code, said.content, said.headers.get_list("x-message-id")) == (status, b"", ["a", "b"])
            assert ("content-length" in said.headers) == (status == 402)


async def test_connections_that_have_ended_are_forgotten_while_the_clients_stays(egress: Harness) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, egress() as here:
        url = b"http://127.0.0.1:%d/" % server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        for _ in range(30):
            writer.write(b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % url)
            async with asyncio.timeout(10):
                assert b" 204 " in await reader.readuntil(b"\r\n\r\n")
        gc.collect()
        assert sum(isinstance(one, Http1Client) for one in gc.get_objects()) < 5
        writer.close()
    assert here.counted == {"unattributed/nothing/2xx": 30}


async def test_a_slow_stub_holds_nobody_else_up(egress: Harness, keys: Keys) -> None:
    slow, quick = {**CHARGE, "latency": "300ms"}, {"match": "127.0.0.1", "action": "stub"}
    ended = []
    async with provider() as real, egress(slow, quick) as out, out.client() as client:
        url = f"http://127.0.0.1:{real.port}"

        async def call(name: str, path: str, tagged: dict[str, str]) -> None:
            await client.post(url + path, data={"amount": "1", "order": "1"}, headers=tagged)
            ended.append(name)

        await call("warm", "/x", {})
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(call("slow", "/v1/charges", keys.tagged))
            await asyncio.sleep(0.05)
            tasks.create_task(call("real", "/v1/charges", {}))
            tasks.create_task(call("quick", "/x", keys.tagged))
        assert time.monotonic() - began >= 0.3
        assert ended[-1] == "slow"


async def test_what_can_not_be_judged_or_answered_is_blocked_and_real_calls_go_on(
    egress: Harness, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours, wherever it strikes."""

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("a fault")

    places = ("parties.choice.Chooser.choose", "parties.standin.StandIn.answer", "egress.thirdparties._response")
    for name in (f"addons.{place}" for place in places):
        async with provider() as real, egress(CHARGE) as out, out.client() as client:
            with monkeypatch.context() as patch:
                patch.setattr(name, fails)
                url = f"http://127.0.0.1:{real.port}/v1/charges"
                assert (await client.post(url, data={"order": "1"}, headers=keys.tagged)).status_code == 403
                assert real.connections == 0
                assert (await client.post(url, data={"order": "2"})).status_code == 200
            assert real.orders == ["2"]
            assert out.counted["synthetic/tag/blocked"] == 1


async def connect(out: Egress, port: int, fields: dict[str, str]) -> bytes:
    """Ask for a tunnel, and give the status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", out.port)
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{lines}\r\n".encode())
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return head.split(b"\r\n")[0].split(b" ")[1]


async def test_tunnels_that_nobody_sees_into_can_be_blocked_whosever_they_are(egress: Harness) -> None:
    async with provider() as real:
        async with egress(CHARGE, tunnels="block") as out:
            assert await connect(out, real.port, {}) == b"403"
            assert out.counted == {"unattributed/tunnel/blocked": 1}
            assert real.connections == 0
        passing: list[dict[str, Any]] = [
            {"inside": ("127.0.0.1",)},
            {"default": "pass"},
            {"intercepted": ("127.0.0.1",)},
        ]
        for changes in passing:
            async with egress(tunnels="block", **changes) as out:
                assert await connect(out, real.port, {}) == b"200", changes


async def test_a_synthetic_tunnel_passes_only_if_all_in_it_would(egress: Harness, keys: Keys) -> None:
    async with provider() as real:
        async with egress(CHARGE) as out:
            assert await connect(out, real.port, keys.tagged) == b"403"
            assert real.connections == 0
            assert await connect(out, real.port, {}) == b"200"
            assert out.counted == {"synthetic/tag/blocked": 1, "unattributed/tunnel/2xx": 1}
        async with egress({"match": "127.0.0.1", "action": "pass"}) as out:
            assert await connect(out, real.port, keys.tagged) == b"200"
    assert real.requests == []


@pytest.mark.parametrize("tls", [False, True])
async def test_every_real_charge_is_made_and_no_synthetic_one(
    egress: Harness, keys: Keys, authority: Authority, tls: bool
) -> None:
    """Interleaved at random on shared connections, in plain and in TLS that is looked into: counted exactly."""
    serving = authority.serving(authority.issue("provider", "127.0.0.1")) if tls else None
    scheme = "https" if tls else "http"
    async with provider(serving) as real, egress(CHARGE, intercepted=("127.0.0.1",) if tls else ()) as out:
        url = f"{scheme}://127.0.0.1:{real.port}/v1/charges"
        synthetic: dict[str, str] = {}
        answered: dict[str, str] = {}

        async def user(client: httpx.AsyncClient, number: int) -> None:
            for count in range(10):
                order, tagged = f"{number}-{count}", (number * 7 + count * 3) % 5 < 2
                fields = {**keys.tagged, "idempotency-key": order} if tagged else {"idempotency-key": order}
                for _ in range(2 if count == 5 else 1):  # one of them is tried again
                    said = await client.post(url, data={"amount": "5", "order": order}, headers=fields)
                    assert said.status_code == 200
                    (synthetic if tagged else answered).setdefault(order, said.json()["id"])
                    if tagged:
                        assert synthetic[order] == said.json()["id"]

        async with out.client() as client, asyncio.TaskGroup() as tasks:
            for number in range(20):
                tasks.create_task(user(client, number))
        sent = len(synthetic) + len([order for order in synthetic if order.endswith("-5")])
        charged = len(answered) + len([order for order in answered if order.endswith("-5")])
        assert sent + charged == 220
        assert len(synthetic) > 50
        assert all(name.startswith("ch_") for name in synthetic.values())
        assert len(set(synthetic.values())) == len(synthetic)
        assert sorted(real.orders) == sorted([*answered, *(order for order in answered if order.endswith("-5"))])
        assert real.connections < charged  # they were reused
        assert out.counted == {"synthetic/tag/stubbed": sent, "unattributed/nothing/2xx": charged}
        assert not any(b"loadtest" in head for head in real.heads)
