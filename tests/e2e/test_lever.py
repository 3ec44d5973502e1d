"""Every way to pull the lever over real processes and restarts, the control port as others reach it, and no secret
anywhere."""

import asyncio
import base64
import contextlib
import getpass
import io
import os
import re
import secrets
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from captures.reader import Capture
from reamp import cli
from rules.wire import Lever
from tests.support.authority import Authority
from tests.support.client import Client
from tests.support.crowd import Crowd
from tests.support.processes import Process, answers, eventually, own_address, reamp, run
from tests.support.stack import Stack

pytestmark = pytest.mark.timeout(120)

CONTROL, ADMIN = "planted-control-" + secrets.token_hex(8), "planted-admin-" + secrets.token_hex(8)


def lever(site: Stack) -> Lever:
    return site.state().lever


def statuses(site: Stack) -> int:
    """What a synthetic request is answered, after a real one has earned it."""

    async def ask() -> int:
        async with Client(site.url) as client:
            assert (await client.request("GET", "/")).status == 200
            return (await client.request("GET", "/", site.tagged())).status

    return asyncio.run(ask())


@contextlib.contextmanager
def stock(site: Stack) -> Iterator[Process]:
    """The same add-ons in stock mitmproxy."""
    options = {
        "keep_host_header": "true",
        "reamp_control": f"127.0.0.1:{site.control_port}",
        "reamp_captures": "",
        "reamp_redaction_key": str(site.folder / "redaction.key"),
        "reamp_public_key": str(site.folder / "load.pub"),
        "reamp_audience": "test-shop",
        "reamp_max_extra": "100%",
        "reamp_lever": str(site.folder / "state" / "lever.json"),
        "reamp_lever_file": str(site.folder / "state" / "stop"),
    }
    settings = [part for name, value in options.items() for part in ("--set", f"{name}={value}")]
    mitmdump = str(Path(reamp()[0]).with_name("mitmdump"))
    command = [mitmdump, "-s", "deploy/sidecar.py", "--mode", f"reverse:{site.app}", "-p", str(site.listen), *settings]
    with Process(command, site.folder / "mitmdump.out") as process:
        process.ready(site.control_port)
        eventually(answers(site.listen))
        yield process


@contextlib.contextmanager
def ours(site: Stack) -> Iterator[Process]:
    with site.sidecar(**{"max-extra": "100%"}) as process:
        yield process


@pytest.mark.parametrize("start", [ours, stock])
def test_a_signal_and_a_file_pull_and_it_holds_over_a_restart(
    site: Stack, start: Callable[[Stack], contextlib.AbstractContextManager[Process]]
) -> None:
    me, file = getpass.getuser(), site.folder / "state" / "stop"
    with start(site) as process:
        assert statuses(site) == 200
        process.signal(signal.SIGUSR1)
        eventually(lambda: lever(site).engaged)
        assert statuses(site) == 503
        sender = f" (process {os.getpid()})" if start is ours else ""
        pulled = lever(site)
        assert (pulled.reason, pulled.by) == ("signal SIGUSR1", me + sender)
        eventually(lambda: lever(site).persisted)
        process.kill()
    assert f"Lever pulled by {pulled.by}: signal SIGUSR1" in process.output
    with start(site) as process:
        assert lever(site) == pulled
        assert run("resume", "--sidecar", site.control).returncode == 0
        assert statuses(site) == 200
        file.touch()
        eventually(lambda: lever(site).engaged)
        assert statuses(site) == 503
        assert (lever(site).reason, lever(site).by) == (f"the file {file} is there", me)
        process.kill()
    (site.folder / "state" / "lever.json").unlink()  # whatever is remembered: the file is there
    with start(site):
        assert lever(site).engaged
        refused = run("resume", "--sidecar", site.control)
        assert refused.returncode == 1
        assert "remove it first" in refused.stderr
        file.unlink()
        shown = " ".join(run("status", "--sidecar", site.control).stdout.split())
        assert f"pulled by {me} at 20" in shown
        assert run("resume", "--sidecar", site.control, "--reason", "all well").returncode == 0
        assert statuses(site) == 200
        assert "free; reset by" in run("status", "--sidecar", site.control).stdout


