"""Requests that change things and are not allowed: every report names their routes, and says what would send them."""

import io
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from captures.records import Record
from replayer.books.folder import read_report
from replayer.books.report import LeftOut, Report
from replayer.lanes.build import build
from replayer.plan import Plan
from replayer.progress import summary
from replayer.reporting.page import page
from replayer.reporting.recovery import report_of
from replayer.requests.encoding import Encoder
from replayer.requests.writes import SAFE_METHODS, Writes, leave
from rules.exits import Exit
from tests.support.place import PATIENT, Place
from tests.support.processes import Process, eventually, reamp, run
from tests.support.recording import record, write

OVERRIDE = ((b"host", b"shop.example"), (b"X-HTTP-Method-Override", b"delete"))
WORDS = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy")


def busy(seconds: float) -> Iterator[Record]:
    """Give a hundred requests a second, of which every other one changes something."""
    for n in range(round(seconds * 100)):
        yield record(n / 100, f"/quick/{n}")
        method, path, fields = (
            ("POST", f"/cart/{n}", ()),
            ("POST", "/orders", ()),
            ("DELETE", f"/cart/{n}?now", ()),
            ("PROPFIND", "/files", ()),
            ("GET", f"/cart/{n}", OVERRIDE),
        )[n % 5]
        yield record(n / 100 + 0.001, path, method, fields)


EXPECTED = [
    LeftOut(method="DELETE", template="/cart/{id}", count=40, option="--allow 'DELETE /cart/{id}'"),
    LeftOut(method="POST", template="/cart/{id}", count=20, option="--allow 'POST /cart/{id}'"),
    LeftOut(method="PROPFIND", template="/files", count=20, option="--methods GET,HEAD,OPTIONS,PROPFIND"),
    LeftOut(method="POST", template="/orders", count=20, option="--allow 'POST /orders'"),
]


@pytest.mark.parametrize(
    "how",
    [("--lane", "native"), ("--lane", "python"), ("--processes", "2"), ("--processes", "2", "--amplify", "2x")],
    ids="=".join,
)
def test_whatever_sends_every_report_names_the_routes(tmp_path: Path, how: tuple[str, ...]) -> None:
    if "python" not in how:
        try:
            build()
        except OSError as error:
            pytest.skip(str(error))
    here = Place(tmp_path)
    write(tmp_path / "busy", busy(1.0))
    with here.app():
        done = run("replay", str(tmp_path / "busy"), *here.arguments("runs", *how)[2:], env=PATIENT)
    assert done.returncode == Exit.DONE, done.stdout + done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    report = read_report(folder)
    assert report.accounts.skipped["unsafe"] == sum(each.count for each in EXPECTED) == 100
    assert report.left_out == EXPECTED
    assert [route.template for route in report.routes] == ["/quick/{id}"]  # nothing that was not wanted
    told = " ".join(done.stdout.replace("│", " ").split())
    assert "left out 100 that may change things --allow 'DELETE /cart/{id}' would send 40 --allow" in told
    shown = (folder / "report.html").read_text()
    assert "--allow &#39;DELETE /cart/{id}&#39;" in shown
    (folder / "report.json").unlink()
    assert report_of(folder).left_out == EXPECTED  # of a run that was killed, from what it wrote meanwhile


def test_a_run_that_is_killed_has_written_them_down(tmp_path: Path) -> None:
    here = Place(tmp_path)
    write(tmp_path / "busy", busy(20.0))
    arguments = ["replay", str(tmp_path / "busy"), *here.arguments("killed")[2:]]
    with here.app(), Process(reamp(*arguments), tmp_path / "killed.out") as replay:
        eventually(lambda: any(left_out(each) for each in (tmp_path / "killed").glob("*")))
        replay.signal(signal.SIGKILL)
        replay.wait()
    (folder,) = (tmp_path / "killed").iterdir()
    names = [(each.method, each.template) for each in report_of(folder).left_out]
    assert ("POST", "/orders") in names


def left_out(folder: Path) -> list[LeftOut]:
    return report_of(folder).left_out if (folder / "plan.json").exists() else []


# --- what would send them ---


@pytest.mark.parametrize(
    ("method", "template", "option"),
    [
        ("POST", "/cart/{id}", "--allow 'POST /cart/{id}'"),
        ("POST", "/users/{slug}", "--allow 'POST /users/{slug}'"),
        ("POST", "/a'b", """--allow 'POST /a'"'"'b'"""),
        ("POST", "/it's {odd}", "--allow 'POST *'"),
        ("POST", "/cart/../orders", "--allow 'POST *'"),
        ("POST", "(others)", "--allow 'POST *'"),
        ("SEARCH", "/cart", "--methods GET,HEAD,OPTIONS,SEARCH"),
        ("post", "/cart", ""),
        ("P\x1bOST", "/cart", ""),
        ("", "/cart", ""),
    ],
)
def test_the_option_that_would_send_a_route(method: str, template: str, option: str) -> None:
    assert leave(method, template, SAFE_METHODS) == option


PARTS = st.sampled_from(
    ("cart", "17", "a-b-c", "2026-11-22", "x@y.example", "deadbeefdeadbeef12", "it's", "a b", "*", "")
)


@given(st.sampled_from(("POST", "DELETE", "PROPFIND")), st.lists(PARTS, min_size=1, max_size=10))
def test_whoever_says_what_is_told_has_it_sent(method: str, parts: list[str]) -> None:
    item = record(path="/" + "/".join(parts), method=method)
    encoder = Encoder("run-1", SAFE_METHODS, "target")
    assert encoder.encode(item) == "unsafe"
    (route,) = encoder.left_out.settled()
    assert route.left_out == 1
    option, _, value = shlex.join(shlex.split(leave(route.method, route.template, SAFE_METHODS))).partition(" ")
    (value,) = shlex.split(value)
    methods = value.split(",") if option == "--methods" else SAFE_METHODS
    allowed = Encoder("run-1", methods, "target", writes=Writes([value] if option == "--allow" else []))
    assert allowed.encode(item) != "unsafe"


def test_words_that_stand_for_things_are_one_route() -> None:
    encoder = Encoder("run-1", SAFE_METHODS, "target")
    for one in WORDS:
        for other in WORDS:
            encoder.encode(record(path=f"/users/{one}{other}/avatar", method="PUT"))
    (route,) = encoder.left_out.settled()
    assert (route.template, route.left_out) == ("/users/{slug}/avatar", 100)
    encoder.forget()
    assert encoder.left_out.settled() == []


def test_of_many_the_terminal_names_the_busiest_and_the_page_all(ended: Path) -> None:
    many = [LeftOut(method="POST", template=f"/{n}<b>", count=n, option="" if n % 2 else f"--x {n}") for n in range(9)]
    report = read_report(ended).model_copy(update={"left_out": many[::-1]})
    console = Console(file=io.StringIO(), width=160)
    console.print(summary(report))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "36 that may change things" in text
    assert "--x 8 would send 8" in text
    assert "7 of POST /7<b> can't be sent" in text
    assert "6 more, of other routes (4): see report.html" in text
    drawn = page(report, ended)
    assert drawn.count("&lt;b&gt;") >= 9
    assert "can&#39;t be sent" in drawn or "can't be sent" in drawn
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_what_a_plan_allows_is_not_left_out() -> None:
    plan = Plan.model_validate({"recording": "r", "to": "http://x", "idle_target": True, "allow": ["POST *"]})
    encoder = Encoder("run-1", plan.methods, "target", writes=plan.writes)
    assert encoder.encode(record(path="/orders", method="POST")) != "unsafe"
    assert encoder.left_out.settled() == []
