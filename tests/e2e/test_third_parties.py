"""Third parties at a real sidecar: the example of docs/egress.md, word for word, and charges that reconcile exactly."""

import asyncio
import contextlib
import json
import re
import signal
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import yaml

from tests.support.authority import Authority
from tests.support.processes import ROOT, Process, eventually, free_port, run
from tests.support.provider import Provider, provider
from tests.support.stack import Stack, stack

NAMES = ("api.stripe.com", "api.sendgrid.com")


def example() -> str:
    """The worked example's configuration."""
    section = (ROOT / "docs/egress.md").read_text().partition("### A card charge and an e-mail")[2]
    found = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


def config(folder: Path, text: str) -> Path:
    path = folder / "reamp.yaml"
    path.write_text(text)
    return path


@dataclass
class Running:
    site: Stack
    process: Process
    port: int
    real: Provider

    def client(self) -> httpx.AsyncClient:
        """The app's: all that it calls goes through the egress, whose authority it trusts."""
        trust = ssl.create_default_context(cafile=self.site.folder / "state/egress/mitmproxy-ca-cert.pem")
        proxy, limits = f"http://127.0.0.1:{self.port}", httpx.Limits(max_connections=100)
        return httpx.AsyncClient(proxy=proxy, verify=trust, trust_env=False, timeout=30, limits=limits)

    def tagged(self) -> dict[str, str]:
        return dict(self.site.tagged())

    def calls(self) -> Counter[tuple[str, str, str]]:
        """What the metrics say."""
        text = httpx.get(f"{self.site.control}/metrics", trust_env=False).text
        counted: Counter[tuple[str, str, str]] = Counter()
        for labels, count in re.findall(r"^reamp_egress_calls_total\{(.*?)\} ([0-9.]+)$", text, re.MULTILINE):
            values = dict(re.findall(r'(\w+)="(\w+)"', labels))
            counted[values["kind"], values["by"], values["outcome"]] = int(float(count))
        assert counted
        return counted

    async def counts(self, before: Counter[tuple[str, str, str]], expected: dict[tuple[str, str, str], int]) -> None:
        """Wait until the metrics say that just these calls came since."""
        await asyncio.to_thread(eventually, lambda: self.calls() - before == Counter(expected))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A sidecar with the example's configuration, before a provider that answers by all its names."""
    folder = tmp_path_factory.mktemp("third")
    authority = Authority(folder, "theirs")
    async with provider(authority.serving(authority.issue("provider", *NAMES, "127.0.0.1"))) as real:
        settings = yaml.safe_load(example())
        there = [f"{name}=https://127.0.0.1:{real.port}" for name in NAMES]
        into = [*settings["sidecar"]["egress_intercept"], "127.0.0.1"]
        # The provider is on loopback, which is inside unless somebody says otherwise.
        settings["sidecar"] |= {"egress_map": there, "egress_intercept": into, "inside": ["*.shop.example"]}
        port = free_port()
        options = {
            "config": str(config(folder, yaml.safe_dump(settings))),
            "egress": f"127.0.0.1:{port}",
            "egress-ca": str(authority.trust),
            "max-extra": "100%",
        }
        with contextlib.ExitStack() as opened:
            site = opened.enter_context(stack(folder))
            process = opened.enter_context(await asyncio.to_thread(lambda: site.sidecar(**options)))
            yield Running(site, process, port, real)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_example_of_the_documents(here: Running) -> None:
    """A card charge and an e-mail: answered like the real thing, and nobody is asked; a user's are made."""
    form = {"amount": "4200", "currency": "eur", "description": 'for "you"'}
    mail = {"personalizations": [{"to": [{"email": "a@shop.example"}]}]}
    stripe, sendgrid = "https://api.stripe.com/v1/charges", "https://api.sendgrid.com/v3/mail/send"
    synthetic, before = here.tagged(), here.calls()
    async with here.client() as client:

        async def charge(key: str) -> httpx.Response:
            return await client.post(stripe, data=form, headers={**synthetic, "idempotency-key": key})

        answers = await asyncio.gather(*(charge(f"order-{n}") for n in range(150)))
        charged = {n: answer for n, answer in enumerate(answers) if answer.status_code == 200}
        declined = [answer.json() for answer in answers if answer.status_code == 402]
        assert len(charged) + len(declined) == 150
        assert 1 <= len(declined) <= 10
        assert {one["error"]["code"] for one in declined} == {"card_declined"}
        made = [answer.json() for answer in charged.values()]
        assert {(one["amount"], one["currency"], one["description"], one["paid"]) for one in made} == {
            (4200, "eur", 'for "you"', True)
        }
        assert len({one["id"] for one in made}) == len(made)
        number, first = next(iter(charged.items()))
        assert first.headers["request-id"] == "req_" + first.json()["id"].removeprefix("ch_")
        assert (await charge(f"order-{number}")).json() == first.json()

        mailed = await client.post(sendgrid, json=mail, headers=synthetic)
        assert (mailed.status_code, mailed.content) == (202, b"")
        assert re.fullmatch("[A-Za-z0-9]{24}", mailed.headers["x-message-id"])
        refund = await client.post("https://api.stripe.com/v1/refunds", data=form, headers=synthetic)
        assert (refund.status_code, refund.json()["type"]) == (403, "urn:reamp:third-party-blocked")
        parcel = await client.post("http://eu.shipping.example/parcels", headers=synthetic)
        assert (parcel.status_code, parcel.json()) == (503, {"error": "no parcels in a load test"})
        assert here.real.connections == 0

        balance = await client.get("https://api.stripe.com/v1/balance", headers=synthetic)
        assert balance.json()["id"] == "real_1"
        assert b"loadtest" not in here.real.heads[0].lower()
        assert b"x-load-test" not in here.real.heads[0].lower()
        assert (await client.post(stripe, data=form)).json()["id"] == "real_2"
        assert (await client.post(sendgrid, json=mail)).json()["id"] == "real_3"
        assert json.loads(here.real.requests[2][1]) == mail
    expected = {
        ("synthetic", "tag", "stubbed"): 152,
        ("synthetic", "tag", "blocked"): 2,
        ("synthetic", "tag", "2xx"): 1,
        ("unattributed", "nothing", "2xx"): 2,
    }
    await here.counts(before, expected)
    shown = await asyncio.to_thread(run, "status", "--sidecar", here.site.control)
    assert "152 stubbed" in shown.stdout
    assert "2 blocked" in shown.stdout
    output = here.process.output
    assert "third parties: 4 rules; every other synthetic call to one is blocked" in output
    assert "beware: TLS to *.shipping.example is not looked into" in output