def test_the_signal_ends_no_worker_although_it_goes_to_all(site: Stack) -> None:
    with site.sidecar(workers="2") as process:
        before = site.state().workers
        os.killpg(process.pid, signal.SIGUSR1)  # as systemctl kill does
        eventually(lambda: lever(site).engaged)
        assert statuses(site) == 503
        assert site.state().workers == before


@pytest.mark.parametrize("lane", ["true", "false"])
def test_a_request_whose_body_comes_after_the_pull_does_not_reach_the_app(
    site: Stack, lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REAMP_SIDECAR_FAST_LANE", lane)
    with site.sidecar(**{"max-extra": "100%"}):
        httpx.get(site.url, trust_env=False)
        tag = "".join(f"{name}: {value}\r\n" for name, value in site.tagged())
        head = f"POST /slow HTTP/1.1\r\nhost: shop\r\n{tag}content-length: 10\r\n\r\n"
        with socket.create_connection(("127.0.0.1", site.listen), 10) as client:
            client.sendall(head.encode() + b"12345")
            flying = 'reamp_requests_in_flight{kind="synthetic"} 1.0'
            eventually(lambda: flying in httpx.get(f"{site.control}/metrics", trust_env=False).text)
            assert run("stop", "--sidecar", site.control).returncode == 0
            client.sendall(b"67890")
            answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"reamp-withheld: lever" in answer.lower()
        assert site.state().requests["synthetic"]["withheld"] == 1
        assert site.state().accounting.reconciles()
    assert [path for *_, path in site.seen_by_app()] == ["/"]


@pytest.mark.parametrize(
    ("options", "environment", "says"),
    [
        ((), {}, "REAMP_SIDECAR_CONTROL_TOKEN"),
        ((), {"REAMP_SIDECAR_CONTROL_TOKEN": CONTROL}, "--control-cert"),
        (("--control-insecure",), {"REAMP_SIDECAR_CONTROL_TOKEN": "hush-hush"}, "16 characters"),
        (("--control-key", "x.pem"), {"REAMP_SIDECAR_CONTROL_TOKEN": CONTROL}, "--control-cert"),
        (("--control-cert", "x.pem"), {"REAMP_SIDECAR_CONTROL_TOKEN": CONTROL}, "x.pem: No such file"),
    ],
)
def test_a_port_that_others_reach_is_not_opened_without_tls_and_a_token(
    tmp_path: Path, options: tuple[str, ...], environment: dict[str, str], says: str
) -> None:
    command = ["sidecar", "--upstream", "http://127.0.0.1:9", "--listen", "127.0.0.1:0", "--control", "0.0.0.0:0"]
    started = run(*command, "--state", str(tmp_path), "--no-capture", *options, env=environment)
    assert started.returncode == 104
    assert says in started.stderr
    assert "hush-hush" not in started.stderr


@dataclass
class Elsewhere:
    """A sidecar whose control port speaks TLS at an address that is not loopback, and how to reach it."""

    site: Stack
    address: str
    authority: Authority

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.site.control_port}"

    @property
    def certificate(self) -> Path:
        return self.site.folder / "control.pem"

    def issue(self) -> None:
        self.authority.issue("control", self.address, "127.0.0.1").chmod(0o600)

    @contextlib.contextmanager
    def sidecar(self, **changes: str) -> Iterator[Process]:
        changes = {"control": f"0.0.0.0:{self.site.control_port}", "max-extra": "100%"} | changes
        with self.site.sidecar(**{"control-cert": str(self.certificate)}, **changes) as process:
            yield process

    def client(self, token: str = "", host: str = "") -> httpx.Client:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        url = f"https://{host or self.address}:{self.site.control_port}"
        return httpx.Client(base_url=url, headers=headers, verify=self.authority.trusting(), trust_env=False)

    def move(self, engaged: bool, token: str = "", host: str = "") -> int:
        with self.client(token, host) as client:
            return client.post("/v1/lever", json={"engaged": engaged, "reason": "because"}).status_code

    def told(self, command: str, token: str, *more: str) -> tuple[int, str]:
        """What a command of ours says, with `token` in its environment. (In this process: it loads for a second.)"""
        options = more or ("--sidecar", self.url, "--control-ca", str(self.authority.trust))
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
            patch.setenv("REAMP_CONTROL_TOKEN", token)
            patch.setenv("COLUMNS", "200")
            code = cli.run([command, *options])
        return code, " ".join(said.getvalue().split())

    def serial(self) -> int:
        """The number of the certificate that is shown."""
        shown = ssl.get_server_certificate((self.address, self.site.control_port))
        return x509.load_pem_x509_certificate(shown.encode()).serial_number


