"""One sidecar of several processes: what happens to real users and to synthetic load when one of them fails."""

import asyncio
import contextlib
import fcntl
import os
import re
import resource
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import httpx
import pytest

from rules.exits import Exit
from rules.wire import Lever, Worker
from tests.support.client import Client
from tests.support.crowd import Crowd
from tests.support.processes import Process, alive, answers, eventually, free_port, gone, run
from tests.support.stack import Stack

TWO = {"workers": "2"}


def serving(site: Stack) -> list[Worker]:
    return [worker for worker in site.state().workers if worker.state == "serving"]


def pids(site: Stack) -> set[int]:
    return {worker.pid for worker in serving(site)}


def replaced(site: Stack, pid: int) -> bool:
    return len(pids(site) - {pid}) == 1


def said(sidecar: Process, words: str) -> bool:
    return words in sidecar.output


def listeners(port: int) -> int:
    """How many sockets listen on a port of this machine."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(fields[1].endswith(f":{port:04X}") and fields[3] == "0A" for fields in lines)


async def statuses(site: Stack, count: int, headers: Sequence[tuple[str, str]] = ()) -> list[int]:
    """Ask over so many connections of their own, which the kernel spreads over the workers."""
    found = []
    for _ in range(count):
        async with Client(site.url) as client, asyncio.timeout(15):
            found.append((await client.request("GET", "/", list(headers))).status)
    return found


@pytest.mark.timeout(120)
def test_kill_9_of_one_worker_costs_its_own_requests_and_nothing_else(site: Stack) -> None:
    with site.sidecar(**TWO) as sidecar:
        with (
            Crowd(site.url, 150) as crowd,
            Crowd(site.url, 100, "synthetic", site.tagged(), fresh=True),
        ):
            eventually(lambda: site.state().accounting.written > 150)
            open_connections = 2 * len(crowd._idle) + 20  # those in use at the moment included
            victim, other = serving(site)
            os.kill(victim.pid, signal.SIGKILL)
            killed_ns = time.time_ns()
            eventually(lambda: len(pids(site) - {victim.pid}) == 2, 30)
            assert other.pid in pids(site)
            assert sum(worker.restarts for worker in serving(site)) == 1
            failed, answered = len(crowd.failed), crowd.answered
            eventually(lambda: crowd.answered > answered + 150, 30)
            assert run("stop", "--sidecar", site.control, "--reason", "enough").returncode == 0
            stopped_ns = time.time_ns()
            answered = crowd.answered
            eventually(lambda: crowd.answered > answered + 50, 30)
        eventually(lambda: site.state().accounting.pending == 0)
        state = site.state()
        assert sidecar.stop() == 0
        assert said(sidecar, f"Worker {victim.pid} was killed by SIGKILL; another one starts at once")

    # Nobody was refused, some lost their connection, and after that nobody did.
    assert len(crowd.failed) == failed <= open_connections
    assert not [failure for failure in crowd.failed if failure.isdecimal()]
    # The other worker went on meanwhile, in the time in which no replacement can have been there yet.
    seen = site.seen_by_app()
    assert [at for at, its_run, *_ in seen if its_run == "-" and 0 < at - killed_ns < 500_000_000]
    # The ceiling held at every moment, as the app saw it, also over the death.
    real = synthetic = 0
    for _, its_run, *_ in seen:
        real += its_run == "-"
        synthetic += its_run != "-"
        assert synthetic <= 0.25 * (real + failed) + 16  # what is on its way at once may overtake each other
    assert synthetic > 0
    assert not [at for at, its_run, *_ in seen if its_run != "-" and at > stopped_ns]
    # The accounts are exact, and say what is on the disk.
    assert state.accounting.reconciles()
    assert state.accounting.written == len(site.records())
    assert state.accounting.seen == sum(sum(outcomes.values()) for outcomes in state.requests.values())


@pytest.mark.timeout(120)
async def test_without_a_supervisor_real_users_go_on_and_synthetic_load_ends(site: Stack) -> None:
    changes = {"max-extra": "100%", **TWO}
    with site.sidecar(**changes) as sidecar:
        orphans = pids(site)
        assert set(await statuses(site, 10)) == {200}
        assert 200 in await statuses(site, 5, site.tagged())
        with contextlib.ExitStack() as stack:
            successor = stack.enter_context(contextlib.ExitStack())
            crowd = stack.enter_context(Crowd(site.url, 100))
            fresh = stack.enter_context(Crowd(site.url, 50, "fresh", fresh=True))
            os.kill(sidecar.pid, signal.SIGKILL)
            sidecar.wait()
            killed_ns = time.time_ns()
            assert set(await statuses(site, 10, site.tagged())) == {429}
            assert all(alive(pid) for pid in orphans)
            assert set(await statuses(site, 10)) == {200}
            successor.enter_context(site.sidecar(**changes))
            await asyncio.to_thread(eventually, partial(gone, orphans), 40)
            assert len(pids(site) - orphans) == 2
            answered = crowd.answered
            eventually(lambda: crowd.answered > answered + 50, 30)
            assert 200 in await statuses(site, 10, site.tagged())
            taken_over_ns = site.state().started * 1e9
        assert (crowd.failed, fresh.failed) == ([], [])
    synthetic = [at for at, its_run, *_ in site.seen_by_app() if its_run != "-"]
    assert not [at for at in synthetic if killed_ns < at < taken_over_ns]


@pytest.mark.timeout(180)
def test_a_reload_loses_nothing(site: Stack) -> None:
    config = site.folder / "reamp.yaml"

    def write(**settings: str) -> None:
        lines = [f"  {name}: {value}" for name, value in settings.items()]
        config.write_text("\n".join(["sidecar:", *lines]))

    def reload(words: str) -> None:
        before = sidecar.output.count(words)
        sidecar.signal(signal.SIGHUP)
        eventually(lambda: sidecar.output.count(words) > before, 40)

    write(max_extra="10%")
    with site.sidecar(config=str(config), **TWO) as sidecar:
        before = pids(site)
        with Crowd(site.url, 100) as crowd, Crowd(site.url, 50, "fresh", fresh=True) as fresh:
            for share in ("20%", "30%", "40%"):
                write(max_extra=share)
                reload("Reloaded")
                assert len(pids(site)) == 2
                assert not pids(site) & before
                assert str(site.state().max_extra) == share
                eventually(partial(gone, before), 50)
                before = pids(site)
            # What is wrong changes nothing, whoever finds it.
            for wrong, words in ({"max_extra": "50"}, "write it like 25%"), ({"queue_size": "512B"}, "queue_size"):
                write(**wrong)
                reload("Not reloaded")
                assert words in sidecar.output
                assert pids(site) == before
            write(max_extra="40%", workers="3", listen="127.0.0.1:1")
            reload("Reloaded")
        assert (crowd.failed, fresh.failed) == ([], [])
        eventually(lambda: site.state().accounting.pending == 0)
        accounting = site.state().accounting
        assert accounting.reconciles()
        assert accounting.written == accounting.seen == crowd.sent + fresh.sent
        assert sidecar.stop() == 0
        assert "Traceback" not in sidecar.output
    assert len(site.records()) == accounting.written
    assert run("captures", "verify", str(site.captures)).returncode == 0


async def test_sigterm_under_load_lets_all_requests_finish(site: Stack) -> None:
    with site.sidecar(**TWO) as sidecar:
        clients = [Client(site.url) for _ in range(12)]
        asked = [asyncio.create_task(client.request("GET", "/slow?seconds=1.5")) for client in clients]
        while len(site.seen_by_app()) < len(clients):
            await asyncio.sleep(0.01)
        sidecar.signal(signal.SIGTERM)
        # Whom nobody will answer is not let in, while those who are in still wait.
        await asyncio.to_thread(eventually, lambda: not answers(site.listen)(), 1)
        assert not any(answer.done() for answer in asked)
        assert {(await answer).status for answer in asked} == {200}
        assert await asyncio.to_thread(sidecar.wait) == 0
        for client in clients:
            client.close()
    assert len(site.records()) == 12
    assert run("captures", "verify", str(site.captures)).returncode == 0


def test_a_worker_that_dies_again_and_again_is_started_less_and_less_often(site: Stack) -> None:
    with site.sidecar() as sidecar:
        for when in ("at once", "in 0.25 s", "in 0.5 s"):
            (pid,) = pids(site)
            os.kill(pid, signal.SIGKILL)
            eventually(partial(said, sidecar, f"Worker {pid} was killed by SIGKILL; another one starts {when}"))
            eventually(partial(replaced, site, pid), 30)
        assert httpx.get(site.url, trust_env=False).status_code == 200
        (worker,) = serving(site)
        assert worker.restarts == 3
        assert "reamp_worker_restarts_total 3.0" in httpx.get(f"{site.control}/metrics", trust_env=False).text
        assert "3 died in its place" in run("status", "--sidecar", site.control).stdout


def test_a_setting_that_a_worker_finds_wrong_is_told_like_any_other(site: Stack) -> None:
    started = run("sidecar", *site.options(**{"queue-size": "512B", **TWO}))
    assert started.returncode == 104
    assert "queue_size" in started.stderr
    assert "Traceback" not in started.stderr


@pytest.mark.timeout(120)
async def test_workers_that_hang_keep_neither_the_control_port_nor_users_waiting(site: Stack) -> None:
    with site.sidecar(**{"max-extra": "100%"}, **TWO) as sidecar:
        both = sorted(pids(site))
        assert set(await statuses(site, 10)) == {200}
        os.kill(both[0], signal.SIGSTOP)
        eventually(lambda: [worker.state for worker in site.state().workers].count("stalled") == 1, 20)
        assert set(await statuses(site, 20)) == {200}  # the other one accepts for it
        assert "hangs" in run("status", "--sidecar", site.control).stdout
        os.kill(both[1], signal.SIGSTOP)
        slowest = 0.0
        for _ in range(20):
            began = time.monotonic()
            assert site.state().accounting.reconciles()
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 1
        assert run("stop", "--sidecar", site.control, "--reason", "hung").returncode == 0
        os.kill(both[1], signal.SIGCONT)
        eventually(lambda: len(pids(site)) == 1)
        assert set(await statuses(site, 10)) == {200}
        assert set(await statuses(site, 10, site.tagged())) == {503}
        # Even so it ends when it is told to.
        sidecar.signal(signal.SIGTERM)
        assert sidecar.wait(30) == 0
    assert re.search(r"Worker \d+ did not end within \d+ s: killed", sidecar.output)


async def test_an_orphan_that_dies_takes_nobody_in_any_more(site: Stack) -> None:
    with site.sidecar(**TWO) as sidecar:
        one, _other = pids(site)
        os.kill(sidecar.pid, signal.SIGKILL)
        sidecar.wait()
        await asyncio.to_thread(eventually, lambda: sidecar.output.count("The supervisor is gone") == 2)
        os.kill(one, signal.SIGKILL)
        await asyncio.to_thread(eventually, lambda: not alive(one))
        # A thread that is still ending holds the socket for a moment longer than the process is seen.
        await asyncio.to_thread(eventually, lambda: listeners(site.listen) == 1)
        assert set(await statuses(site, 20)) == {200}


def test_workers_do_not_know_the_token_of_the_control_port(site: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REAMP_SIDECAR_CONTROL_TOKEN", "hush-hush")
    with site.sidecar() as sidecar:
        (worker,) = pids(site)
        assert b"hush-hush" in Path(f"/proc/{sidecar.pid}/environ").read_bytes()
        assert b"hush-hush" not in Path(f"/proc/{worker}/environ").read_bytes()


def test_they_may_hold_more_connections_than_most_systems_give_a_process_to_begin_with(site: Stack) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        with site.sidecar() as sidecar:
            for pid in (sidecar.pid, *pids(site)):
                assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (min(hard, 65_536), hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_lowered_ceiling_holds_although_a_worker_hangs_that_holds_the_books(site: Stack) -> None:
    config = site.folder / "reamp.yaml"
    config.write_text("sidecar:\n  max_extra: 100%")
    with site.sidecar(config=str(config), **TWO) as sidecar:
        assert set(await statuses(site, 30)) == {200}
        assert 200 in await statuses(site, 3, site.tagged())
        books, *_ = [
            file for file in Path(f"/proc/{sidecar.pid}/fd").iterdir() if "reamp-books" in str(file.readlink())
        ]
        with books.open("rb+") as held:
            fcntl.lockf(held, fcntl.LOCK_EX, 1)
            config.write_text("sidecar:\n  max_extra: 10%")
            sidecar.signal(signal.SIGHUP)
            await asyncio.to_thread(eventually, partial(said, sidecar, "Reloaded"), 40)
            assert said(sidecar, "holds the books")
            assert set(await statuses(site, 10)) == {200}
        await asyncio.to_thread(eventually, partial(said, sidecar, "The new ceiling holds: 10%"))
        assert str(site.state().max_extra) == "10%"
        assert set(await statuses(site, 3, site.tagged())) == {429}
        assert set(await statuses(site, 30)) == {200}
        assert 200 in await statuses(site, 3, site.tagged())


async def test_the_lever_stops_all_workers_at_once(site: Stack) -> None:
    with site.sidecar(**{"max-extra": "100%"}, **TWO):
        clients = [Client(site.url) for _ in range(24)]
        for client in clients:
            assert (await client.request("GET", "/")).status == 200
        tagged = site.tagged()
        assert 200 in {(await client.request("GET", "/", tagged)).status for client in clients}
        async with httpx.AsyncClient(base_url=site.control, trust_env=False) as control:
            order = {"engaged": True, "reason": "enough"}
            answer = await control.post("/v1/lever", json=order)
            assert Lever.model_validate_json(answer.content).engaged
        assert {(await client.request("GET", "/", tagged)).status for client in clients} == {503}
        for client in clients:
            assert (await client.request("GET", "/")).status == 200
            client.close()


def test_a_state_folder_remembers_the_lever_of_one_sidecar(site: Stack) -> None:
    """Two with ports of their own would write theirs into one file: a reset of one would let go of the other."""
    with site.sidecar() as first:
        other = {"listen": f"127.0.0.1:{free_port()}", "control": f"127.0.0.1:{free_port()}"}
        second = run("sidecar", *site.options(**other))
        assert second.returncode == Exit.FAILED
        assert f"{site.folder / 'state'} is in use by another sidecar" in " ".join(second.stderr.split())
        assert "--state" in second.stderr
        first.signal(signal.SIGKILL)
        first.wait()
    with site.sidecar():  # and one that is dead holds nothing, though its workers may
        assert httpx.get(site.url, trust_env=False).status_code == 200


def test_a_port_that_somebody_else_holds_is_told(site: Stack) -> None:
    """Also where that is a sidecar with its state elsewhere."""
    with site.sidecar():
        other = {"state": str(site.folder / "elsewhere"), "control": "127.0.0.1:0"}
        again = run("sidecar", *site.options(**other))
    assert again.returncode == Exit.FAILED
    assert "in use" in again.stderr
    assert "Traceback" not in again.stderr
