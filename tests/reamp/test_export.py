"""`reamp export`: other tools run an incident's script as it is, and reach its mix and its rates over time."""

import json
import os
import re
import runpy
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from pyrage import x25519

from captures.batch import BatchWriter
from captures.keyring import Recipients, recipient_keys
from captures.records import Record
from captures.templates import template
from drill.incident import write_incident
from drill.running.record import DrillRecord
from drill.story import RouteFigures, Story
from reamp.cli import run as front_door
from rules.units import Factor
from tests.benchmarks.peers import find
from tests.support import vegeta
from tests.support.loadsink import Request, Sink
from tests.support.peers import peer
from tests.support.recording import START_NS, record

pytestmark = pytest.mark.timeout(300)  # where k6 and Locust are missing, they are installed first

SECONDS = 4
BAGGAGE = ((b"host", b"shop.example"), (b"Baggage", b"user=7"))

EVIL = "\\'\"`$(touch pwned)${process}{{ $processEnvironment.HOME }}@UP_TO@\u2028</script>{0}%s"
"""Whoever sends requests must not write the script, nor have it fill in what is secret where it runs."""
EVIL_HEADER = EVIL.replace("\u2028", "")
EVIL_PATH = "/q?a=" + re.sub(r"[\s#%]", "", EVIL_HEADER)
EVIL_BODY = EVIL.encode() * 2

SEND = {"k6": "js", "locust": "py", "artillery": "js", "vegeta": "sh"}
"""The tools, and the suffix of the file that each one wants."""


def rates(second: int) -> dict[tuple[str, str], int]:
    """Requests in a second: products stay, searches come in a burst, carts grow, and each route is rare once."""
    return {
        ("GET", "/product/{id}"): 20,
        ("GET", "/search"): 60 if second == 2 else 4,
        ("POST", "/cart"): 3 + 6 * second,
        ("GET", "/about"): 1 if second == 1 else 8,
        ("PUT", "/q"): 2,
    }


def traffic() -> list[Record]:
    made = []
    for second in range(SECONDS):
        for (method, path), count in rates(second).items():
            for number in range(count):
                at = second + (number + 0.5) / count
                if method == "PUT":
                    made.append(record(at, EVIL_PATH, method, ((b"x-evil", EVIL_HEADER.encode()), *BAGGAGE), EVIL_BODY))
                    continue
                body = b'{"a":"\xff"}' if method == "POST" else b""
                made.append(record(at, path.replace("{id}", str(1000 + number % 7)), method, BAGGAGE, body))
    return sorted(made, key=lambda one: one.arrival_ns)


def story(**fields: Any) -> Story:
    given = {
        "source": "capture",
        "told": "a window of a capture",
        "begin_ns": START_NS,
        "end_ns": START_NS + SECONDS * 10**9,
        "times": "kept",
        "outcomes": "records",
        **fields,
    }
    return Story(**given)


@pytest.fixture(scope="module")
def incident(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("incident") / "outage 7'$(touch pwned)`.reamp"
    write_incident(path, story(), traffic())
    return path


def export(*arguments: object) -> int:
    return front_door(["export", *map(str, arguments)])


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, **environment}
    given.pop("PYTHONPATH", None)
    if "BASE_URL" not in environment:
        given.pop("BASE_URL", None)
    return subprocess.run(
        command, cwd=cwd, env=given, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
    )


def command(tool: str, script: Path) -> list[str]:
    """How people run it."""
    return {
        "k6": lambda: [peer("k6"), "run", "--quiet", "--no-usage-report", str(script)],
        "locust": lambda: [peer("locust"), "-f", str(script), "--headless", "--only-summary"],
        "artillery": lambda: [peer("artillery"), "run", "--quiet", str(script)],
        "vegeta": lambda: ["bash", str(script)],
    }[tool]()


def path_with_vegeta(folder: Path) -> str:
    """Give a PATH with vegeta: the real one, or what stands in for it."""
    found = find("vegeta")
    if found is None:
        (folder / "bin").mkdir(exist_ok=True)
        stand_in = folder / "bin" / "vegeta"
        stand_in.write_text(f'#!/bin/sh\nexec {sys.executable} {vegeta.__file__} "$@"\n')
        stand_in.chmod(0o755)
        found = str(stand_in)
    return os.pathsep.join([str(Path(found).parent), os.environ.get("PATH", os.defpath)])


TOOLS = [tool for tool in SEND if tool != "artillery" or find("artillery")]
"""Artillery takes npm, which not everybody has. What its script sends, and when, is tested without it, too."""


