"""What a load script takes of a recording: counts that are exact, in bounded room."""

from collections.abc import Iterable

import pytest

from captures.errors import CaptureError
from captures.exchange.mix import MAX_CELLS, MAX_STAGES, Mix, in_flight, mixed, run_name
from captures.exchange.notes import Notes
from captures.exchange.options import WriteOptions
from captures.records import Record
from rules.units import Factor
from tests.support.recording import START_NS, record

SECOND = 10**9


def mix(records: Iterable[Record], seconds: int = 0, **options: object) -> Mix:
    end = START_NS + seconds * SECOND if seconds else 0
    given = WriteOptions(first_ns=START_NS, end_ns=end, **options)  # type: ignore[arg-type]
    return mixed(iter(records), given, Notes())


@pytest.mark.parametrize(
    ("seconds", "grain", "stage", "stages"),
    [
        (4, 0, 1, 4),
        (360, 0, 1, 360),
        (361, 0, 2, 181),
        (1740, 0, 5, 348),
        (1800, 60, 5, 360),
        (7200, 60, 20, 360),
        (7260, 60, 30, 242),  # 21 s would do, but lie across minutes
        (86_400, 60, 240, 360),
        (90_000, 60, 300, 300),
        (1800, 7, 7, 258),
    ],
)
def test_stages_are_whole_seconds_and_fit_into_what_rates_are_known_of(
    seconds: int, grain: float, stage: int, stages: int
) -> None:
    found = mix([record(0), record(seconds - 0.001)], seconds, grain=grain)
    assert (found.stage, len(found.stages)) == (stage, stages)
    assert stages <= MAX_STAGES
    assert found.stages[0] == 1
    assert sum(found.stages) == 2


def test_with_very_many_routes_stages_get_longer_and_no_request_gets_lost() -> None:
    """300 routes in each of 360 seconds would be 108,000 numbers."""
    names = ["".join(chr(97 + n // 26**place % 26) for place in range(3)) for n in range(300)]
    found = mix((record(second, f"/{name}") for second in range(360) for name in names), 360)
    assert sum(map(len, found.table)) <= MAX_CELLS
    assert found.total == 108_000
    assert found.stage == 2
    assert found.stages == [600] * 180


def test_a_request_that_nobody_knows_the_end_of_says_nothing_of_how_long_one_takes() -> None:
    unknown = [record(second, status=0, duration_ns=0, ttfb_ns=-1) for second in range(10)]
    assert mix(unknown, 10).mean_seconds == 0
    assert mix(unknown, 10, mean_seconds=12.5).mean_seconds == 12.5
    assert mix([*unknown, record(9.5, duration_ns=2 * SECOND)], 10, mean_seconds=12.5).mean_seconds == 2
    assert in_flight(mix(unknown, 10, mean_seconds=12.5)) == 26  # one a second, doubled


def test_of_an_amplified_recording_something_has_to_be_left() -> None:
    assert mix([record(0)], 1, amplify=Factor.parse("3x")).total == 3
    with pytest.raises(CaptureError, match=r"at 0\.01x no request is left"):
        mix([record(0)], 1, amplify=Factor.parse("0.01x"))


def test_a_run_has_a_name_that_a_header_can_hold() -> None:
    assert run_name(WriteOptions(mark="drill 7 \u2028: ä/ö" * 20), "k6").startswith("k6-drill-7-drill-7-")
    assert len(run_name(WriteOptions(mark="x" * 999), "k6")) < 60
    assert run_name(WriteOptions(mark="öäü"), "k6") == "k6"
