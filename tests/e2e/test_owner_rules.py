"""The owner's rules at a real sidecar: `reamp sidecar --slo`."""

import asyncio
import signal

import httpx

from tests.support.client import Client
from tests.support.processes import eventually, run
from tests.support.stack import Stack


async def test_a_breach_under_load_pulls_the_lever_and_a_reload_brings_another_rule(site: Stack) -> None:
    config = site.folder / "reamp.yaml"
    config.write_text(
        "sidecar:\n  max_extra: 100%\n"
        "  slo: ['error_ratio<10% window=1m for=0s grace=0s min_samples=5', 'p(95)<10s action=warn']\n"
    )

    async def visit(path: str, tagged: bool = False) -> int:
        async with Client(site.url) as client:
            headers = site.tagged() if tagged else []
            return (await client.request("GET", path, headers, b"")).status

    with site.sidecar(config=str(config)) as sidecar:
        for _ in range(20):
            assert await visit("/broken") == 500
        # Users suffer, and it is known; but not from a load, so nothing happens.
        eventually(lambda: site.state().slo[0].value == 1)
        assert [judged.state for judged in site.state().slo] == ["idle", "idle"]
        assert not site.state().lever.engaged
        statuses = []
        async with asyncio.timeout(15):
            while not site.state().lever.engaged:
                assert await visit("/broken") == 500
                statuses.append(await visit("/item/1", tagged=True))
                await asyncio.sleep(0.02)
        assert statuses.count(200) > 1
        lever = site.state().lever
        assert lever.by == "rule"
        assert lever.reason.startswith("error_ratio<10% does not hold: 100% (")
        assert await visit("/item/1", tagged=True) == 503
        assert await visit("/item/1") == 200
        eventually(lambda: [judged.state for judged in site.state().slo] == ["idle", "idle"])
        shown = " ".join(run("status", "--sidecar", site.control).stdout.split())
        assert "p(95)<10s: " in shown
        assert "and no synthetic requests pass" in shown
        assert "pulled by rule" in shown
        metrics = httpx.get(f"{site.control}/metrics", trust_env=False).text
        assert 'reamp_slo_breached{rule="error_ratio<10% window=1m' in metrics
        config.write_text("sidecar:\n  max_extra: 100%\n  slo: ['p(99)<2s']\n")
        sidecar.signal(signal.SIGHUP)
        eventually(lambda: [judged.expression for judged in site.state().slo] == ["p(99)<2s"], 40)
        assert site.state().lever.engaged
