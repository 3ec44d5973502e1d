"""k6 and Locust run what was exported, as it is, against a real server on loopback, and send what was recorded."""

import contextlib
import json
import os
import re
import runpy
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from captures.records import Record
from captures.templates import template
from reamp.commands.captures import app
from rules.exits import UserError
from tests.support.loadsink import Request, Sink
from tests.support.peers import peer
from tests.support.recording import record, write

pytestmark = pytest.mark.timeout(300)  # where k6 and Locust are missing, they are installed first

JSON = ((b"host", b"shop.example"), (b"content-type", b"application/json"), (b"content-length", b"9"))
SEEN = (
    (b"host", b"shop.example"),
    (b"user-agent", b"Browser (\xc3\xa4)"),
    (b"cookie", b"theme=dark"),
    (b"x-a", b"1"),
)


def traffic() -> list[Record]:
    """Four seconds: 40 requests in each but the second, which has 120.

    Of 10 there are 6 items, 3 searches and 1 cart; but in the second one, 1 item, 8 searches and 1 cart.
    """
    arrivals = [second + number / count for second, count in enumerate((40, 120, 40, 40)) for number in range(count)]
    made = []
    for number, at in enumerate(arrivals):
        kind = number * 7 % 10
        if kind < (1 if 1 <= at < 2 else 6):
            made.append(record(at, f"/item/{number}?full=1", headers=SEEN))
        elif kind < 9:
            made.append(record(at, f"/search?q={number}%20x", headers=SEEN))
        else:
            made.append(record(at, "/cart", "POST", JSON, b'{"a":"\xff"}'))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("scripts") / "recordings", traffic())


def export(folder: Path, *arguments: object) -> Result:
    return CliRunner().invoke(app, ["export", str(folder), *map(str, arguments)])


def run(*command: str, base: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"BASE_URL": base} if base else {})}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


ATTEMPTS = 3
"""What is tested is the script. Either tool sends more or less than it says while a busy machine holds it up."""


def sent_as_recorded(server: Sink, *command: str) -> list[Request]:
    """Run a script, again if the machine was too busy for it; give what it sent."""
    for _ in range(ATTEMPTS):
        server.requests.clear()
        run(*command, base=server.url)
        with contextlib.suppress(AssertionError):
            check(server.requests)
            break
    return list(server.requests)


@pytest.fixture(scope="module")
def sent(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Request]]]:
    """What k6 and Locust sent: both at once, for they mostly wait."""
    place = tmp_path_factory.mktemp("run")
    commands = {
        "k6": (peer("k6"), "run", "--quiet", "--no-usage-report", str(place / "shop.js")),
        "locust": (peer("locust"), "-f", str(place / "shop.py"), "--headless", "--only-summary"),
    }
    servers = {tool: Sink() for tool in commands}
    export(folder, "--to", "k6", "-o", place / "shop.js")
    export(folder, "--to", "locust", "-o", place / "shop.py")
    with ThreadPoolExecutor(2) as pool:
        running = {tool: pool.submit(sent_as_recorded, servers[tool], *line) for tool, line in commands.items()}
        yield {tool: each.result() for tool, each in running.items()}
    for server in servers.values():
        server.close()


