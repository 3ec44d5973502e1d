"""The same replay onto real servers of different makes, held against what each wrote into its own access log.

Each record bears its number (`x-record`), so a log tells which records came, how often, and in which order. What a run
says of itself has to agree with what the server says of it, record by record.

It sends 3,000 records to each; ``REAMP_ORIGIN_RECORDS=50000`` in the environment makes it more, and the rate higher
(``REAMP_ORIGIN_RATE``, in requests per second, sets it apart). What is shown here is completeness, not speed: the rate
is one that a busy machine can carry.
"""

import os
import random
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pytest

from loadtag import keys
from replayer.books.folder import read_report
from replayer.books.report import Report
from tests.support import origins
from tests.support.origins import STATUSES, Line, Start
from tests.support.processes import run
from tests.support.recording import record, write

pytestmark = pytest.mark.timeout(300)

RECORDS = int(os.environ.get("REAMP_ORIGIN_RECORDS", "3000"))
RATE = float(os.environ.get("REAMP_ORIGIN_RATE", max(600, RECORDS / 30)))
SESSIONS = 100
"""Visitors who send all this between them."""


class Sent(NamedTuple):
    """A record as it was recorded."""

    at: float
    """Seconds since the recording began."""
    session: int
    kind: str
    """The first part of its path."""
    method: str


class Recorded(NamedTuple):
    folder: Path
    sent: list[Sent]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Random arrivals of some visitors' requests, some of which find nothing or break something."""
    folder, draw, at = tmp_path_factory.mktemp("recorded"), random.Random(1), 0.0
    sent = []
    for _ in range(RECORDS):
        at += draw.expovariate(RATE)
        (kind,) = draw.choices(list(STATUSES), (90, 4, 3, 3))
        sent.append(Sent(at, draw.randrange(SESSIONS), kind, "HEAD" if draw.random() < 0.05 else "GET"))
    return record_all(folder, sent)


def record_all(folder: Path, sent: list[Sent]) -> Recorded:
    """Write a recording, and make a key."""
    keys.generate(folder, "load")
    write(
        folder / "recordings",
        (
            record(
                one.at,
                f"/{one.kind}/{number % 1000}",
                one.method,
                [
                    (b"host", b"shop.example"),
                    (b"accept", b"*/*"),
                    (b"cookie", b"session=%032x" % one.session),
                    (b"x-record", str(number).encode()),
                ],
                status=STATUSES[one.kind],
            )
            for number, one in enumerate(sent)
        ),
    )
    return Recorded(folder, sent)


@pytest.mark.parametrize(
    ("start", "program", "protocol"),
    [
        pytest.param(origins.nginx, "nginx", "HTTP/1.1", id="nginx"),
        pytest.param(origins.asgi, None, "HTTP/1.1", id="python"),
        pytest.param(origins.node, "node", "HTTP/1.1", id="node"),
        pytest.param(origins.nginx_http2, "nginx", "HTTP/2.0", id="nginx-http2"),
        pytest.param(origins.nginx_tls, "nginx", "HTTP/1.1", id="nginx-tls"),
        pytest.param(origins.nginx_http2_tls, "nginx", "HTTP/2.0", id="nginx-http2-tls"),
        pytest.param(origins.node_http2, "node", "HTTP/2.0", id="node-http2"),
    ],
)
def test_every_record_arrives_once_and_in_the_order_of_its_session(
    recorded: Recorded, tmp_path: Path, start: Start, program: str | None, protocol: str
) -> None:
    if program is not None and origins.found(program) is None:
        pytest.skip(f"{program} is not there: apt-get install {program.replace('node', 'nodejs')}")
    with start(tmp_path) as server:
        report = replay(recorded, tmp_path, server.url, *server.options)
        lines = server.lines()
    agree(report, recorded, lines)
    assert {line.protocol for line in lines} == {protocol}
    in_order(report, recorded, lines)


def test_a_server_that_goes_away_again_and_again_loses_nothing(tmp_path: Path) -> None:
    """A crowd comes by HTTP/2, of which each connection takes 20: what it did not take is sent again, and again."""
    if origins.found("nginx") is None:
        pytest.skip("nginx is not there: apt-get install nginx")
    crowd = [Sent(0.5, 0, "item", "GET")] * 300  # and then the recording ends
    recorded = record_all(tmp_path, [Sent(0.0, 0, "item", "GET"), *crowd])
    with origins.nginx_http2(tmp_path, goes_away=20) as server:
        report = replay(recorded, tmp_path, server.url, *server.options)
        lines = server.lines()
    agree(report, recorded, lines)
    assert report.accounts.retried > len(crowd)  # so some were sent more than twice


def replay(recorded: Recorded, folder: Path, url: str, *more: str) -> Report:
    """Play the recording to `url`. It is to arrive whole, so a machine that is slow may be late."""
    done = run(
        *("replay", str(recorded.folder / "recordings"), "--to", url, "--idle-target", "--max-lag", "30s"),
        *("--key", str(recorded.folder / "load.key"), "--runs", str(folder / "runs"), *more),
        seconds=240,
    )
    (made,) = (folder / "runs").iterdir()
    report = read_report(made)
    assert report.stop == "ended", done.stdout + done.stderr
    return report


def agree(report: Report, recorded: Recorded, lines: list[Line]) -> None:
    """See that nothing was lost, sent twice or counted otherwise than the server did."""
    accounts = report.accounts
    assert accounts.reconciles()
    assert accounts.errors == Counter()
    assert accounts.shed.total() == 0
    assert accounts.read == accounts.wanted == accounts.sent == accounts.answered == len(recorded.sent)
    assert Counter(line.number for line in lines) == Counter(range(len(recorded.sent)))
    assert accounts.statuses == Counter(line.status for line in lines)
    assert all(line.status == STATUSES[recorded.sent[line.number].kind] for line in lines)
    assert report.latency.count == report.lag.count == len(lines)


def in_order(report: Report, recorded: Recorded, lines: list[Line]) -> None:
    """See that the records of each session arrived in their order, as far as the run promises it.

    A request leaves when it is due or later, and the server writes its line before it is answered whole: within the
    greatest latency that the report tells, which counts from the due time. So of two that are due further apart than
    that, the line of the earlier one comes first, however busy sender and server are.
    """
    late = report.latency.max or 0
    place = {line.number: at for at, line in enumerate(lines)}
    compared = 0
    by_session = sorted(range(len(recorded.sent)), key=lambda number: (recorded.sent[number].session, number))
    for _, group in groupby(by_session, key=lambda number: recorded.sent[number].session):
        session = list(group)
        settled, furthest = 0, -1  # how many are so much older than the one at hand, and where the last of them stands
        for number in session:
            while recorded.sent[session[settled]].at < recorded.sent[number].at - late:
                furthest = max(furthest, place[session[settled]])
                settled += 1
            assert furthest < place[number], f"record {number} came before one due more than {late:.3f} s earlier"
            compared += settled
    assert compared > len(recorded.sent), f"records {late:.3f} s apart are too few to say anything"
