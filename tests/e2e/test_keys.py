"""Keys over the life of a sidecar: exchanged without a gap, and taken out of use at once, under a live replay."""

import contextlib
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from loadtag import keys
from replayer.books.folder import read_report
from replayer.books.report import Report
from rules.exits import Exit
from tests.support.crowd import Crowd
from tests.support.processes import Process, eventually, reamp, run
from tests.support.recording import record, write
from tests.support.stack import AUDIENCE, Stack


@contextlib.contextmanager
def replaying(site: Stack, name: str) -> Iterator[Process]:
    """A live replay with the key of this name that has begun to send."""
    command = reamp(
        *(
            "replay",
            str(site.folder / "recorded"),
            "--to",
            site.url,
            "--no-preflight",
            "--sidecar",
            site.control,
            "--amplify",
            "1.5x",
        ),
        *("--key", str(site.folder / f"{name}.key"), "--runs", str(site.folder / name), "--duration", "5m"),
        *("--signal-timeout", "1s", "--no-preflight"),
    )
    before = len(synthetic(site))
    with Process(command, site.folder / f"{name}.out") as process:
        eventually(lambda: len(synthetic(site)) > before + 20 or not process.running(), 30)
        assert process.running(), process.output
        yield process


def synthetic(site: Stack) -> list[int]:
    """When synthetic requests reached the app (unix ns)."""
    return [at for at, its_run, *_ in site.seen_by_app() if its_run != "-"]


def report(site: Stack, name: str) -> Report:
    (folder,) = (site.folder / name).iterdir()
    return read_report(folder)


def ask(site: Stack, version: str, headers: dict[str, str]) -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", site.listen), 5) as asking:
        asking.sendall(f"GET / HTTP/{version}\r\nHost: shop\r\nConnection: close\r\n{fields}\r\n".encode())
        return b"".join(iter(lambda: asking.recv(65536), b""))


def key_id(path: Path) -> str:
    return keys.load_private(path).key_id


@pytest.mark.timeout(120)
def test_keys_are_exchanged_without_a_refused_request_and_one_that_is_revoked_stops_its_run(site: Stack) -> None:
    old, new = keys.generate(site.folder, "old"), keys.generate(site.folder, "new")
    ring, revoked = site.folder / "ring.pub", site.folder / "revoked.txt"
    ring.write_text(old[1].read_text())
    revoked.touch()
    write(site.folder / "recorded", [record(i * 0.01, f"/item/{i}") for i in range(300)])

    def reload() -> None:
        before = sidecar.output.count("Reloaded")
        sidecar.signal(signal.SIGHUP)
        eventually(lambda: sidecar.output.count("Reloaded") > before, 40)

    options = {"public-key": str(ring), "revoked": str(revoked), "max-extra": "100%"}
    with site.sidecar(**options) as sidecar, Crowd(site.url, 100) as crowd:
        with replaying(site, "old") as first:
            ring.write_text(old[1].read_text() + new[1].read_text())
            reload()
            with replaying(site, "new") as second:
                first.signal(signal.SIGINT)
                assert first.wait() == Exit.INTERRUPTED
                ring.write_text(new[1].read_text())
                reload()
                before = len(synthetic(site))
                eventually(lambda: len(synthetic(site)) > before + 20)
                assert second.running(), second.output

                done = run("keys", "revoke", key_id(new[0]), "--list", str(revoked), "--reason", "the test")
                revoked_ns = time.time_ns()
                assert done.returncode == 0, done.stderr
                assert second.wait() == Exit.SIGNAL_LOST
        answered = crowd.answered
        eventually(lambda: crowd.answered > answered + 20)
        output = sidecar.output
    assert crowd.failed == []
    for name in ("old", "new"):
        found = report(site, name).accounts
        assert found.reconciles()
        assert found.answered > 20
        # What was on its way when the key was revoked may have been refused, nothing before that, and by the sidecar.
        assert set(found.statuses) == {200}
        assert found.withheld["tag"] == 0 or name == "new"
    assert f"The key {key_id(new[0])} was revoked" in report(site, "new").reason
    assert max(synthetic(site)) - revoked_ns < 1e9
    assert f"Revoked: key {key_id(new[0])}" in output
    assert re.search(r"Run \S+ gets nothing any more: The key \S+ was revoked", output)
    # What was refused did not reach the app without its tag either.
    assert {request.partition("-")[0] for _, its_run, request, *_ in site.seen_by_app() if its_run == "-"} == {"real"}


