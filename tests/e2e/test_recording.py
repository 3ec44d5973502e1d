"""What a real sidecar of several workers records, what it keeps, and what becomes of traffic when it can't."""

import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import httpx
import pytest

from captures.reader import Capture
from captures.redaction import load_key
from captures.sampling import Sampler, SessionBy
from rules.units import Share
from tests.support.client import Client
from tests.support.processes import eventually, run
from tests.support.stack import Stack

TWO = {"workers": "2"}


def metric(site: Stack, name: str) -> float:
    lines = httpx.get(f"{site.control}/metrics", trust_env=False).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.split(" ")[0].partition("{")[0] == name)


def settled(site: Stack) -> bool:
    return site.state().accounting.pending == 0


def sampled(site: Stack, share: str) -> set[int]:
    """The sessions that whoever has the key records."""
    sampler = Sampler(load_key(site.folder / "state" / "redaction.key"), Share.parse(share), SessionBy.parse("auto"))
    return {number for number in range(60) if sampler.takes(((b"cookie", b"sid=%d" % number),), "")}


async def visit(site: Stack, turn: int) -> None:
    """60 sessions of three requests each, every request over a connection of its own: any worker may get it."""
    for number in range(60):
        cookie = [("cookie", f"seen={turn}; sid={number}")]
        for method, path, body in (("GET", f"/item/{number}", b""), ("POST", "/cart", b"{}"), ("GET", "/missing", b"")):
            async with Client(site.url) as client:
                assert (await client.request(method, path, cookie, body)).status < 500


@pytest.mark.timeout(120)
async def test_whole_sessions_are_recorded_by_every_worker_alike_also_after_a_restart_and_a_reload(site: Stack) -> None:
    config = site.folder / "reamp.yaml"
    config.write_text("sidecar:\n  except: ~c 404\n  sample: 30%\n")
    for turn in range(2):
        with site.sidecar(config=str(config), **TWO) as sidecar:
            await visit(site, turn)
            eventually(lambda: settled(site))
            taken = sampled(site, "30%")
            assert 5 < len(taken) < 40
            accounting = site.state().accounting
            assert (accounting.seen, accounting.written) == (180, 2 * len(taken))
            assert (accounting.filtered, accounting.sampled_out) == (len(taken), 180 - 3 * len(taken))
            assert metric(site, "reamp_capture_records_total") == 180
            if turn:
                config.write_text("sidecar:\n  except: ~c 404\n  sample: 60%\n")
                sidecar.signal(signal.SIGHUP)
                eventually(lambda: "Reloaded" in sidecar.output, 40)
                await visit(site, 2)
                eventually(lambda: settled(site))
                assert sampled(site, "60%") > taken
    by_segment = [(s.header, list(s.records())) for s in Capture(site.captures).segments]
    per_writer = Counter(header.writer for header, records in by_segment if header for _ in records)
    assert len(per_writer) > 3, "workers shared the traffic"
    assert {header.extra["recorded"]["sample"] for header, records in by_segment if header} == {"30%", "60%"}
    said = [f"recorded were only {share} of the sessions (by auto), --except ~c 404" for share in ("30%", "60%")]
    half = site.folder / "half"
    assert run("captures", "slice", str(site.captures), "--only", "~m GET", "-o", str(half)).returncode == 0
    for folder in (site.captures, half):
        for tool in ("ls", "stats"):
            assert set(said) <= set(run("captures", tool, str(folder)).stdout.splitlines())
    paths = Counter(one.path for one in site.records() if one.path != "/cart")
    assert paths == {f"/item/{n}": 3 if n in taken else 1 for n in sampled(site, "60%")}, (
        "each of them in every turn, and no other"
    )
    assert run("captures", "verify", str(site.captures)).returncode == 0


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("only", "~nonsense", "there is no operator ~nonsense"),
        ("except", "~u [", "reamp_except"),
        ("sample", "2", "--sample"),
        ("bodies", "image/*", "is no rule for bodies"),
        ("max-bytes", "1MiB", "Allow at least 128MiB"),
    ],
)
def test_what_cannot_be_is_told_at_the_start(site: Stack, option: str, value: str, words: str) -> None:
    started = run("sidecar", *site.options(**{option: value}))
    assert started.returncode == 104
    assert words in started.stderr
    assert "Traceback" not in started.stderr


@pytest.mark.timeout(120)
async def test_what_is_too_much_goes_and_is_counted_and_told(site: Stack) -> None:
    small = {"segment-size": "1KiB", "flush": "50ms", **TWO}
    with site.sidecar(**small):
        for turn in range(8):
            async with Client(site.url) as client:
                for number in range(40):
                    await client.request("GET", f"/item/{number}?{turn}", [("x-noise", f"{turn * number:x}" * 20)])
            eventually(lambda: settled(site))
    before = sum(file.stat().st_size for file in site.captures.glob("*.reamp"))
    count = len(list(site.captures.glob("*.reamp")))
    assert before > 6000
    assert count >= 8
    with site.sidecar(**{"max-bytes": "4KiB", "fsync": "block", **small}) as sidecar:
        eventually(lambda: metric(site, "reamp_capture_removed_segments_total"))
        removed = metric(site, "reamp_capture_removed_bytes_total")
        left = list(site.captures.glob("*.reamp"))
        assert sum(file.stat().st_size for file in left) >= before - removed
        assert sum(file.stat().st_size for file in left) <= 4096 + 2 * 2048, "but for what is in use"
        assert "--max-bytes" in sidecar.output
        assert metric(site, "reamp_capture_healthy") == 1
    assert run("captures", "verify", str(site.captures)).returncode == 0


@pytest.mark.timeout(120)
async def test_a_folder_that_is_gone_costs_records_and_never_a_request(site: Stack) -> None:
    with site.sidecar(**{"flush": "100ms", "queue-size": "512KiB", "bodies": "*=keep"}) as sidecar:
        async with Client(site.url) as client:
            sent = 0

            async def post(size: int = 2) -> None:
                nonlocal sent
                assert (await client.request("POST", "/cart", body=os.urandom(size))).status == 201
                sent += 1

            await post()
            eventually(lambda: settled(site))
            shutil.rmtree(site.captures)
            Path(site.captures).write_text("in the way")
            while site.state().accounting.dropped < 3:
                await post(60_000)
                assert sent < 500
            eventually(lambda: not site.state().capturing)
            assert metric(site, "reamp_capture_healthy") == 0
            assert site.state().accounting.reconciles()
            assert sidecar.output.count("cannot write") == 1
            site.captures.unlink()
            eventually(lambda: site.state().capturing)
            await post()
            eventually(lambda: settled(site))
            accounting = site.state().accounting
            assert (accounting.seen, accounting.written + accounting.dropped) == (sent, sent)
    assert len(site.seen_by_app()) == sent
    assert len(site.records()) == accounting.written - 1, "all but what lay in the folder that was removed"
    assert run("captures", "verify", str(site.captures)).returncode == 0
