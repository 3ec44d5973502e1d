"""The examples in deploy/ work: their lines are run, their units and manifests are held against what reads them."""

import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import kubernetes_validate
import pytest
import typer
import yaml

from reamp.cli import application
from reamp.settings import effective
from replayer.books.folder import read_report
from replayer.plan import Plan
from replayer.schedule.calendar import Calendar, Window
from rules.exits import Exit
from tests.support.crowd import Crowd
from tests.support.origin import certificate
from tests.support.place import PATIENT
from tests.support.processes import Process, answers, eventually, free_port, reamp
from tests.support.receivers import Webhook
from tests.support.recording import record, write
from tests.support.stack import Stack, stack

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
KUBERNETES = "1.34"
PLACE = "/srv/reamp"


def parsed(arguments: list[str]) -> str:
    """Have the command line take them; an unknown option raises an error. Gives the command's name."""
    command = typer.main.get_command(application())
    context = command.make_context("reamp", list(arguments))
    assert hasattr(command, "resolve_command")
    name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
    command.make_context(str(name), rest, parent=context)
    return str(name)


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text()))


MANIFESTS = [
    (path.name, number)
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for number in range(len(documents(path.name)))
]


# --- cron ---


def cron_lines() -> list[tuple[str, str]]:
    """Each schedule with its command, as cron takes a crontab apart."""
    found = []
    for line in (DEPLOY / "cron/reamp.crontab").read_text().splitlines():
        if line.strip() and not line.startswith("#") and not re.match(r"[A-Z_]+\s*=", line):
            fields = line.split(None, 5)
            found.append((" ".join(fields[:5]), fields[5]))
    return found


