"""Incidents taken from files of other tools, as whoever reads the file finds them."""

import gzip
import io
import json
import random
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captures.exchange.formats import FORMATS, guess
from captures.exchange.intake import Asked
from captures.exchange.notes import Notes
from captures.exchange.options import ReadOptions, WriteOptions, at_random
from captures.keyring import Recipients
from captures.records import Record
from captures.redaction import Redactor
from drill.incident import read_incident
from drill.sources.taking import take
from drill.sources.wanted import Wanted
from drill.story import Story
from rules.exits import UserError
from rules.units import Duration
from tests.captures.making import KEY, NOON, record

SECOND = 10**9
ROUTES = ("/", "/cart", "/search", "/item/7", "/login")


def traffic(seconds: int = 60, rate: int = 20) -> list[Record]:
    """Requests of five routes whose shares change, with failures."""
    drawn = random.Random(7)
    made = []
    for number in range(seconds * rate):
        at = NOON + int(number / rate * SECOND) + drawn.randrange(SECOND // rate)
        path = drawn.choices(ROUTES, weights=[5, 4, 1 + number / 100, 2, 1])[0]
        status = 504 if path == "/search" and number > 600 else 200
        made.append(record(at, path=path, status=status, duration_ns=drawn.randrange(10**7, 3 * 10**9)))
    return made


def stamp(at_ns: int) -> str:
    return f"{datetime.fromtimestamp(at_ns // SECOND, UTC):%d/%b/%Y:%H:%M:%S +0000}"


def combined(records: Iterable[Record]) -> str:
    return "".join(
        f'10.0.0.1 - - [{stamp(one.arrival_ns)}] "{one.method} {one.path} HTTP/1.1" {one.status} 512 "-" "Browser"\n'
        for one in records
    )


def taken(tmp_path: Path, files: list[Path], **wanted: object) -> tuple[Story, list[Record]]:
    output = tmp_path / "incident.reamp"
    story = take(files, Wanted(**wanted), output)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
    found = read_incident(output)
    assert found.story == story
    return story, list(found.capture.records())


def by_route_and(step_ns: int, records: Iterable[Record]) -> Counter[tuple[str, int]]:
    return Counter((one.path, one.arrival_ns // step_ns) for one in records)


def test_a_log_keeps_the_rate_of_each_route_in_every_second(tmp_path: Path) -> None:
    made = traffic()
    (tmp_path / "access.log").write_text(combined(made))
    story, records = taken(tmp_path, [tmp_path / "access.log"])
    assert by_route_and(SECOND, records) == by_route_and(SECOND, made)
    assert Counter(one.status for one in records) == Counter(one.status for one in made)
    assert (story.source, story.told) == ("log", "access.log (access log)")
    assert (story.begin_ns, story.end_ns) == (NOON, NOON + 60 * SECOND)
    assert (story.times, story.grain, story.seed, story.outcomes) == ("drawn", 1.0, 1, "records")
    assert any(note.startswith("how long answers took is not known; if times are") for note in story.notes)


def test_within_its_second_a_request_may_come_at_any_time(tmp_path: Path) -> None:
    (tmp_path / "access.log").write_text(combined(record(NOON) for _ in range(2000)))
    offsets = [one.arrival_ns - NOON for one in taken(tmp_path, [tmp_path / "access.log"])[1]]
    assert min(offsets) >= 0
    assert max(offsets) < SECOND
    distance = max(abs(at / SECOND - number / 2000) for number, at in enumerate(offsets))
    assert 0.001 < distance < 0.043  # what Kolmogorov and Smirnov let pass once in a thousand; and it is not even


def test_the_same_seed_draws_the_same_and_another_one_does_not(tmp_path: Path) -> None:
    (tmp_path / "access.log").write_text(combined(traffic(5)))
    drawn = [
        taken(tmp_path, [tmp_path / "access.log"], asked=Asked(ReadOptions(iter(()), seed=seed)), seed=seed, force=True)
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0][1] != drawn[2][1]
    assert by_route_and(SECOND, drawn[0][1]) == by_route_and(SECOND, drawn[2][1])


def test_a_log_that_tells_ends_and_durations_gives_the_beginnings(tmp_path: Path) -> None:
    made = traffic()
    ended = sorted(made, key=lambda one: one.arrival_ns + one.duration_ns)
    (tmp_path / "access.log").write_text(
        "".join(
            f'[{(one.arrival_ns + one.duration_ns) // 10**6 / 1e3:.3f}] "GET {one.path} HTTP/1.1" {one.status} '
            f"{one.duration_ns // 10**6 / 1e3:.3f}\n"
            for one in ended
        )
    )
    form = '[$msec] "$request" $status $request_time'
    asked = Asked(ReadOptions(iter(()), log_format=form, seed=1), FORMATS["log"])
    story, records = taken(tmp_path, [tmp_path / "access.log"], asked=asked)
    assert (story.times, story.grain, story.seed) == ("kept", None, None)
    assert max(abs(one.arrival_ns - was.arrival_ns) for one, was in zip(records, made, strict=True)) <= 2 * 10**6
    assert [one.path for one in records] == [one.path for one in made]


@pytest.mark.parametrize("format_", ["jsonl", "har"])
def test_what_knows_each_time_keeps_it(tmp_path: Path, format_: str) -> None:
    made = traffic(20)
    writer = FORMATS[format_].write
    assert writer
    raw = io.BytesIO()
    writer(made, raw, WriteOptions(), Notes())
    (tmp_path / "requests.gz").write_bytes(gzip.compress(raw.getvalue()))
    story, records = taken(tmp_path, [tmp_path / "requests.gz"])
    assert by_route_and(10 * SECOND, records) == by_route_and(10 * SECOND, made)
    assert [one.arrival_ns for one in records] == [one.arrival_ns for one in made]
    assert (story.times, story.source) == ("kept", "har" if format_ == "har" else "other")


def test_csv_of_urls_and_times(tmp_path: Path) -> None:
    made = traffic(20)
    rows = [
        f"https://shop.example{one.path},{datetime.fromtimestamp(one.arrival_ns / 1e9, UTC):%FT%T}Z" for one in made
    ]
    (tmp_path / "urls.csv").write_text("\n".join(["url,timestamp", *rows]))
    story, records = taken(tmp_path, [tmp_path / "urls.csv"])
    assert by_route_and(SECOND, records) == by_route_and(SECOND, made)
    assert {(one.scheme, one.authority) for one in records} == {("https", "shop.example")}
    assert (story.source, story.times, story.outcomes, story.grain) == ("csv", "drawn", "none", 1.0)


def test_requests_without_times_need_a_rate(tmp_path: Path) -> None:
    targets = tmp_path / "list.targets"
    targets.write_text("".join(f"GET http://shop.example/item/{number}\n" for number in range(3000)))
    with pytest.raises(UserError, match="--rate"):
        take([targets], Wanted(), tmp_path / "incident.reamp")
    asked = Asked(ReadOptions(at_random(NOON, 100.0, 1), seed=1), times_given=True, times_needed=True)
    story, records = taken(tmp_path, [targets], asked=asked)
    assert len(records) == 3000
    assert 27 < story.seconds < 33
    assert (story.times, story.outcomes, story.seed) == ("drawn", "none", 1)


def test_secrets_are_replaced_and_it_is_said(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(combined([record(NOON, path="/login?password=geheimnis")]))
    _, (one,) = taken(tmp_path, [log], redactor=lambda: Redactor(KEY))
    assert "geheimnis" not in one.path
    header = read_incident(tmp_path / "incident.reamp").capture.segments[0].header
    assert header is not None
    assert header.redaction["key"]


def test_what_is_for_others_is_never_there_in_plain(tmp_path: Path) -> None:
    log, incident = tmp_path / "access.log", tmp_path / "incident.reamp"
    log.write_text(combined([record(NOON, path="/somewhere/rare")]))
    recipients = Recipients(["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"])
    take([log], Wanted(recipients=recipients), incident)
    with pytest.raises(UserError, match="encrypted"):
        read_incident(incident)
    assert b"rare" not in incident.read_bytes()


def test_lines_that_do_not_read_are_told_without_what_is_in_them(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    stamped = stamp(NOON)
    log.write_text(combined(traffic(2)) + f'h - - [{stamped}] "token=geheimnis" 200 5 "-" "-"\n' + "nonsense\n" * 6)
    notes = taken(tmp_path, [log])[0].notes
    told = "7 entries did not read and are left out (line 41, line 42, line 43, ...; captures import tells why)"
    assert told in notes
    assert "geheimnis" not in str(notes)


def test_several_logs_are_one_incident_and_kinds_do_not_mix(tmp_path: Path) -> None:
    made = traffic(10)
    for name, part in (("a.log", made[::2]), ("b.log", made[1::2])):
        (tmp_path / name).write_text(combined(part))
    _, records = taken(tmp_path, [tmp_path / "a.log", tmp_path / "b.log"])
    assert by_route_and(SECOND, records) == by_route_and(SECOND, made)
    with pytest.raises(UserError, match="different kinds"):
        take([tmp_path / "a.log", tmp_path / "incident.reamp"], Wanted(), tmp_path / "other.reamp")


def test_a_window_of_a_log_has_whole_seconds(tmp_path: Path) -> None:
    made = traffic()
    (tmp_path / "access.log").write_text(combined(made))
    story, records = taken(tmp_path, [tmp_path / "access.log"], around_peak=Duration(10.5))
    assert story.begin_ns % SECOND == story.end_ns % SECOND == 0
    inside = [one for one in made if story.begin_ns <= one.arrival_ns < story.end_ns]
    assert by_route_and(SECOND, records) == by_route_and(SECOND, inside)


@settings(max_examples=50)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_file_whatever_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "any.log").write_bytes(data)
    try:
        take([folder / "any.log"], Wanted(), folder / "incident.reamp")
    except UserError:
        assert not (folder / "incident.reamp").exists()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_json_bombs_are_no_incident(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.json"
    bomb.write_text("[" * 100_000)
    with pytest.raises(UserError):
        take([bomb], Wanted(), tmp_path / "incident.reamp")
    bomb.write_text(json.dumps({"log": {"entries": [{"startedDateTime": "9" * 9000}] * 100}}))
    with pytest.raises(UserError, match="no request"):
        take([bomb], Wanted(), tmp_path / "incident.reamp")


def test_what_several_files_lost_is_added_up(tmp_path: Path) -> None:
    records = traffic(20, 1)
    for name in ("access.log", "access.log.1"):
        (tmp_path / name).write_text(combined(records[:10]) + "what is this\n")
    story, _ = taken(tmp_path, [tmp_path / "access.log", tmp_path / "access.log.1"])
    assert "lost of 20 requests: duration: the log tells none, it counts as 0" in story.notes
    told = (
        "2 entries did not read and are left out (access.log line 11, access.log.1 line 11; captures import tells why)"
    )
    assert told in story.notes


def test_a_log_of_json_with_method_and_url_is_none_of_targets(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text(
        "".join(
            f'{{"time":"2026-11-22T14:02:03.{number:03d}Z","method":"GET","url":"/{number}","status":200}}\n'
            for number in range(3)
        )
    )
    story, records = taken(tmp_path, [tmp_path / "app.log"])
    assert (story.source, [one.path for one in records]) == ("log", ["/0", "/1", "/2"])


def test_targets_are_known_by_what_they_begin_with() -> None:
    target = b'{"method": "POST", "url": "https://shop.example/", "body": "' + b"eA==" * 2000
    assert guess("x", target + b'"}\n') is FORMATS["vegeta"]
    assert guess("x", target[:4096]) is FORMATS["vegeta"]
    assert guess("x", b'{"data": ' + target[:4096]) is None
