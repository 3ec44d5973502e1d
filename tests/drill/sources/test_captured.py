"""Incidents taken from captures, as whoever reads the file finds them."""

import fcntl
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captures import codec
from captures.batch import BatchWriter
from captures.keyring import Identities, Recipients
from captures.moments import iso
from captures.records import Record
from drill.incident import read_incident
from drill.sources.taking import take
from drill.sources.wanted import Wanted
from rules.exits import UserError
from rules.units import Duration
from rules.wire import Accounting
from tests.captures.making import NOON, frame, header, record

SECOND = 10**9
MADE = [record(NOON + number * SECOND // 4, path=f"/item/{number}") for number in range(2400)]


def capture(folder: Path, records: list[Record]) -> Path:
    with BatchWriter(folder) as out:
        for one in records:
            out.write(one)
    return folder


def test_a_window_holds_what_arrived_in_it_as_it_was(tmp_path: Path) -> None:
    source = capture(tmp_path / "recordings", MADE)
    story = take([source], Wanted(from_="12:02", to="12:04:30"), tmp_path / "incident.reamp")
    found = read_incident(tmp_path / "incident.reamp")
    assert found.story == story
    assert (story.begin_ns, story.end_ns) == (NOON + 120 * SECOND, NOON + 270 * SECOND)
    assert list(found.capture.records()) == MADE[480:1080]
    assert (story.source, story.told, story.outcomes, story.times) == (
        "capture",
        "the capture recordings",
        "records",
        "kept",
    )


def test_the_time_beyond_a_capture_is_not_made_up(tmp_path: Path) -> None:
    source = capture(tmp_path / "recordings", MADE)
    story = take([source], Wanted(from_="11:00", to="13:00"), tmp_path / "incident.reamp")
    assert (story.begin_ns, story.end_ns) == (NOON, MADE[-1].arrival_ns + 1)
    assert story.notes == (
        "the source begins at 2026-11-21T12:00:00.000Z, 3,600 s after the time asked for",
        "the source ends at 2026-11-21T12:09:59.750Z, 3,000 s before the time asked for",
    )
    for wanted in (Wanted(from_="14:00"), Wanted(to="11:00"), Wanted(from_="12:05", to="12:04"), Wanted(from_="noon")):
        with pytest.raises(UserError):
            take([source], wanted, tmp_path / "nothing.reamp")
    assert not (tmp_path / "nothing.reamp").exists()


def test_around_the_peak(tmp_path: Path) -> None:
    broken = [one._replace(status=503) if 1600 <= number < 1800 else one for number, one in enumerate(MADE)]
    source = capture(tmp_path / "recordings", broken)
    story = take([source], Wanted(around_peak=Duration(120)), tmp_path / "incident.reamp")
    assert story.seconds == 120
    assert story.begin_ns < broken[1600].arrival_ns - 30 * SECOND
    assert story.end_ns > broken[1600].arrival_ns + 30 * SECOND
    assert "4/s, 100.0% of them failed (as a rule 4/s)" in story.notes[0]


def test_a_peak_of_a_short_source_lies_in_it(tmp_path: Path) -> None:
    """Its parts are longer than the source then, and the middle of one would be after its end."""
    story = take([capture(tmp_path / "recordings", MADE)], Wanted(around_peak=Duration(360_000)), tmp_path / "a.reamp")
    assert (story.begin_ns, story.end_ns) == (MADE[0].arrival_ns, MADE[-1].arrival_ns + 1)
    found = re.search(r"the peak is about (\S+): ([0-9.]+)/s", story.notes[0])
    assert found is not None
    assert iso(story.begin_ns) <= found[1] <= iso(story.end_ns)
    assert float(found[2]) == pytest.approx(len(MADE) / story.seconds, rel=0.01)


def test_one_request_with_a_wrong_clock_does_not_hide_the_peak(tmp_path: Path) -> None:
    broken = [one._replace(status=503) if 1600 <= number < 1800 else one for number, one in enumerate(MADE)]
    source = capture(tmp_path / "recordings", [record(5), *broken])
    story = take([source], Wanted(around_peak=Duration(120)), tmp_path / "incident.reamp")
    assert story.seconds == 120
    assert story.begin_ns < broken[1600].arrival_ns - 30 * SECOND
    assert story.end_ns > broken[1600].arrival_ns + 30 * SECOND


def test_of_an_incident_a_part_can_be_taken(tmp_path: Path) -> None:
    take([capture(tmp_path / "recordings", MADE)], Wanted(to="12:05"), tmp_path / "long.reamp")
    story = take([tmp_path / "long.reamp"], Wanted(from_="12:01", to="12:02"), tmp_path / "short.reamp")
    assert story.told == "the capture recordings"
    assert list(read_incident(tmp_path / "short.reamp").capture.records()) == MADE[240:480]


def test_several_captures_are_one(tmp_path: Path) -> None:
    one, other = capture(tmp_path / "one", MADE[::2]), capture(tmp_path / "other", MADE[1::2])
    take([one, other], Wanted(), tmp_path / "incident.reamp")
    assert list(read_incident(tmp_path / "incident.reamp").capture.records()) == MADE


def test_an_incident_is_not_put_together_with_others(tmp_path: Path) -> None:
    recordings = capture(tmp_path / "recordings", MADE)
    take([recordings], Wanted(), tmp_path / "incident.reamp")
    with pytest.raises(UserError, match=r"incident.reamp is an incident, and what is told of it holds for it alone"):
        take([recordings, tmp_path / "incident.reamp"], Wanted(), tmp_path / "more.reamp")


def test_what_is_not_wanted_and_what_bears_a_tag_is_left_out(tmp_path: Path) -> None:
    tagged = record(NOON + 5, headers=((b"baggage", b"loadtest=v1.a.b.c.d.e"),))
    posts = [one._replace(method="POST") for one in MADE[:10]]
    source = capture(tmp_path / "recordings", [tagged, *posts, *MADE[10:]])
    wanted = Wanted(but="~m POST", matches=lambda one: one.method != "POST")
    story = take([source], wanted, tmp_path / "incident.reamp")
    assert list(read_incident(tmp_path / "incident.reamp").capture.records()) == MADE[10:]
    assert story.notes == (
        "--except '~m POST'",
        "left out are 1 requests that bear a load tag: they are no users'",
        "left out are 10 requests by --only and --except",
    )


def test_what_nobody_knows_is_told(tmp_path: Path) -> None:
    unknown = [one._replace(status=0, ttfb_ns=-1, duration_ns=0) for one in MADE]
    story = take([capture(tmp_path / "tap", unknown)], Wanted(), tmp_path / "incident.reamp")
    assert story.outcomes == "none"
    untimed = [one._replace(duration_ns=0) for one in MADE]
    story = take([capture(tmp_path / "log", untimed)], Wanted(), tmp_path / "other.reamp")
    assert story.notes == ("how long answers took is not known",)
    assert story.outcomes == "records"


def test_what_is_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "picture").write_bytes(bytes(range(256)) * 9)
    for name, why in (("empty", "it is empty"), ("picture", "it is nothing that"), ("gone", "No such file")):
        with pytest.raises(UserError, match=why):
            take([tmp_path / name], Wanted(), tmp_path / "incident.reamp")


def test_silence_is_told_with_its_cause(tmp_path: Path) -> None:
    made = [one for number, one in enumerate(MADE) if not 800 <= number < 1200]
    story = take([capture(tmp_path / "recordings", made)], Wanted(to="12:08"), tmp_path / "incident.reamp")
    assert story.notes == ("there is no request from 2026-11-21T12:03:19.750Z to 2026-11-21T12:05:00.000Z (100.2 s)",)
    story = take([tmp_path / "recordings"], Wanted(from_="12:04", to="12:08"), tmp_path / "other.reamp")
    assert story.seconds == 240
    assert story.notes == ("there is no request from 2026-11-21T12:04:00.000Z to 2026-11-21T12:05:00.000Z (60.0 s)",)


def recorded(path: Path, records: list[Record], *, dropped: int, until: int, sequence: int = 1) -> None:
    """Write a segment as a sidecar does that opened it at noon, and dropped requests."""
    head, body = header(sequence, accounting=Accounting(seen=5, dropped=5)), frame(records)
    seen = 5 + len(records) + dropped
    footer = codec.Footer(
        closed_ns=until,
        why="end",
        records=len(records),
        first_ns=records[0].arrival_ns,
        last_ns=records[-1].arrival_ns,
        accounting=Accounting(seen=seen, written=len(records), dropped=5 + dropped),
    )
    index = [(len(head), records[0].arrival_ns, records[-1].arrival_ns, len(records))]
    path.write_bytes(head + body + codec.pack_footer(footer, index, len(head) + len(body)))


@pytest.mark.parametrize(
    ("dropped", "until", "why"),
    [
        (0, 700, "the sidecar ran, and nothing came through"),
        (9, 700, "the sidecar ran, and dropped requests meanwhile"),
    ],
)
def test_what_the_sidecar_says_of_silence(tmp_path: Path, dropped: int, until: int, why: str) -> None:
    made = [one for number, one in enumerate(MADE) if not 800 <= number < 1200]
    recorded(tmp_path / "one.reamp", made, dropped=dropped, until=NOON + until * SECOND)
    story = take([tmp_path / "one.reamp"], Wanted(), tmp_path / "incident.reamp")
    assert story.notes[0].endswith(f"(100.2 s): {why}")
    lost = f"up to {dropped} requests of this time are missing: the sidecar had to drop them while it recorded"
    assert story.notes[1:] == ((lost,) if dropped else ())


def test_a_capture_without_an_end_is_told(tmp_path: Path) -> None:
    path = tmp_path / "one.reamp"
    path.write_bytes(header() + frame(MADE))
    last = iso(MADE[-1].arrival_ns)
    story = take([path], Wanted(), tmp_path / "incident.reamp")
    assert story.notes == (f"one.reamp was torn off at {last}: what was not on the disk then is missing",)
    assert not take([path], Wanted(to="12:05"), tmp_path / "earlier.reamp").notes
    with path.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        story = take([path], Wanted(), tmp_path / "other.reamp")
    told = "the capture is being written at this moment: requests that have no answer yet are not in it"
    assert story.notes == (told,)


def test_what_was_encrypted_opens_with_its_key_and_is_told_to_be_open(tmp_path: Path) -> None:
    key = pyrage.x25519.Identity.generate()
    recipients, identities = Recipients([str(key.to_public())]), Identities([key])
    with BatchWriter(tmp_path / "sealed", recipients=recipients) as out:
        for one in MADE:
            out.write(one)
    with pytest.raises(UserError, match="--identity"):
        take([tmp_path / "sealed"], Wanted(), tmp_path / "incident.reamp")
    story = take([tmp_path / "sealed"], Wanted(identities=identities), tmp_path / "incident.reamp")
    assert story.notes == ("what this is from is encrypted, and this is not (--encrypt-to)",)
    wanted = Wanted(identities=identities, recipients=recipients)
    assert take([tmp_path / "sealed"], wanted, tmp_path / "other.reamp").notes == ()
    assert list(read_incident(tmp_path / "other.reamp", identities).capture.records()) == MADE


def test_what_was_dropped_at_another_time_is_none_of_the_incident(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    early, late = MADE[:400], MADE[400:]
    recorded(tmp_path / "parts/1.reamp", early, dropped=9, until=late[0].arrival_ns)
    recorded(tmp_path / "parts/2.reamp", late, dropped=0, until=NOON + 700 * SECOND, sequence=2)
    assert take([tmp_path / "parts"], Wanted(from_="12:03"), tmp_path / "incident.reamp").notes == ()
    (lost,) = take([tmp_path / "parts"], Wanted(to="12:03"), tmp_path / "other.reamp").notes
    assert lost.startswith("up to 9 requests of this time are missing")


def test_a_sample_is_told_to_be_one(tmp_path: Path) -> None:
    with BatchWriter(tmp_path / "part", extra={"recorded": {"sample": "10%", "session_by": "cookie"}}) as out:
        for one in MADE:
            out.write(one)
    story = take([tmp_path / "part"], Wanted(), tmp_path / "incident.reamp")
    assert story.notes == (
        "recorded were only 10% of the sessions (by cookie): rates are those of what was recorded, and users sent more",
    )


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 120 * 10**9 - 1), st.sampled_from(["/", "/cart", "/item/7"])), max_size=60),
    st.integers(0, 119),
    st.integers(1, 120),
)
def test_each_route_keeps_its_rate_in_every_ten_seconds(
    tmp_path_factory: pytest.TempPathFactory, requests: list[tuple[int, str]], start: int, length: int
) -> None:
    folder = tmp_path_factory.mktemp("window")
    made = [record(NOON + at, path=path) for at, path in [*requests, (0, "/"), (120 * SECOND - 1, "/")]]
    source = capture(folder / "recordings", made)
    begin, end = NOON + start * SECOND, min(NOON + (start + length) * SECOND, NOON + 120 * SECOND)
    inside = [one for one in made if begin <= one.arrival_ns < end]
    wanted = Wanted(from_=iso(begin), to=iso(end))
    if not inside:
        with pytest.raises(UserError):
            take([source], wanted, folder / "incident.reamp")
        return
    take([source], wanted, folder / "incident.reamp")
    found = read_incident(folder / "incident.reamp")
    assert (found.story.begin_ns, found.story.end_ns) == (begin, end)

    def counted(records: Iterable[Record]) -> Counter[tuple[str, int]]:
        return Counter((one.path, (one.arrival_ns - begin) // (10 * SECOND)) for one in records)

    assert counted(found.capture.records()) == counted(inside)