def played(tool: str, incident: Path, folder: Path) -> list[Request]:
    """Export, run, and give what came."""
    folder.mkdir()
    script = folder / f"script.{SEND[tool]}"
    sink = Sink()
    try:
        assert export(tool, incident, "--target", sink.url, "-o", script) == 0
        done = run(*command(tool, script), cwd=folder, PATH=path_with_vegeta(folder))
        assert done.returncode == 0, done.stdout + done.stderr
        return list(sink.requests)
    finally:
        sink.close()


ATTEMPTS = 3
"""What is tested is the script. Any tool sends less, or later, while a busy machine holds it up."""


def overloaded(incident: Path, folder: Path) -> list[Request]:
    """Give what k6 sends with one VU only, which is far too few."""
    sink = Sink(delay=0.06)
    folder.mkdir()
    script = folder / "script.js"
    try:
        assert export("k6", incident, "--target", sink.url, "-o", script) == 0
        script.write_text(re.sub(r'("preAllocatedVUs"|"maxVUs"): \d+', r"\1: 1", script.read_text()))
        run(*command("k6", script), cwd=folder)
        return list(sink.requests)
    finally:
        sink.close()


@pytest.fixture(scope="module")
def sent(incident: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[Request]]:
    """What each tool sent. All at the same time: they wait for most of it."""
    found: dict[str, list[Request]] = {}
    for attempt in range(ATTEMPTS):
        folder = tmp_path_factory.mktemp("sent")
        again = [tool for tool in TOOLS if tool not in found or missed(found[tool]) or astray(found[tool])]
        if not again:
            break
        with ThreadPoolExecutor(len(again) + 1) as pool:
            running = {tool: pool.submit(played, tool, incident, folder / tool) for tool in again}
            if not attempt:
                running["overloaded"] = pool.submit(overloaded, incident, folder / "overloaded")
            found |= {tool: future.result() for tool, future in running.items()}
    return found


def wanted() -> dict[tuple[str, str], list[int]]:
    """How many requests of each route there have been by the end of each second."""
    sums: dict[tuple[str, str], list[int]] = {}
    for second in range(SECONDS):
        for route, count in rates(second).items():
            before = sums.setdefault(route, [])
            before.append((before[-1] if before else 0) + count)
    return sums


def missed(sent: list[Request]) -> dict[tuple[str, str], int]:
    """Routes that came too often, too seldom or not at all: by more than 5%, or one request."""
    found = Counter((one.method, template(one.path)) for one in sent)
    right = {route: sums[-1] for route, sums in wanted().items()}
    off = {route: abs(found[route] - right.get(route, 0)) for route in {*found, *right}}
    return {route: by for route, by in off.items() if by > max(1, 0.05 * right.get(route, 0))}


def astray(sent: list[Request]) -> list[tuple[tuple[str, str], int, int]]:
    """Routes that had come too often or too seldom by the end of a second.

    By more than 5% of the route's number, and what falls into 150 ms before or after: a machine is busy, now and then.
    """
    begun, found = min(one.at for one in sent), []
    for route, sums in wanted().items():
        of_route = [one.at - begun for one in sent if (one.method, template(one.path)) == route]
        for second, right in enumerate(sums, 1):
            by_then = sum(at < second for at in of_route)
            near = 0.15 * (rates(min(second, SECONDS - 1))[route] + rates(second - 1)[route])
            if abs(by_then - right) > 0.05 * sums[-1] + near + 1:
                found.append((route, second, by_then - right))
    return found


@pytest.mark.parametrize("tool", TOOLS)
def test_each_tool_reaches_the_mix_of_the_incident(tool: str, sent: Mapping[str, list[Request]]) -> None:
    assert not missed(sent[tool])


@pytest.mark.parametrize("tool", TOOLS)
def test_each_tool_reaches_each_routes_rate_over_time(tool: str, sent: Mapping[str, list[Request]]) -> None:
    assert not astray(sent[tool])


def test_k6_keeps_to_the_mix_of_the_moment_when_it_drops_iterations(sent: Mapping[str, list[Request]]) -> None:
    """In the third second 60 of 104 are searches. Counted on from the few that were sent, it would be 4 of 40."""
    requests = sent["overloaded"]
    begun = min(one.at for one in requests)
    then = Counter(template(one.path) for one in requests if 2.1 < one.at - begun < 3)
    assert len(requests) < sum(sums[-1] for sums in wanted().values()) / 2, "it was overloaded"
    assert then["/search"] > then.total() / 3