def check(sent: list[Request]) -> None:
    """What arrived has to be what was recorded: how much, of what, and when."""
    recorded = traffic()
    assert len(sent) == pytest.approx(len(recorded), abs=3)
    wanted = Counter((one.method, template(one.path)) for one in recorded)
    found = Counter((one.method, template(one.path)) for one in sent)
    assert found.keys() == wanted.keys()
    for endpoint, count in wanted.items():
        assert found[endpoint] == pytest.approx(count, abs=4), endpoint
    begun = min(one.at for one in sent)
    seconds = Counter(int(one.at - begun) for one in sent)
    # 120 of 240 in the second one. On a machine that is busy some are late, but not half a second.
    assert seconds[1] == pytest.approx(120, abs=30), seconds
    assert seconds[0] == pytest.approx(40, abs=20), seconds
    assert max(one.at for one in sent) - begun == pytest.approx(4.0, abs=1.0)
    then = Counter(template(one.path) for one in sent if 1 <= one.at - begun < 2)
    assert then["/search"] / then.total() == pytest.approx(0.8, abs=0.1), "the mix changes as it did"
    before = Counter(template(one.path) for one in sent if one.at - begun < 0.9)
    assert before["/search"] / before.total() == pytest.approx(0.3, abs=0.1)
    paths = {one.path for one in recorded}
    for one in sent:
        assert one.path in paths
        assert "evil" not in one.headers.get("cookie", "")
        if one.method == "POST":
            assert (one.body, one.headers["content-type"]) == (b'{"a":"\xff"}', "application/json")
        else:
            assert one.headers["x-a"] == "1"
            assert one.headers["cookie"].startswith("theme=redacted-")
            assert one.headers["user-agent"].encode("latin-1").decode() == "Browser (ä)"
    assert len({one.path for one in sent}) > 50, "they are different requests, not one for each endpoint"


@pytest.mark.parametrize("tool", ["k6", "locust"])
def test_either_runs_what_was_exported(tool: str, sent: dict[str, list[Request]]) -> None:
    check(sent[tool])


