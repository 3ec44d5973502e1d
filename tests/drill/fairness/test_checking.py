"""A check from beginning to end, against real servers on loopback."""

import asyncio
import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from captures.records import Record
from drill.fairness import asking
from drill.fairness.checking import check
from drill.fairness.conditions import Conditions
from drill.fairness.fairness import Fairness, Resources
from drill.fairness.showing import show
from drill.fairness.warming import warming
from drill.incident import Incident, read_incident, write_incident
from drill.sources.taking import take
from drill.sources.wanted import Wanted
from drill.story import Story
from loadtag import keys
from replayer.plan import Plan
from replayer.progress import screen
from rules.exits import Exit, UserError
from rules.units import Duration
from tests.support.origin import Connection, Origin, origin
from tests.support.processes import free_port, run
from tests.support.recording import START_NS, record
from tests.support.upsun import overview

PRODUCTS = 2000

Page = tuple[int, bytes, Mapping[str, str]]


def listed(count: int) -> bytes:
    return b"".join(b"<li>product %d</li>" % n for n in range(count))


def recorded(path: str) -> tuple[int, int]:
    """Status and size of what production answered."""
    return {"/products": (200, len(listed(PRODUCTS))), "/missing": (404, 9), "/moved": (302, 0)}.get(path, (200, 40))


