"""Incidents drawn from sources that know rates only, as whoever reads the file finds them."""

import gzip
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from captures.batch import BatchWriter
from captures.endpoints import endpoints
from captures.exchange.intake import Asked
from captures.exchange.options import ReadOptions
from captures.moments import SECOND, iso
from captures.records import Record
from captures.redaction import Redactor
from captures.templates import template
from drill.incident import Incident, read_incident
from drill.sources import rated
from drill.sources.taking import take
from drill.sources.wanted import Drawing, Wanted
from rules.exits import UserError
from rules.units import Duration
from tests.captures.making import KEY, MS, NOON, record
from tests.support.processes import run
from tests.support.upsun import breakdown, overview

GRAIN = 10
TAG = (b"baggage", b"loadtest=v1.k.run.9999999999.aud.c2ln")


def traffic(seconds: int = 240) -> list[Record]:
    """A shop whose search takes it down after two minutes: more requests, and slow and failing answers."""
    draw = random.Random(4)
    made = []
    for number in range(seconds * 12):
        at = NOON + number * SECOND // 12
        bad = at >= NOON + 120 * SECOND
        path = draw.choices(
            ["/", f"/item/{draw.randint(1000, 1400)}", f"/search?q={draw.choice('abcde')}", "/cart", "/about"],
            [4, 5, 9 if bad else 2, 1, 0.2],
        )[0]
        slow = bad and path.startswith("/search")
        made.append(
            record(
                at + draw.randrange(50 * MS),
                path=path,
                method="POST" if path == "/cart" else "GET",
                body=b"sku=7" if path == "/cart" else b"",
                body_size=5 if path == "/cart" else 0,
                headers=((b"Host", b"shop.example"), (b"User-Agent", f"browser {number % 5}".encode())),
                status=503 if slow and draw.random() < 0.6 else 200,
                duration_ns=draw.randrange(MS, 40 * MS) * (60 if slow else 1),
            )
        )
    return made


TRAFFIC = traffic()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same traffic as a capture and as Upsun's JSON, of all URLs and of those with most impact."""
    folder = tmp_path_factory.mktemp("shop")
    with BatchWriter(folder / "recordings") as out:
        for one in TRAFFIC:
            out.write(one)
        out.write(record(NOON + SECOND, path="/by-load", headers=(TAG,)))
    (folder / "all.json").write_text(json.dumps(overview(TRAFFIC, grain=GRAIN, top=1000)))
    (folder / "top.json").write_text(json.dumps(overview(TRAFFIC, grain=GRAIN, top=20)))
    (folder / "breakdown.json").write_text(json.dumps(breakdown(TRAFFIC, grain=GRAIN)))
    return folder


def taken(source: Path, output: Path, wanted: Wanted = Wanted(), **drawing: Any) -> Incident:  # noqa: B008
    found = output / f"{len(list(output.iterdir()))}.reamp"
    take([source], wanted._replace(drawing=Drawing(**drawing)), found)
    return read_incident(found)