def by_cron(folder: Path, **env: str) -> list[str]:
    """The command as cron runs it: by sh, with next to nothing in its environment."""
    ((_, command),) = cron_lines()
    assert "%" not in command  # it would end the command there
    plain = {"HOME": str(folder), "LOGNAME": "reamp", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", **env}
    told = [f"{name}={value}" for name, value in plain.items()]
    return ["/usr/bin/env", "-i", *told, "/bin/sh", "-c", command.replace(PLACE, str(folder))]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """What the examples expect at /srv/reamp."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/reamp").symlink_to(Path(sys.executable).with_name("reamp"))
    (tmp_path / "nightly.yaml").write_text((DEPLOY / "nightly.yaml").read_text().replace(PLACE, str(tmp_path)))
    return tmp_path


@pytest.fixture
def site(place: Path) -> Iterator[Stack]:
    write(place / "recordings", (record(i * 0.01, f"/item/{i}") for i in range(100)))
    with stack(place) as made, made.sidecar(captures="none"):
        with Crowd(made.url, 100):
            eventually(lambda: made.state().signal.rate > 1)
            yield made


needs_flock = pytest.mark.skipif(shutil.which("flock") is None, reason="there is no flock")


@needs_flock
def test_the_line_of_the_crontab_runs_against_a_real_sidecar(place: Path, site: Stack) -> None:
    """All is as in the example but the addresses, and the hours: a test can't wait for Saturday."""
    env = {
        "REAMP_REPLAY_TO": site.url,
        "REAMP_REPLAY_HOST": "shop.example",
        "REAMP_REPLAY_SIDECARS": site.control,
        "REAMP_REPLAY_STAGE": "1s:1.05x,2s:1.05x..1.2x",
        "REAMP_REPLAY_WINDOW": "Mon,Tue,Wed,Thu,Fri,Sat,Sun 00:00-24:00 Europe/London",
        **PATIENT,
    }
    with Webhook().running() as hook:
        (place / "announce").write_text(hook.url("secret") + "\n")
        (place / "announce").chmod(0o600)
        with Process(by_cron(place, **env), place / "out") as replay:
            assert replay.wait(45) == Exit.DONE, replay.output
        eventually(lambda: len(hook.titles) == 3)
    (folder,) = (place / "runs").iterdir()
    report = read_report(folder)
    assert report.accounts.sent > 0
    journal = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert [entry["event"] for entry in journal[:2]] == ["plan", "preflight"]
    assert journal[0]["operator"] == "nightly load test"
    assert "report.html" in replay.output  # which cron mails


@needs_flock
def test_it_is_refused_outside_of_its_hours_and_while_another_one_runs(place: Path) -> None:
    write(place / "recordings", [record(0, "/")])
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).strftime("%a")
    done = subprocess.run(
        by_cron(place, REAMP_REPLAY_WINDOW=f"{tomorrow} 02:00-05:00 Europe/London"),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == Exit.OUTSIDE_WINDOW, done.stderr
    assert "the next window opens" in done.stderr
    with (place / "nightly.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert subprocess.run(by_cron(place), check=False, timeout=60).returncode == 75


# --- systemd ---


def units() -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((DEPLOY / "systemd").iterdir())}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_finds_no_fault_in_the_units(tmp_path: Path) -> None:
    for name, unit in units().items():
        command = str(Path(sys.executable).with_name("reamp"))
        (tmp_path / name).write_text(unit.replace(f"{PLACE}/.venv/bin/reamp", command))

    def verify() -> subprocess.CompletedProcess[str]:
        command = ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    found = verify()
    assert (found.returncode, found.stderr) == (0, "")
    (tmp_path / "reamp-replay.timer").write_text("[Timer]\nOnCalendar=Sat,Sun at two\n")
    assert "Sat,Sun at two" in verify().stderr  # so it does look


def test_the_commands_of_the_units_are_commands() -> None:
    found = {}
    for name, unit in units().items():
        for command in re.findall(r"^ExecStart=(\S+) (.*)$", unit, re.MULTILINE):
            assert command[0] == f"{PLACE}/.venv/bin/reamp"
            found[name] = parsed(shlex.split(command[1].replace("%%", "%")))
    assert found == {"reamp-replay.service": "replay", "reamp-sidecar.service": "sidecar"}


# --- Kubernetes ---


@pytest.mark.parametrize(("name", "number"), MANIFESTS)
def test_manifests_are_what_kubernetes_takes(name: str, number: int) -> None:
    document = documents(name)[number]
    kubernetes_validate.validate(document, KUBERNETES, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):  # so it does look
        kubernetes_validate.validate({**document, "spce": {}}, KUBERNETES, strict=True)


def cron_job() -> dict[str, Any]:
    (job,) = (each for each in documents("replay-cronjob.yaml") if each["kind"] == "CronJob")
    return job


def test_nothing_is_ever_retried() -> None:
    job = cron_job()["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
    assert job["jobTemplate"]["spec"]["backoffLimit"] == 0
    assert job["jobTemplate"]["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert job["jobTemplate"]["spec"]["activeDeadlineSeconds"] > 3600  # beyond max_time
    assert "Restart=no" in units()["reamp-replay.service"]


def test_no_secret_is_on_a_command_line() -> None:
    pod = cron_job()["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (replay,) = pod["containers"]
    assert parsed(replay["command"][1:]) == "replay"
    assert {each["name"] for each in replay["env"]} == {"REAMP_REPLAY_ANNOUNCE", "REAMP_CONTROL_TOKEN"}
    assert all("secretKeyRef" in each["valueFrom"] for each in replay["env"])


def plans(folder: Path) -> Iterator[Plan]:
    """The plans of the examples, read as `reamp replay` reads them."""
    (settings,) = (each for each in documents("replay-cronjob.yaml") if each["kind"] == "ConfigMap")
    for number, text in enumerate([(DEPLOY / "nightly.yaml").read_text(), settings["data"]["nightly.yaml"]]):
        path = folder / f"{number}.yaml"
        path.write_text(text)
        yield effective(Plan, "replay", {}, path)


def test_the_plans_are_good_and_the_schedules_fall_into_their_windows(tmp_path: Path) -> None:
    for plan in plans(tmp_path):
        assert plan.announce_required
        assert plan.max_time is not None
        assert plan.duration is not None
        calendar = Calendar(map(Window.parse, plan.window))
        for day in (4, 5):  # Saturday and Sunday, 2026-07-04 and the day after
            start = datetime(2026, 7, day, 2, 10, tzinfo=ZoneInfo("Europe/London"))
            assert calendar.open(start)
            closes = calendar.closes(start)
            assert closes is not None
            assert closes - start > timedelta(seconds=plan.duration)
    schedules = {cron_lines()[0][0], cron_job()["spec"]["schedule"]}
    assert schedules == {"10 2 * * 6,0"}
    assert cron_job()["spec"]["timeZone"] == "Europe/London"
    assert "OnCalendar=Sat,Sun *-*-* 02:10:00 Europe/London" in units()["reamp-replay.timer"]


def test_the_sidecar_of_the_pod_starts_as_it_is_told(tmp_path: Path) -> None:
    """Its own command, with this machine's folders and ports: TLS and a token at its control port."""
    (deployment,) = (each for each in documents("sidecar.yaml") if each["kind"] == "Deployment")
    containers = {each["name"]: each for each in deployment["spec"]["template"]["spec"]["containers"]}
    sidecar = containers["reamp"]
    listen, control = free_port(), free_port()
    certificate(tmp_path, "127.0.0.1")
    trust, whole = tmp_path / "ca.pem", tmp_path / "server.pem"
    whole.chmod(0o600)
    with stack(tmp_path) as site:
        replaced = {
            "http://127.0.0.1:8000": site.app,
            "0.0.0.0:8080": f"0.0.0.0:{listen}",
            "0.0.0.0:8901": f"0.0.0.0:{control}",
            "/control/tls.crt": str(whole),
            "/control/tls.key": str(whole),
            "/public/load.pub": str(tmp_path / "load.pub"),
            "/recordings": str(tmp_path / "recordings"),
            "/state": str(tmp_path / "state"),
        }
        arguments = [*sidecar["command"], *sidecar["args"]]
        for there, here in replaced.items():
            assert any(argument.endswith(there) for argument in arguments), there
            arguments = [re.sub(f"={re.escape(there)}$", f"={here}", argument) for argument in arguments]
        env = {
            each["name"]: f"token-of-{each['valueFrom']['secretKeyRef']['key']}-0123456789" for each in sidecar["env"]
        }
        with Process(reamp(*arguments[1:]), tmp_path / "out", env) as process:
            process.ready(control)
            eventually(answers(listen))
            url = f"https://127.0.0.1:{control}"
            options = ["--sidecar", url, "--control-ca", str(trust)]
            token = {**os.environ, "REAMP_CONTROL_TOKEN": "token-of-control-0123456789"}
            done = subprocess.run(
                reamp("status", *options), capture_output=True, text=True, check=False, timeout=60, env=token
            )
            assert done.returncode == Exit.DONE, done.stdout + done.stderr + process.output
            assert httpx.get(f"http://127.0.0.1:{listen}/item/1", trust_env=False).status_code == 200