@pytest.mark.parametrize("tool", TOOLS)
def test_each_request_names_its_run_and_keeps_its_baggage(tool: str, sent: Mapping[str, list[Request]]) -> None:
    runs = {one.headers["x-load-test"] for one in sent[tool]}
    assert len(runs) == 1, "one run has one name"
    assert re.fullmatch(rf"{tool}-outage-7-touch-pwned-\d{{8}}T\d{{6}}Z", runs.pop())
    assert {one.headers["baggage"] for one in sent[tool]} == {"user=7,synthetic_request=true"}
    bodies = {one.body for one in sent[tool] if one.method == "POST"}
    assert bodies == {b'{"a":"\xff"}'}


@pytest.mark.parametrize("tool", TOOLS)
def test_nothing_of_an_incident_gets_out_of_its_quotes(
    tool: str, sent: Mapping[str, list[Request]], incident: Path
) -> None:
    evil = [one for one in sent[tool] if one.method == "PUT"]
    assert {one.body for one in evil} == {EVIL_BODY}
    assert {one.headers["x-evil"] for one in evil} == {EVIL_HEADER}
    assert {unquote(one.path) for one in evil} == {EVIL_PATH}, "some tools encode what others send as it is"
    assert not list(incident.parent.parent.rglob("pwned"))


def tables(script: Path) -> tuple[list[Any], list[Any], list[Any]]:
    """Stages, routes and requests of a script in JavaScript, or for Locust."""
    text = script.read_text()
    if script.suffix == ".py":
        bare = script.with_suffix(".bare.py")
        plain = re.sub(r"(?m)^(?:import gevent.*|from locust .*)$", "", text)
        bare.write_text(plain.partition("class Recorded")[0])
        found = runpy.run_path(str(bare))
        return [list(stage) for stage in found["STAGES"]], [list(one) for one in found["ROUTES"]], found["REQUESTS"]
    rows = [json.loads(line.strip().rstrip(",")) for line in text.splitlines() if re.match(r"  [\[{].*[\]}],$", line)]
    stages = [row for row in rows if isinstance(row, list) and not isinstance(row[0], str)]
    routes = [row for row in rows if isinstance(row, list) and isinstance(row[0], str)]
    return stages, routes, [row for row in rows if isinstance(row, dict)]


def counts(script: Path) -> list[dict[str, int]]:
    """How often each route comes in each stage."""
    stages, routes, _ = tables(script)
    found = []
    for _, _, _, numbers, up_to, _ in stages:
        befores = [0, *up_to][: len(up_to)]
        found.append({routes[n][0]: to - before for n, to, before in zip(numbers, up_to, befores, strict=True)})
    return found


def exported(tool: str, source: Path, folder: Path, *more: object) -> Path:
    script = folder / f"of-{tool}.{SEND[tool]}"
    assert export(tool, source, "--target", "http://127.0.0.1:1", "-o", script, "--force", *more) == 0
    return script


@pytest.mark.parametrize("tool", ["k6", "locust", "artillery"])
def test_each_script_has_each_routes_number_in_each_stage(tool: str, incident: Path, tmp_path: Path) -> None:
    by_second = [{" ".join(route): count for route, count in rates(second).items()} for second in range(SECONDS)]
    assert counts(exported(tool, incident, tmp_path)) == by_second
    louder = counts(exported(tool, incident, tmp_path, "--amplify", "1.25x"))
    for second, sums in enumerate(louder):
        for route, count in by_second[second].items():
            assert sums[route] == pytest.approx(1.25 * count, abs=1.01)
    fewer = counts(exported(tool, incident, tmp_path, "--except", "~m POST"))
    assert {route for row in fewer for route in row} == {"GET /product/{id}", "GET /search", "GET /about", "PUT /q"}


def test_where_only_rates_are_known_stages_fit_into_their_grain(tmp_path: Path) -> None:
    """Half an hour in grains of a minute: no stage lies in two of them."""
    minutes = [120, 30, 0, 300] + [60] * 26
    requests = [
        record(minute * 60 + (number + 0.5) * 60 / count, "/list", status=0, duration_ns=0, ttfb_ns=-1)
        for minute, count in enumerate(minutes)
        for number in range(count)
    ]
    told = story(
        source="upsun",
        end_ns=START_NS + 1800 * 10**9,
        times="drawn",
        grain=60.0,
        outcomes="routes",
        routes=(RouteFigures(method="GET", template="/list", count=sum(minutes), mean=12.0),),
    )
    path = tmp_path / "upsun.reamp"
    write_incident(path, told, requests)
    script = exported("k6", path, tmp_path)
    text = script.read_text()
    assert "const STAGE = 5000.000;" in text
    per_stage = [sum(row.values()) for row in counts(script)]
    assert [sum(per_stage[minute * 12 : minute * 12 + 12]) for minute in range(30)] == minutes
    vus = int(re.findall(r'"preAllocatedVUs": (\d+)', text)[0])
    assert vus >= 2 * 5 * 12, "5 a second at the peak that take 12 s each, says the story"