def traffic() -> Iterator[Record]:
    """Ten seconds of a shop."""
    paths = ["/products", "/", "/moved", "/missing"]
    for n in range(400):
        path = f"/product/{n % 97}" if n % 2 else paths[n // 2 % 4]
        status, size = recorded(path)
        method = "POST" if n % 100 == 50 else "GET"
        yield record(n / 40, path, method=method, status=status, response_size=size, duration_ns=20_000_000)


def as_production(path: str, products: int = PRODUCTS) -> Page:
    if path == "/products":
        return 200, listed(products), {}
    status, size = recorded(path)
    return status, b"x" * size, {"location": "/elsewhere"} if status == 302 else {}


def shop(answer: Callable[[str], Page]) -> Callable[[Connection, Origin], Any]:
    """A server that answers by path, one request after the other."""

    async def script(connection: Connection, here: Origin) -> None:
        while True:
            request = await connection.request()
            here.requests.append(request)
            status, body, fields = answer(request.split(b" ", 2)[1].decode())
            head = {"content-length": str(len(body)), **fields}
            lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
            await connection.say(f"HTTP/1.1 {status} .\r\n{lines}\r\n".encode("latin-1") + body)

    return script


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("check")
    keys.generate(folder, "load")
    story = Story(
        source="capture",
        told="a test",
        begin_ns=START_NS,
        end_ns=START_NS + 10**10,
        times="kept",
        outcomes="records",
    )
    write_incident(folder / "incident.reamp", story, traffic())
    return folder


@pytest.fixture
def incident(place: Path) -> Incident:
    return read_incident(place / "incident.reamp")


def plan(place: Path, port: int, **more: Any) -> Plan:
    given = {"recording": place / "incident.reamp", "to": f"http://127.0.0.1:{port}", "idle_target": True}
    return Plan(**{**given, "key": place / "load.key", "runs": place / "runs", "amplify": "1x", **more})


async def test_a_clone_that_answers_as_production_is_fair(place: Path, incident: Incident) -> None:
    same = Resources(cpu=2, memory=4 << 30)
    steps: list[tuple[int, int]] = []
    async with origin(shop(as_production)) as here:
        conditions = Conditions(clone=same, production=same, warmed=300)
        found = await check(plan(place, here.port), incident, conditions, lambda n, of: steps.append((n, of)))
    assert not found.forbids_holds
    assert not found.forbids_does_not_hold
    assert {finding.severity for finding in found.findings} == {"says nothing"}
    assert found.compared_share == pytest.approx(0.99)  # all but the writes
    assert found.cache == "warmed"
    assert {route.outcome for route in found.routes if route.method == "GET"} == {"alike"}
    assert len(here.requests) == found.requests == steps[-1][1] <= 40
    assert here.connections == 1  # one at a time
    assert all(request.startswith(b"GET ") for request in here.requests)
    assert all(b"baggage: loadtest=v1." in request for request in here.requests)
    assert Fairness.model_validate_json(found.model_dump_json()) == found


async def test_a_clone_with_12_products_can_not_say_holds(place: Path, incident: Incident) -> None:
    async with origin(shop(lambda path: as_production(path, 12))) as here:
        found = await check(plan(place, here.port), incident, Conditions())
    (finding,) = found.forbids_holds
    assert (finding.kind, finding.route) == ("size", "GET /products")
    assert not found.forbids_does_not_hold
    assert "12 rows, where production's answer had room for some 2,300." in finding.what  # 2,000, and longer numbers
    assert "can't say HOLDS" in found.sentence
    (route,) = [each for each in found.routes if each.template == "/products"]
    assert route.recorded_sizes is not None
    assert route.clone_sizes is not None
    assert (route.recorded_sizes.median, route.clone_sizes.median) == (len(listed(PRODUCTS)), len(listed(12)))


@pytest.fixture(scope="module")
def from_upsun(place: Path) -> Incident:
    """The same incident as Upsun tells it: without sizes and statuses of routes, but with those of all together."""
    (place / "upsun.json").write_text(json.dumps(overview(traffic(), grain=10)))
    take([place / "upsun.json"], Wanted(), place / "upsun.reamp")
    return read_incident(place / "upsun.reamp")


@pytest.mark.parametrize(("products", "fair"), [(PRODUCTS, True), (12, False)])
async def test_a_clone_without_data_shows_where_only_the_mean_size_of_all_answers_is_known(
    place: Path, from_upsun: Incident, products: int, fair: bool
) -> None:
    async with origin(shop(lambda path: as_production(path, products))) as here:
        found = await check(plan(place, here.port), from_upsun, Conditions())
    assert [(finding.kind, finding.direction) for finding in found.forbids_holds] == (
        [] if fair else [("size", "easy")]
    )
    assert not found.forbids_does_not_hold


async def test_what_is_behind_a_login_is_told(place: Path, incident: Incident) -> None:
    def to_login(path: str) -> Page:
        return (302, b"", {"Location": f"/login?next={path}"}) if path.startswith("/product/") else as_production(path)

    async with origin(shop(to_login)) as here:
        found = await check(plan(place, here.port), incident, Conditions())
    (finding,) = found.forbids_holds
    assert (finding.kind, finding.route) == ("login", "GET /product/{id}")
    assert "to a login" in finding.what


async def test_packing_is_told_from_what_is_sent(place: Path, incident: Incident) -> None:
    def packed(path: str) -> Page:
        status, body, fields = as_production(path)
        return status, gzip.compress(body), {**fields, "Content-Encoding": "gzip"}

    async with origin(shop(packed)) as here:
        found = await check(plan(place, here.port), incident, Conditions())
    assert not found.forbids_holds
    kinds = {(finding.kind, finding.direction) for finding in found.findings if finding.route == "GET /products"}
    assert kinds == {("compression", "hard")}


async def test_a_cold_clone_and_a_cache_before_it_show(place: Path, incident: Incident) -> None:
    seen: set[str] = set()

    def answer(path: str) -> Page:
        status, body, fields = as_production(path)
        return status, body, {**fields, "Age": "17"} if path in seen else fields

    async def slowly(connection: Connection, _here: Origin) -> None:
        while True:
            path = (await connection.request()).split(b" ", 2)[1].decode()
            status, body, fields = answer(path)
            if path not in seen:
                await asyncio.sleep(0.03)
            seen.add(path)
            lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            await connection.say(f"HTTP/1.1 {status} .\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body)

    many = [record(n / 40, f"/{'abcdefghij'[n % 10]}/x", response_size=40) for n in range(400)]
    folder = place / "many.reamp"
    write_incident(folder, incident.story, many, force=True)
    async with origin(slowly) as here:
        found = await check(plan(place, here.port), read_incident(folder), Conditions())
    assert found.cache == "cold"
    assert {finding.kind for finding in found.doubts} == {"cache", "shared-cache", "resources"}
    assert not found.forbids_does_not_hold


async def test_what_never_answers_is_a_mistake_and_what_breaks_off_is_a_finding(
    place: Path, incident: Incident
) -> None:
    with pytest.raises(UserError, match="does not answer"):
        await check(plan(place, free_port()), incident, Conditions())

    async def rude(connection: Connection, _here: Origin) -> None:
        await connection.request()

    async with origin(rude) as here:
        found = await check(plan(place, here.port), incident, Conditions())
    assert {finding.kind for finding in found.forbids_does_not_hold} == {"failing"}
    assert not found.forbids_holds


async def test_what_takes_too_long_is_left_and_said(
    place: Path, incident: Incident, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PATIENCE", 0.5)

    async def tired(connection: Connection, here: Origin) -> None:
        while True:
            path = (await connection.request()).split(b" ", 2)[1].decode()
            if path == "/products":
                await connection.hang()
            status, body, fields = as_production(path)
            lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            await connection.say(f"HTTP/1.1 {status} .\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body)
            here.connections += 1

    async with origin(tired) as here:
        found = await check(plan(place, here.port), incident, Conditions())
    assert found.compared_share < 0.9
    assert any("the clone took longer" in route.why for route in found.routes)
    assert any(finding.kind == "not-compared" and finding.direction == "either" for finding in found.findings)


async def test_a_live_target_and_one_that_no_list_allows_are_refused(place: Path, incident: Incident) -> None:
    live = plan(place, 1).model_copy(update={"idle_target": False, "sidecars": ("http://127.0.0.1:8901",)})
    with pytest.raises(UserError, match="idle clone only"):
        await check(live, incident, Conditions())
    allowed = place / "targets"
    allowed.write_text("staging.example\n")
    with pytest.raises(UserError, match="not on the list"):
        await check(plan(place, 1, allowed_targets=allowed), incident, Conditions())
    with pytest.raises(UserError, match="--key"):
        await check(plan(place, 1, key=None), incident, Conditions())


def test_warming_plays_the_incident_as_it_was(place: Path, incident: Incident) -> None:
    loud = plan(place, 1, amplify="3x", slo=["error_ratio<1%"])
    short = warming(loud, incident, Duration(4))
    assert (str(short.amplify), str(short.duration), short.loop) == ("1x", "4s", False)
    assert not short.slo
    assert warming(loud, incident, Duration(60)).loop
    assert Plan.model_validate(short.model_dump()) == short


async def test_what_comes_from_the_clone_moves_no_terminal(
    place: Path, incident: Incident, capsys: pytest.CaptureFixture[str]
) -> None:
    nasty = {"Location": "http://evil\x9b2J[red]/products", "X-Cache": "HIT \x9b2J[/red]"}
    async with origin(shop(lambda _: (302, b"", nasty))) as here:
        found = await check(plan(place, here.port), incident, Conditions())
    show(screen(), found)
    told = capsys.readouterr().out
    assert "\x9b" not in told
    assert "[/red]" in told
    assert "GET /products" in told
    assert "can't say HOLDS" in told


# --- as a command ---


async def command(place: Path, port: int, *more: str) -> tuple[int, str, str]:
    to = ["--to", f"http://127.0.0.1:{port}", "--idle-target", "--key", str(place / "load.key")]
    to += ["--runs", str(place / "runs")]
    done = await asyncio.to_thread(run, "drill", "check", str(place / "incident.reamp"), *to, *more)
    return done.returncode, done.stdout, done.stderr


async def test_the_command_warms_compares_and_says_so_by_its_exit_code(place: Path) -> None:
    async with origin(shop(as_production)) as here:
        code, out, err = await command(place, here.port, "--warm", "1s", "--cpu", "2", "--incident-cpu", "2", "--json")
    assert code == Exit.DONE, err
    found = Fairness.model_validate(json.loads(out))
    assert found.warmed_seconds == pytest.approx(1, abs=0.5)
    assert len(list((place / "runs").iterdir())) == 1
    async with origin(shop(lambda path: as_production(path, 12))) as here:
        code, out, err = await command(place, here.port)
    assert code == Exit.NOT_PROVEN, err
    assert "UNFAIR" in out
    assert "GET /products" in out


def test_a_target_that_is_not_said_to_be_idle_is_refused(place: Path) -> None:
    done = run(
        *("drill", "check", str(place / "incident.reamp"), "--to", "http://127.0.0.1:1"),
        *("--key", str(place / "load.key")),
    )
    assert done.returncode == Exit.CONFIGURATION
    assert "--idle-target" in done.stderr
    assert "--sidecar" not in done.stderr