def test_k6_has_a_stage_for_each_of_the_recording_s(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "shop.js"
    result = export(folder, "--to", "k6", "-o", script)
    assert result.exit_code == 0
    assert "may change what they are sent to" in result.stdout
    inspected = json.loads(run(peer("k6"), "inspect", str(script)).stdout)
    scenario = inspected["scenarios"]["recorded"]
    assert scenario["executor"] == "ramping-arrival-rate"
    assert [stage["target"] for stage in scenario["stages"] if stage["duration"] != "0s"] == [40, 120, 40, 40]


def test_a_script_goes_where_the_recording_went_unless_told_otherwise(folder: Path, tmp_path: Path) -> None:
    for to, asked in (("k6", "__ENV.BASE_URL"), ("locust", 'os.environ.get("BASE_URL"')):
        plain, aimed = tmp_path / f"{to}.plain", tmp_path / f"{to}.aimed"
        export(folder, "--to", to, "-o", plain)
        export(folder, "--to", to, "-o", aimed, "--target", "http://127.0.0.1:1/")
        (line,) = [line for line in plain.read_text().splitlines() if asked in line]
        assert "http://shop.example" in line
        (line,) = [line for line in aimed.read_text().splitlines() if asked in line]
        assert "http://127.0.0.1:1" in line
        assert "shop.example" not in aimed.read_text()


def test_an_even_recording_has_one_constant_rate(tmp_path: Path) -> None:
    folder = write(tmp_path / "even", [record(number / 10) for number in range(40)])
    export(folder, "--to", "k6", "-o", tmp_path / "even.js")
    text = (tmp_path / "even.js").read_text()
    scenario = json.loads(text[text.index("recorded: ") + 10 : text.index(",\n  },\n  //")])
    assert scenario["executor"] == "constant-arrival-rate"
    assert (scenario["rate"], scenario["timeUnit"], scenario["duration"]) == (10, "1000.000ms", "4000.000ms")


def requests_of(script: Path) -> list[tuple[str, str, dict[str, str], bytes | None]]:
    """What a Locust file would send, read as Python reads it but for Locust itself."""
    text = re.sub(r"(?m)^(?:import gevent.*|from locust .*)$", "", script.read_text())
    bare = script.with_suffix(".bare.py")
    bare.write_text(text.partition("class Recorded")[0])
    return list(runpy.run_path(str(bare))["REQUESTS"])


def test_nothing_of_a_recording_gets_out_of_its_quotes(tmp_path: Path) -> None:
    """Whoever sent the requests must not write the script."""
    evil = "\\'\"`${process}@UP_TO@\u2028</script>{0}%s"
    headers = ((b"x-evil", evil.encode()), (b"host", b"shop.example"))
    path = "/q?" + evil.replace("\u2028", "")
    folder = write(tmp_path / "x'\"; import os", [record(0, path, "POST", headers, evil.encode() * 2), record(1)])
    for to in ("k6", "locust"):
        assert export(folder, "--to", to, "-o", tmp_path / f"script.{to}").exit_code == 0
    requests = {one[1]: one for one in requests_of(tmp_path / "script.locust")}
    assert requests[path][2:] == ({}, evil.encode() * 2), "a header that does not print is left out, and told"
    inspected = run(peer("k6"), "inspect", str(tmp_path / "script.k6"))
    assert json.loads(inspected.stdout)["scenarios"]["recorded"]
    lines = (tmp_path / "script.k6").read_text()
    listed = [json.loads(line.strip().rstrip(",")) for line in lines.splitlines() if line.startswith('  {"method"')]
    assert {one["path"] for one in listed} == {path, "/"}
    subprocess.run([sys.executable, "-m", "py_compile", str(tmp_path / "script.locust")], check=True)


def test_what_a_script_cannot_send_is_told(tmp_path: Path) -> None:
    cookies = ((b"cookie", b"a=1"), (b"cookie", b"b=2"))
    folder = write(
        tmp_path / "odd",
        [
            record(0, "/a", headers=((b"x", b"1"), (b"X", b"2"), *cookies, (b"y", b"\xff"))),
            record(1, "/%zz"),
            record(2, "*", "OPTIONS"),
            record(3, "/b", "B{D"),
            record(4, "/cut", "POST", body=b"abc", body_size=9),
            record(5, "/there", authority="other.example"),
            record(6, "/x", headers=((b"x-load-test", b"run-7"),)),
            record(7, "/ä|{}?q=ä|{}"),
            record(8, "//twice"),
        ],
    )
    result = export(folder, "--to", "locust", "-o", tmp_path / "odd.py", "--json")
    told = json.loads(result.stdout)
    assert told["lost"] == {
        "repeated headers: sent as one, joined": 2,
        "headers with bytes that these tools cannot send": 1,
        "rest of a body that was cut: sent as the part that was kept": 1,
        "another host or scheme: sent to the one place with its own Host header": 1,
        "characters of a path that no URL has: sent percent-encoded": 1,
    }
    assert sorted(told["left_out"].values()) == [1, 1, 1, 2]
    sent = {one[1]: one for one in requests_of(tmp_path / "odd.py")}
    assert sent.keys() == {"/a", "/cut", "/there", "/%C3%A4%7C%7B%7D?q=%C3%A4|{}"}
    assert sent["/a"][2]["x"] == "1, 2"
    assert re.fullmatch(r"a=9999\d+; b=9999\d+", sent["/a"][2]["cookie"])
    assert sent["/there"][2]["Host"] == "other.example"


def test_a_scanners_million_paths_do_not_fill_a_script(tmp_path: Path) -> None:
    paths = ["/w" + "".join(chr(97 + n // 26**place % 26) for place in range(4)) for n in range(2500)]
    folder = write(tmp_path / "scan", [record(n / 1000, path, body=b"x" * 9000) for n, path in enumerate(paths)])
    result = export(folder, "--to", "k6", "-o", tmp_path / "scan.js", "--json")
    told = json.loads(result.stdout)
    assert (tmp_path / "scan.js").stat().st_size < 10 << 20
    (left_out,) = told["left_out"].values()
    assert 500 <= left_out < 2500


def test_with_nothing_to_send_nothing_is_written(tmp_path: Path) -> None:
    folder = write(tmp_path / "none", [record(0, "*", "OPTIONS")])
    result = export(folder, "--to", "k6", "-o", tmp_path / "none.js")
    assert isinstance(result.exception, UserError)
    assert "no request that a script could send" in str(result.exception)
    assert {path.name for path in tmp_path.iterdir()} == {"none"}