@pytest.fixture
def elsewhere(site: Stack, monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    monkeypatch.setenv("REAMP_SIDECAR_CONTROL_TOKEN", CONTROL)
    monkeypatch.setenv("REAMP_SIDECAR_ADMIN_TOKEN", ADMIN)
    made = Elsewhere(site, own_address(), Authority(site.folder))
    made.issue()
    return made


def test_from_elsewhere_by_tls_with_tokens(elsewhere: Elsewhere) -> None:
    with elsewhere.sidecar() as sidecar:
        # What it says for its own machine is an address that counts as such.
        eventually(lambda: f"reamp stop --sidecar https://127.0.0.1:{elsewhere.site.control_port}" in sidecar.output)
        assert elsewhere.told("status", CONTROL)[0] == 0
        assert elsewhere.told("stop", CONTROL)[0] == 0
        assert statuses(elsewhere.site) == 503
        code, words = elsewhere.told("resume", CONTROL)
        assert code == 1
        assert "needs the admin token" in words
        assert elsewhere.move(engaged=False, token="") == 401
        assert elsewhere.move(engaged=False, token=ADMIN) == 200
        assert statuses(elsewhere.site) == 200
        # From here no token is needed; TLS is what the port speaks, to everybody.
        assert elsewhere.move(engaged=True, host="127.0.0.1") == 200
        assert elsewhere.move(engaged=False, host="127.0.0.1") == 200
        assert (
            "--control-ca FILE says whom to trust" in elsewhere.told("status", CONTROL, "--sidecar", elsewhere.url)[1]
        )
        plain = elsewhere.url.replace("https", "http")
        assert "https://" in elsewhere.told("status", CONTROL, "--sidecar", plain)[1]
        assert "touch .reamp/stop there" in elsewhere.told("stop", CONTROL, "--sidecar", plain)[1]
        # A new certificate, without a restart; and one that is broken changes nothing.
        before = elsewhere.serial()
        elsewhere.issue()
        sidecar.signal(signal.SIGHUP)
        eventually(lambda: elsewhere.serial() != before)
        eventually(lambda: "Reloaded" in sidecar.output)
        elsewhere.certificate.write_text("nothing")
        sidecar.signal(signal.SIGHUP)
        eventually(lambda: "Not reloaded" in sidecar.output)
        assert elsewhere.move(engaged=True, token=CONTROL) == 200


def held(folder: Path) -> list[tuple[str, bytes]]:
    """All files of a folder, by name and content."""
    return [(str(file), file.read_bytes()) for file in sorted(folder.rglob("*")) if file.is_file()]


def processes(pid: int) -> list[int]:
    """A process and what it has started, and what these have."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def test_no_secret_is_anywhere_but_where_it_was_put(elsewhere: Elsewhere) -> None:
    """Planted: both tokens, the keys of the control port, of the users' port and of load tags, a token for the app."""
    site, app_token = elsewhere.site, "planted-app-" + secrets.token_hex(8)
    keys = [elsewhere.certificate, elsewhere.authority.issue("users", "127.0.0.1"), site.folder / "load.key"]
    planted = [CONTROL.encode(), ADMIN.encode(), app_token.encode()]
    planted += [base64.b64encode(token) for token in planted]
    for key in keys:
        found = re.search(r"-----BEGIN PRIVATE KEY-----(.*?)-----END", key.read_text(), re.DOTALL)
        assert found
        lines = found[1].split()
        der = base64.b64decode("".join(lines))
        planted += [der, der.hex().encode(), *(line.encode() for line in lines[:2])]
    planted.append(der[-32:])  # of the key for load tags, the secret itself (RFC 8410)
    searched: list[tuple[str, bytes]] = []
    with elsewhere.sidecar(workers="2") as sidecar:
        with Crowd(site.url, 100) as crowd:
            eventually(lambda: crowd.answered > 50)
            with elsewhere.client(CONTROL) as client:
                eventually(lambda: client.get("/v1/state").json()["accounting"]["written"] > 50)
            replay = [
                "replay",
                str(site.captures),
                "--to",
                site.url,
                "--no-preflight",
                "--sidecar",
                elsewhere.url,
                "--amplify",
                "1.5x",
            ]
            replay += ["--key", str(site.folder / "load.key"), "--runs", str(site.folder / "runs"), "--duration", "2m"]
            replay += ["--control-ca", str(elsewhere.authority.trust), "--processes", "2"]
            replay += ["--token-from", "APP_TOKEN", "--no-preflight"]
            refused = run(*replay, env={"REAMP_CONTROL_TOKEN": "", "APP_TOKEN": app_token})
            assert refused.returncode == 104
            assert "needs the control token" in " ".join(refused.stderr.split())
            environment = {"REAMP_CONTROL_TOKEN": CONTROL, "APP_TOKEN": app_token}
            with Process(reamp(*replay), site.folder / "replay.out", environment) as sender:
                eventually(lambda: any(its_run != "-" for _, its_run, *_ in site.seen_by_app()), 30)
                for first in (sidecar.pid, sender.pid):
                    family = processes(first)
                    assert len(family) > 1
                    for pid in family:
                        searched.append((f"command line of {pid}", Path(f"/proc/{pid}/cmdline").read_bytes()))
                        limits = Path(f"/proc/{pid}/limits").read_text()
                        assert re.search(r"Max core file size +1 +1 ", limits), limits
                    # Where the user put them they are, and the sender's processes put what the app asks for into
                    # requests; what is for control ports they do not know.
                    for pid in family[1:]:
                        environ = Path(f"/proc/{pid}/environ").read_bytes()
                        searched.append((f"environment of {pid}", environ.replace(app_token.encode(), b"")))
                with elsewhere.client("a-wrong-guess-" + CONTROL) as guesser:
                    assert guesser.get("/v1/state").status_code == 401
                assert elsewhere.told("stop", ADMIN)[0] == 0
                assert sender.wait() == 91
                searched.append(("replay", sender.output.encode()))
        with elsewhere.client(CONTROL) as client:
            searched += [(path, client.get(path).content) for path in ("/metrics", "/v1/state", "/v1/lever", "/")]
        searched.append(("status", elsewhere.told("status", CONTROL)[1].encode()))
    searched.append(("sidecar", sidecar.output.encode()))
    (site.folder / "state" / "redaction.key").unlink()  # a secret itself, which lies there on purpose
    for folder in ("state", "runs", "recordings"):
        files = held(site.folder / folder)
        assert files, folder
        searched += files
    searched += [(f"record {one.path}", repr(one).encode()) for one in Capture(site.captures).records()]
    assert len(searched) > 50
    assert [(where, secret) for where, what in searched for secret in planted if secret in what] == []


def test_no_secret_is_an_option_of_mitmproxys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REAMP_SIDECAR_CONTROL_TOKEN", CONTROL)
    monkeypatch.setenv("REAMP_SIDECAR_ADMIN_TOKEN", ADMIN)
    command = [str(Path(reamp()[0]).with_name("mitmdump")), "-s", "deploy/sidecar.py", "--options"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "reamp_control_cert" in shown
    assert not [secret for secret in (CONTROL, ADMIN) if secret in shown]


LOADING = """
import os, signal, sys, types
cli = types.ModuleType("reamp.cli")

def loaded():
    for number in (signal.SIGUSR1, signal.SIGHUP):
        os.kill(os.getpid(), number)
    print("held back:", *(one.name for one in signal.sigpending()))

cli.main = loaded
sys.modules["reamp.cli"] = cli
sys.argv = ["reamp", "sidecar"]
from reamp.__main__ import main
main()
"""


def test_a_sidecar_that_is_still_loading_is_ended_by_no_signal_that_it_obeys_later_on(site: Stack) -> None:
    done = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (0, "held back: SIGUSR1\n"), done.stderr
    # And the lever is pulled by what was held back.
    held = "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1}); os.kill(os.getpid(), signal.SIGUSR1)"
    early = f"import os, signal, sys; {held}; os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", early, *reamp("sidecar", *site.options())]
    with Process(command, site.folder / "early.out") as process:
        process.ready(site.control_port)
        assert lever(site).engaged
        assert lever(site).reason == "signal SIGUSR1"
