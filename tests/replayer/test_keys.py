"""A run and its key: refused before anything is sent, or ended in order when the key is over."""

import asyncio
import re
import time
from pathlib import Path

import pytest

from loadtag import Validity, keys
from loadtag.validity import write_moment
from replayer.books.folder import Folder
from replayer.books.report import Report
from replayer.engine import Run
from replayer.plan import Plan
from replayer.preparing.describing import describe
from replayer.preparing.prepare import prepare
from rules.exits import Exit, UserError
from tests.support.lines import whole_lines
from tests.support.processes import shop
from tests.support.recording import record, write


def plan(folder: Path, validity: Validity, **more: object) -> Plan:
    """Onto a target that would be found not to be there, if anything were sent to it."""
    keys.generate(folder, "load", validity)
    write(folder / "recordings", [record(i * 0.01, "/") for i in range(300)])
    told = {
        "recording": folder / "recordings",
        "to": "http://127.0.0.1:9",
        "idle_target": True,
        "runs": folder / "runs",
    }
    return Plan.model_validate({**told, "key": folder / "load.key", **more})


@pytest.mark.parametrize(
    ("start", "end", "audiences", "words"),
    [
        (None, -5, (), "was good until"),
        (None, 1, (), "was good until"),  # too little is left to send anything
        (60, None, (), "is not good before"),
        (
            None,
            None,
            ("shop", "bank"),
            "is good for shop, bank, and not for elsewhere.*or name its audience: --audience",
        ),
    ],
)
def test_a_key_that_is_not_good_is_refused_before_anything_is_sent(
    tmp_path: Path, start: int | None, end: int | None, audiences: tuple[str, ...], words: str
) -> None:
    now = int(time.time())
    validity = Validity(None if start is None else now + start, None if end is None else now + end, audiences)
    with pytest.raises(UserError, match=words) as caught:
        asyncio.run(prepare(plan(tmp_path, validity, audience="elsewhere")))
    assert caught.value.code == Exit.CONFIGURATION
    assert not (tmp_path / "runs").exists()


def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    told = plan(tmp_path, Validity())
    (tmp_path / "load.key").chmod(0o640)
    with pytest.raises(UserError, match="chmod 600"):
        asyncio.run(prepare(told))


def test_a_run_ends_in_order_when_its_key_does_and_was_warned_of_it(tmp_path: Path) -> None:
    """By both lanes at once. The run is prepared first, however long that takes, and then given a key with an end."""
    write(tmp_path / "recordings", [record(i * 0.01, "/") for i in range(300)])

    async def run(to: str, seconds: int) -> tuple[int, list[Report], list[list[tuple[str, str]]]]:
        folder = tmp_path / str(seconds)
        private, _ = keys.generate(folder, "load")
        told = {"recording": tmp_path / "recordings", "key": private, "idle_target": True, "loop": True, "to": to}
        plans = [
            Plan.model_validate({**told, "duration": "40s", "lane": lane, "runs": folder / lane})
            for lane in ("native", "python")
        ]
        found = [(asked, await prepare(asked)) for asked in plans]
        ends = int(time.time()) + seconds
        private.write_text(f"Not-After: {write_moment(ends)}\n{private.read_text()}")
        signer = keys.load_private(private)
        found = [(asked, prepared._replace(signer=signer)) for asked, prepared in found]
        runs = [Run(asked, prepared, Folder(asked.runs, prepared.run_id, asked)) for asked, prepared in found]
        lines = [describe(asked, prepared) for asked, prepared in found]
        return ends, await asyncio.gather(*(run.run() for run in runs)), lines

    with shop(tmp_path) as (app, log):
        for seconds in (3, 6, 9):  # a busy machine takes long to begin
            begin = log.stat().st_size
            ends, reports, lines = asyncio.run(run(app, seconds))
            arrived = [int(line.split()[0]) / 1e9 for line in whole_lines(log, begin)]
            if all(report.accounts.answered for report in reports):
                break
    assert 0 < len(arrived) < 2000
    assert max(arrived) < ends
    for said in lines:
        assert re.search("the key expires at .*: the run, 40s long, ends then", dict(said)["warning"])
    for report in reports:
        assert (report.stop, report.exit_code) == ("outside-window", Exit.OUTSIDE_WINDOW)
        assert report.accounts.reconciles()
        assert report.accounts.answered
        assert "was good until" in report.reason
    for lane in ("native", "python"):
        (journal,) = (tmp_path / str(seconds) / lane).glob("*/journal.jsonl")
        assert "key over" in journal.read_text()