@pytest.mark.asyncio(loop_scope="module")
async def test_charges_reconcile_exactly_for_an_app_that_only_passes_traces_on(here: Running) -> None:
    """Real and synthetic requests come in, each with its trace; what the app calls is known by nothing else."""

    def trace(number: int) -> str:
        return f"00-{number + 1:032x}-{number + 1:016x}-01"

    async with httpx.AsyncClient(base_url=here.site.url, trust_env=False) as users:
        for number in range(40):
            # Each real one earns the credit for the synthetic one after it.
            fields = here.tagged() if number % 2 else {}
            came = await users.get("/", headers={**fields, "traceparent": trace(number)})
            assert came.status_code == 200
    before, seen, connections = here.calls(), len(here.real.requests), here.real.connections
    answered: dict[str, httpx.Response] = {}

    async def serve(client: httpx.AsyncClient, number: int) -> None:
        for count in range(6):
            order = f"{number}-{count}"
            url = f"{'https' if count % 2 else 'http'}://api.stripe.com/v1/charges"
            form = {"order": order, "amount": "1", "currency": "eur"}
            answered[order] = await client.post(url, data=form, headers={"traceparent": trace(number)})

    async with here.client() as client, asyncio.TaskGroup() as tasks:
        for number in range(40):
            tasks.create_task(serve(client, number))
    stubbed = {order for order, answer in answered.items() if "reamp-third-party" in answer.headers}
    assert stubbed == {f"{number}-{count}" for number in range(1, 40, 2) for count in range(6)}
    assert {answered[order].status_code for order in stubbed} <= {200, 402}
    assert {answer.status_code for order, answer in answered.items() if order not in stubbed} == {200}
    assert sorted(here.real.orders[seen:]) == sorted(set(answered) - stubbed)
    assert here.real.connections - connections < 100  # they were reused
    assert not any(b"loadtest" in head for head in here.real.heads)
    await here.counts(before, {("synthetic", "trace", "stubbed"): 120, ("real", "trace", "2xx"): 120})


@pytest.mark.asyncio(loop_scope="module")
async def test_rules_are_read_again_without_losing_a_call(here: Running) -> None:
    """SIGHUP: a new process answers by the new rules; a wrong one leaves the old ones in force."""
    file, connections = here.site.folder / "reamp.yaml", here.real.connections
    good = file.read_text()
    assert "status: 202" in good

    async def ask() -> int:
        async with here.client() as client:
            url = "http://api.sendgrid.com/v3/mail/send"
            return (await client.post(url, headers=here.tagged())).status_code

    assert await ask() == 202
    file.write_text(good.replace("status: 202", "status: 9999"))
    here.process.signal(signal.SIGHUP)
    await asyncio.to_thread(eventually, lambda: "third_parties.2.status" in here.process.output)
    assert await ask() == 202
    file.write_text(good.replace("status: 202", "status: 203"))
    here.process.signal(signal.SIGHUP)
    async with asyncio.timeout(30):
        while (status := await ask()) != 203:
            assert status == 202
    assert here.real.connections == connections


def test_a_wrong_rule_stops_the_start(tmp_path: Path) -> None:
    text = (
        "sidecar:\n  upstream: http://a\n  egress: 127.0.0.1:8902\n  third_parties:\n"
        "    - {match: a.b, action: stub, status: 7}\n"
    )
    done = run("sidecar", "--config", str(config(tmp_path, text)))
    assert done.returncode == 104
    assert "third_parties.0.status in" in done.stderr
    assert ", line 5: " in done.stderr
    assert "Traceback" not in done.stderr