def test_a_key_that_is_over_by_its_public_file_is_refused_in_both_lanes(site: Stack) -> None:
    """Though its private file knows nothing of it."""
    private, public = keys.generate(site.folder, "over")
    signer = keys.load_private(private)
    pem = public.read_text().partition("\n")[2]
    public.write_text(f"Key-Id: {signer.key_id}\nNot-After: 2026-01-01T00:00:00Z\n{pem}")
    headers = dict(site.tagged(token=signer.sign("run-1", int(time.time()) + 60, AUDIENCE)))
    with site.sidecar(**{"public-key": str(public), "max-extra": "100%"}) as sidecar:
        assert httpx.get(site.url, trust_env=False).status_code == 200
        refused = httpx.get(f"{site.control}/v1/credits", headers=headers, trust_env=False)
        lanes = [ask(site, version, headers) for version in ("1.1", "1.0")]  # the second one in the full lane
        output = sidecar.output
    assert f"The key {signer.key_id} has expired" in output
    assert refused.status_code == 403
    assert f"The key {signer.key_id} has expired" in refused.json()["detail"]
    assert [answer.partition(b"\r\n")[0] for answer in lanes] == [b"HTTP/1.1 403 Forbidden"] * 2
    assert all(b"its key has expired" in answer and b"\r\nreamp-withheld: tag\r\n" in answer for answer in lanes)
    assert len(site.seen_by_app()) == 1


def test_a_list_of_revocations_that_is_lost_stops_synthetic_traffic_and_nobody_else(site: Stack) -> None:
    """Not even a sidecar that is started without it, nor the worker that takes the place of one that died."""
    revoked = site.folder / "revoked.txt"

    def answers(tagged: bool) -> int:
        return httpx.get(site.url, headers=dict(site.tagged()) if tagged else {}, trust_env=False).status_code

    with site.sidecar(**{"revoked": str(revoked), "max-extra": "100%"}) as sidecar:
        assert (answers(tagged=False), answers(tagged=True)) == (200, 403)
        assert f"no load tag counts: the list of revocations can't be read: {revoked}: No such file" in sidecar.output
        assert f"{revoked}: No such file" in site.state().doubt
        revoked.write_text("run another-run\n")
        eventually(lambda: (answers(tagged=False), answers(tagged=True)) == (200, 200))
        eventually(lambda: site.state().doubt == "")  # each process looks at the list by itself
        revoked.write_text("run another-run\nsomething else\n")
        eventually(lambda: answers(tagged=True) == 403)
        assert answers(tagged=False) == 200
        (worker,) = (one.pid for one in site.state().workers)
        os.kill(worker, signal.SIGKILL)
        eventually(
            lambda: [one.pid for one in site.state().workers if one.state == "serving"] not in ([], [worker]), 30
        )
        assert (answers(tagged=False), answers(tagged=True)) == (200, 403)
        revoked.write_text("run another-run\n")
        eventually(lambda: (answers(tagged=False), answers(tagged=True)) == (200, 200))
        output = sidecar.output
    assert "No load tag counts: the list of revocations can't be read" in output
    assert "line 2, 'something else'" in output
    assert {its_run for _, its_run, *_ in site.seen_by_app()} == {"-", "run-1"}


def test_keys_that_can_not_be_read_stop_synthetic_traffic_and_nobody_else(site: Stack) -> None:
    """At the start and for a worker that takes the place of one that died, until SIGHUP finds them well."""
    ring = site.folder / "ring.pub"
    whole = (site.folder / "load.pub").read_text()

    def answers() -> tuple[int, int]:
        real, tagged = (httpx.get(site.url, headers=dict(one), trust_env=False) for one in ([], site.tagged()))
        return real.status_code, tagged.status_code

    with site.sidecar(**{"public-key": str(ring), "max-extra": "100%"}) as sidecar:
        assert answers() == (200, 403)
        assert f"no load tag counts: public key: can't read the public key {ring}: No such file" in sidecar.output
        told = httpx.get(f"{site.control}/v1/credits", headers=dict(site.tagged()), trust_env=False)
        assert (told.status_code, site.state().doubt in told.json()["detail"]) == (403, True)
        status = run("status", "--sidecar", site.control)
        assert "none counts" in status.stdout
        assert "send SIGHUP" in " ".join(status.stdout.replace("│", " ").split())  # it may be on two lines
        metrics = httpx.get(f"{site.control}/metrics", trust_env=False).text
        assert "reamp_tags_in_doubt 1.0" in metrics

        ring.write_text(whole)
        sidecar.signal(signal.SIGHUP)
        eventually(lambda: "Reloaded" in sidecar.output, 40)
        eventually(lambda: answers() == (200, 200))
        assert site.state().doubt == ""

        ring.write_text(whole[:-30])
        sidecar.signal(signal.SIGHUP)
        eventually(lambda: "Not reloaded, all goes on as it was: public key" in sidecar.output)
        assert answers() == (200, 200)
        worker = next(one.pid for one in site.state().workers if one.state == "serving")
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: {one.pid for one in site.state().workers if one.state == "serving"} - {worker}, 30)
        assert answers() == (200, 403)
        (worker,) = (one.pid for one in site.state().workers if one.state == "serving")
        assert f"worker {worker}: " in site.state().doubt
        refused = httpx.get(f"{site.control}/v1/credits", headers=dict(site.tagged()), trust_env=False)
        assert (refused.status_code, site.state().doubt in refused.json()["detail"]) == (403, True)

        ring.write_text(whole)
        sidecar.signal(signal.SIGHUP)
        eventually(lambda: "Reloaded" in sidecar.output.rpartition("Not reloaded")[2], 40)
        eventually(lambda: answers() == (200, 200))
        assert site.state().doubt == ""
    assert {its_run for _, its_run, *_ in site.seen_by_app()} == {"-", "run-1"}