def by_grain(records: list[Record], *, queries: bool = False) -> Counter[tuple[int, str, str]]:
    grain = GRAIN * SECOND
    return Counter(
        (one.arrival_ns // grain, one.method, one.path if queries else template(one.path)) for one in records
    )


def test_each_route_has_its_requests_in_every_grain(shop: Path, tmp_path: Path) -> None:
    found = taken(shop / "all.json", tmp_path)
    records = list(found.capture.records())
    assert by_grain(records) == by_grain(TRAFFIC)
    assert {one.path for one in records} == {one.path.partition("?")[0] for one in TRAFFIC}
    assert all(one.unknown and one.authority == "shop.example" for one in records)
    story = found.story
    assert (story.source, story.times, story.grain, story.seed, story.outcomes) == ("upsun", "drawn", 10.0, 1, "routes")
    assert story.outside is None
    assert (story.begin_ns, story.end_ns) == (NOON, NOON + 240 * SECOND)


def test_the_story_tells_what_came_back(shop: Path, tmp_path: Path) -> None:
    story = taken(shop / "all.json", tmp_path).story
    known = {(one.method, one.path): one for one in endpoints(TRAFFIC)}
    told = {(route.method, route.template): route for route in story.routes}
    assert told.keys() == known.keys()
    for key, route in told.items():
        assert route.count == known[key].count
        assert route.mean == pytest.approx(known[key].mean_ns / 1e9)
    assert story.routes[0].template == "/search"
    durations = sorted(one.duration_ns / 1e9 for one in TRAFFIC if one.path.startswith("/search"))
    assert told["GET", "/search"].quantiles["p96"] == pytest.approx(durations[int(len(durations) * 0.96)])
    assert story.statuses == {
        "2XX": sum(one.status == 200 for one in TRAFFIC),
        "5XX": sum(one.status == 503 for one in TRAFFIC),
    }


def test_what_is_not_known_is_filled_from_real_requests(shop: Path, tmp_path: Path) -> None:
    found = taken(shop / "top.json", tmp_path, fill_from=(shop / "recordings",))
    records = list(found.capture.records())
    assert len(records) == len(TRAFFIC)
    assert {one.path for one in records} <= {one.path for one in TRAFFIC}
    assert all(one.body == b"sku=7" for one in records if one.path == "/cart")
    assert all(dict(one.headers)[b"User-Agent"].startswith(b"browser") for one in records)
    real, drawn = by_grain(TRAFFIC, queries=True), by_grain(records, queries=True)
    for path in ("/", "/cart"):
        assert {key: count for key, count in drawn.items() if key[2] == path} == {
            key: count for key, count in real.items() if key[2] == path
        }
    outside = found.story.outside
    assert outside is not None
    assert (outside.filled, outside.by) == ("example", "recordings")
    listed = sum(url["count"] for url in overview(TRAFFIC, grain=GRAIN, top=20)["data"]["urls"].values())
    assert outside.share == pytest.approx(1 - listed / len(TRAFFIC))
    (told,) = (note for note in found.story.notes if "other URLs than those that the source tells of" in note)
    assert f"{outside.share:.1%}" in told
    assert "filled with" in told
    assert "recordings" in told
    items = [sum(one.path.startswith("/item/") for one in each) for each in (records, TRAFFIC)]
    assert items[0] == pytest.approx(items[1], rel=0.05)


def test_without_an_example_the_share_outside_is_told(shop: Path, tmp_path: Path) -> None:
    found = taken(shop / "top.json", tmp_path)
    outside = found.story.outside
    assert outside is not None
    assert outside.filled == "left-out"
    assert found.capture.count == round(len(TRAFFIC) * (1 - outside.share))
    assert any("--fill-from" in note and f"{outside.share:.1%}" in note for note in found.story.notes)


def test_or_the_known_routes_are_scaled_up(shop: Path, tmp_path: Path) -> None:
    found = taken(shop / "top.json", tmp_path, scale_to_total=True)
    grain = GRAIN * SECOND
    assert Counter(one.arrival_ns // grain for one in found.capture.records()) == Counter(
        one.arrival_ns // grain for one in TRAFFIC
    )
    assert found.story.outside is not None
    assert found.story.outside.filled == "scaled"


def test_the_breakdown_gives_the_same_routes(shop: Path, tmp_path: Path) -> None:
    found = taken(shop / "breakdown.json", tmp_path, fill_from=(shop / "recordings",))
    real = Counter((one.method, template(one.path)) for one in TRAFFIC)
    drawn = Counter((one.method, template(one.path)) for one in found.capture.records())
    assert sum(drawn.values()) == pytest.approx(len(TRAFFIC), abs=2)
    for key, count in real.items():
        assert drawn[key] == pytest.approx(count, rel=0.05, abs=8)


def test_files_that_follow_each_other_are_one_incident(shop: Path, tmp_path: Path) -> None:
    middle = NOON + 120 * SECOND
    parts = [[one for one in TRAFFIC if (one.arrival_ns < middle) == early] for early in (True, False)]
    for name, part in zip(("early", "late"), parts, strict=True):
        (tmp_path / f"{name}.json").write_text(json.dumps(overview(part, grain=GRAIN, top=1000)))
    take([tmp_path / "late.json", tmp_path / "early.json"], Wanted(), tmp_path / "incident.reamp")
    found = read_incident(tmp_path / "incident.reamp")
    assert by_grain(list(found.capture.records())) == by_grain(TRAFFIC)
    assert found.story.statuses == taken(shop / "all.json", tmp_path).story.statuses


def test_a_part_of_the_time(shop: Path, tmp_path: Path) -> None:
    wanted = Wanted(from_=iso(NOON + 125 * SECOND), to=iso(NOON + 180 * SECOND))
    found = taken(shop / "all.json", tmp_path, wanted)
    story = found.story
    assert (story.begin_ns, story.end_ns) == (NOON + 125 * SECOND, NOON + 180 * SECOND)
    whole = [one for one in TRAFFIC if NOON + 130 * SECOND <= one.arrival_ns < NOON + 180 * SECOND]
    drawn = [one for one in found.capture.records() if one.arrival_ns >= NOON + 130 * SECOND]
    assert by_grain(drawn) == by_grain(whole)
    assert any("percentiles of routes are those of all" in note for note in story.notes)


def test_around_the_peak(shop: Path, tmp_path: Path) -> None:
    story = taken(shop / "all.json", tmp_path, Wanted(around_peak=Duration(60))).story
    assert story.seconds == 60
    assert story.begin_ns < NOON + 140 * SECOND < story.end_ns
    assert any("the peak is about" in note for note in story.notes)


def test_the_same_seed_gives_the_same_incident(shop: Path, tmp_path: Path) -> None:
    given = {"fill_from": (shop / "recordings",), "smooth": True}
    first, again, other = (
        list(taken(shop / "top.json", tmp_path, Wanted(seed=seed), **given).capture.records()) for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other
    assert by_grain([one for one in first if one.path == "/"]) == by_grain([one for one in other if one.path == "/"])


def test_requests_may_be_left_out(shop: Path, tmp_path: Path) -> None:
    wanted = Wanted(only="~m POST", matches=lambda one: one.method == "POST")
    found = taken(shop / "all.json", tmp_path, wanted)
    assert found.capture.count == sum(one.method == "POST" for one in TRAFFIC)
    assert "--only '~m POST'" in found.story.notes


def test_an_access_log_fills_as_well(shop: Path, tmp_path: Path) -> None:
    log = tmp_path / "access.log.gz"
    with gzip.open(log, "wt") as file:
        for one in TRAFFIC:
            file.write(f'::1 - - [22/Nov/2026:10:00:00 +0000] "{one.method} {one.path} HTTP/1.1" 200 5 "-" "curl"\n')
    found = taken(shop / "top.json", tmp_path, fill_from=(log,))
    assert found.capture.count == len(TRAFFIC)
    assert all((b"User-Agent", b"curl") in one.headers for one in found.capture.records())


def test_a_table_of_counts(tmp_path: Path) -> None:
    (tmp_path / "top.csv").write_text("url,count\n/product/{id},400\nPOST https://shop.example/cart,50\n")
    (tmp_path / "ids.csv").write_text("id,weight\n7,3\n8,1\n")
    asked = Wanted(asked=Asked(ReadOptions(iter(()), authority="b.example", scheme="https")))
    given = {"duration": Duration(120), "values": (str(tmp_path / "ids.csv"),)}
    found = taken(tmp_path / "top.csv", tmp_path, asked, **given)
    records = list(found.capture.records())
    assert Counter((one.method, one.authority) for one in records) == {
        ("GET", "b.example"): 400,
        ("POST", "shop.example"): 50,
    }
    assert found.story.seconds == 120
    assert found.story.outcomes == "none"
    sevens = sum(one.path == "/product/7" for one in records)
    assert 260 <= sevens <= 340
    at = Wanted(from_="2026-11-22T10:00:00Z", to="2026-11-22T11:00:00Z")
    story = taken(tmp_path / "top.csv", tmp_path, at, values=given["values"]).story
    assert (iso(story.begin_ns), story.seconds) == ("2026-11-22T10:00:00.000Z", 3600)
    for begin in ("23:50", "2026-11-22T23:50Z"):
        over = taken(tmp_path / "top.csv", tmp_path, Wanted(from_=begin, to="00:10"), values=given["values"]).story
        assert over.seconds == 1200, begin


def test_what_nothing_fills_is_refused_or_left_out(tmp_path: Path) -> None:
    (tmp_path / "top.csv").write_text("url,count\n/product/{id},400\n/user/{name},200\n/,100\n")
    with pytest.raises(UserError, match=r"/product/\{id\}, /user/\{name\}: 85.7% .* column id with --values"):
        taken(tmp_path / "top.csv", tmp_path, duration=Duration(60))
    found = taken(tmp_path / "top.csv", tmp_path, leave_out_unfilled=True, duration=Duration(60))
    assert found.capture.count == 100
    assert any("85.7% of requests (600): they are left out" in note for note in found.story.notes)


def test_prometheus(tmp_path: Path) -> None:
    points = [[NOON // SECOND + 15 * step, str(value)] for step, value in enumerate((10, 50, 170))]
    series = [{"metric": {"__name__": "x_total", "page": "/a", "how": "POST", "end": "500"}, "values": points}]
    (tmp_path / "range.json").write_text(
        json.dumps({"status": "success", "data": {"resultType": "matrix", "result": series}})
    )
    found = taken(tmp_path / "range.json", tmp_path, route_label="page", method_label="how", status_label="end")
    assert Counter((one.arrival_ns - NOON) // (15 * SECOND) for one in found.capture.records()) == {0: 40, 1: 120}
    (route,) = found.story.routes
    assert (route.method, route.template, route.count, route.failed) == ("POST", "/a", 160, 1.0)
    assert found.story.statuses == {"5XX": 160}


def test_secrets_of_urls_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "top.csv").write_text("url,count\n/login?password=hunter22,9\n")
    found = taken(tmp_path / "top.csv", tmp_path, Wanted(redactor=lambda: Redactor(KEY)), duration=Duration(60))
    assert "hunter22" not in "".join(one.path for one in found.capture.records())
    assert found.capture.segments[0].header is not None
    assert found.capture.segments[0].header.redaction["method"] == "blake2b-96 keyed"


@pytest.mark.parametrize(
    ("text", "name", "drawing", "says"),
    [
        ("url,count\n/,5\n", "a.csv", {}, "--duration 30m"),
        ("url,count\n/,1e14\n", "a.csv", {"duration": Duration(60)}, "at most 20,000,000 are drawn"),
        ("url,count\n/,0.0001\n", "a.csv", {"duration": Duration(60)}, "no request of the incident is left"),
        ("url,count\n/{x},5\n", "a.csv", {"duration": Duration(60), "values": ("none.csv",)}, "none.csv: No such"),
        ("url,count\n/{x},5\n", "a.csv", {"duration": Duration(60), "values": ("x=y=z",)}, "there is no file x=y=z"),
        ("url,count\n/,5\n", "a.csv", {"duration": Duration(60), "fill_from": (Path("none"),)}, "--fill-from: none"),
        ("url,count\n/,-5\n", "a.csv", {"duration": Duration(60)}, r"a.csv: row 2: '-5' is no count"),
        ('{"_grain":60,"_from":0}', "a.json", {}, "a.json: it is neither"),
        ('{"_grain":60,"_from":0}', "a.json", {"duration": Duration(60)}, "--duration is for"),
        ("/,2026-11-22T10:00:00Z\n", "a.csv", {"scale_to_total": True}, "need no filling in"),
    ],
)
def test_what_cannot_be_taken_is_told(tmp_path: Path, text: str, name: str, drawing: dict[str, Any], says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=says):
        taken(tmp_path / name, tmp_path, **drawing)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("x\n", "a row of names"),
        ("x,weight\n1,-1\n", "row 2: '-1' is no weight"),
        ("x,weight\n1,0\n", "no value that could be drawn"),
        ("weight\n1\n", "no value that could be drawn"),
        ("x,y\n1\n", "row 2 has an empty value"),
        ("x\n1\n" * 2 + "x,,\n,,\n", None),
    ],
)
def test_a_table_of_values_that_does_not_read_is_told(tmp_path: Path, table: str, says: str | None) -> None:
    path = tmp_path / "x.csv"
    path.write_text(table)
    if says is None:
        assert len(rated.values_of(f"{path}").rows) == 4
        return
    with pytest.raises(UserError, match=says):
        rated.values_of(f"/{{x}}={path}")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rated, "MOST_BYTES", 1 << 20)
    with gzip.open(tmp_path / "a.json.gz", "wb") as file:
        file.write(b'{"_grain":60,"_from":0,' + b" " * (3 << 20))
    with pytest.raises(UserError, match="larger than 1 MiB"):
        taken(tmp_path / "a.json.gz", tmp_path)


def test_the_command(shop: Path, tmp_path: Path) -> None:
    output = tmp_path / "incident.reamp"
    given = ("--fill-from", str(shop / "recordings"), "--redaction-key", str(tmp_path / "key"), "--seed", "3")
    done = run("drill", "from", str(shop / "top.json"), "-o", str(output), *given)
    assert done.returncode == 0, done.stderr
    assert "arrivals are drawn" in done.stdout
    story = read_incident(output).story
    assert (story.seed, story.source) == (3, "upsun")
    assert run("captures", "verify", str(output)).returncode == 0