@pytest.fixture
def drill(incident: Path, tmp_path: Path) -> Path:
    """The folder of a drill that allowed no writes but these."""
    folder = tmp_path / "drills" / "20261121-210305-k3f9"
    folder.mkdir(parents=True)
    (folder / "incident.reamp").write_bytes(incident.read_bytes())
    sending = {
        "except": "~u /about",
        "allow": ["POST /order"],
        "set_header": ["X-Tenant: 7"],
        "methods": ["GET", "HEAD", "OPTIONS"],
    }
    record_ = DrillRecord(
        drill=folder.name,
        started=time.time(),
        to="http://127.0.0.1:9009",
        amplify=Factor.parse("2x"),
        repeat=3,
        criteria=(),
        defaulted=True,
        plan={"sending": sending},
    )
    (folder / "drill.json").write_text(record_.model_dump_json())
    return folder


def test_a_drill_says_where_how_much_and_what_is_sent(
    drill: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "locustfile.py"
    assert export("locust", drill, "-o", script, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["left_out"] == {"requests that the drill did not send: their methods were not allowed": 56}
    assert any("--set-header" in note for note in told["notes"])
    assert '"http://127.0.0.1:9009"' in script.read_text().replace("'", '"')
    by_second = counts(script)
    assert [row["GET /product/{id}"] for row in by_second] == [40] * SECONDS
    assert not any({"POST /cart", "GET /about"} & row.keys() for row in by_second)


def test_a_capture_is_an_incident_too_and_tagged_requests_stay_out(tmp_path: Path) -> None:
    tagged = record(0.5, "/x", headers=((b"x-load-test", b"run-7"),))
    with BatchWriter(tmp_path / "recordings") as batch:
        for one in sorted([*traffic(), tagged], key=lambda each: each.arrival_ns):
            batch.write(one)
    by_second = counts(exported("artillery", tmp_path / "recordings", tmp_path))
    assert [row["GET /product/{id}"] for row in by_second] == [20] * SECONDS
    assert not any("/x" in route for row in by_second for route in row)


def test_a_script_of_an_encrypted_incident_is_not_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = x25519.Identity.generate()
    (tmp_path / "key.txt").write_text(f"{key}\n")
    path = tmp_path / "sealed.reamp"
    write_incident(path, story(), traffic(), recipients=Recipients(recipient_keys([str(key.to_public())])))
    script = tmp_path / "x.js"
    assert export("k6", path, "-o", script) == 104
    assert "--identity" in capsys.readouterr().err
    assert not script.exists()
    assert export("k6", path, "--identity", tmp_path / "key.txt", "-o", script) == 0
    assert "what is read is encrypted, and the script is not" in capsys.readouterr().out
    assert script.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("tool", ["k6", "locust", "vegeta"])
def test_without_a_target_nothing_is_sent_until_one_is_named(tool: str, incident: Path, tmp_path: Path) -> None:
    script = tmp_path / f"script.{SEND[tool]}"
    assert export(tool, incident, "-o", script) == 0
    assert "shop.example" not in script.read_text().replace('"Host"', "")
    done = run(*command(tool, script), cwd=tmp_path, PATH=path_with_vegeta(tmp_path))
    assert done.returncode
    assert "Say where: BASE_URL=http" in done.stdout + done.stderr


def test_what_is_wrong_is_told_and_nothing_is_written(
    incident: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*arguments: object) -> str:
        assert export(*arguments) == 104
        return capsys.readouterr().err

    out = tmp_path / "x.js"
    assert "there are k6, locust, artillery, vegeta" in told("gatling", incident, "-o", out)
    assert "1.25x" in told("k6", incident, "--amplify", "1.25", "-o", out)
    assert "nothing is sent" in told("k6", incident, "--amplify", "0x", "-o", out)
    assert "--target" in told("k6", incident, "--target", "shop.example/x", "-o", out)
    assert "missing" in told("k6", tmp_path / "missing.reamp", "-o", out)
    (tmp_path / "drill.json").write_text("{")
    assert "drill.json does not read" in told("k6", tmp_path, "-o", out)
    assert not out.exists()
    assert export("k6", incident, "--amplify", "9999999999x", "-o", out) == 104
    assert "more than a script can tell apart" in capsys.readouterr().err
    assert not out.exists()
