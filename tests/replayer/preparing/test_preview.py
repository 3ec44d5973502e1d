"""A dry run says what becomes of the first records, and which rules have nothing to do."""

import re
from pathlib import Path
from typing import Any

import pytest

from captures.batch import BatchWriter
from loadtag.keys import generate
from replayer.plan import Plan
from replayer.preparing.describing import describe
from replayer.preparing.prepare import prepare
from tests.support.recording import record


async def told(folder: Path, **changes: Any) -> dict[str, str]:
    """What a dry run says of 60 records on four routes."""
    with BatchWriter(folder / "recording") as batch:
        for number in range(60):
            choices = ("GET /", f"POST /cart/{number}", f"DELETE /cart/{number}", "POST /orders")
            method, path = choices[number % 4].split()
            batch.write(record(number / 10, path, method=method, headers=[(b"Accept", b"*/*"), (b"X-One", b"1")]))
    generate(folder, "load")
    plan = Plan.model_validate(
        {
            "recording": folder / "recording",
            "to": "http://127.0.0.1:1",
            "idle_target": True,
            "key": folder / "load.key",
            **changes,
        }
    )
    return dict(describe(plan, await prepare(plan)))


async def test_the_routes_that_are_sent_and_those_that_are_not(tmp_path: Path) -> None:
    lines = await told(tmp_path, allow=["POST /cart/{id}"])
    assert lines["writes sent"] == "POST /cart/{id} (15)"
    assert lines["writes left out"] == (
        "DELETE /cart/{id} (15), POST /orders (15); --allow 'DELETE /cart/{id}' would send these"
    )
    assert "of the first 60, 30 unsafe will be skipped" in lines["recording"]


async def test_rewritten_paths_with_an_example(tmp_path: Path) -> None:
    lines = await told(tmp_path, rewrite=["^/cart/ => /basket/"], allow=["POST /basket/{id}"])
    assert lines["paths"] == "30 of the first 60 are rewritten: /cart/1 as /basket/1"
    assert lines["writes sent"] == "POST /basket/{id} (15)"


async def test_what_a_plugin_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "idle_plugin.py").write_text("def same(request):\n    return request\n")
    monkeypatch.syspath_prepend(tmp_path)
    shown = (await told(tmp_path, plugin="idle_plugin:same"))["plugin"]
    median = r"idle_plugin:same takes [\d.]+ [µm]s for a record \(the median of 60\)"
    assert re.fullmatch(median + r": by itself it allows [\d,]+ in a second", shown)
    (tmp_path / "without").mkdir()
    assert "plugin" not in await told(tmp_path / "without")


async def test_rules_that_have_nothing_to_do(tmp_path: Path) -> None:
    lines = await told(
        tmp_path, rewrite=["^/v1/ => /v2/"], remove_header=["x-*", "Cookie"], keep_header=["traceparent"]
    )
    assert lines["paths"] == "0 of the first 60 are rewritten, so look at --rewrite again"
    assert lines["headers"] == "none of the first 60 has Cookie, traceparent"


async def test_without_rules_nothing_is_said_of_them(tmp_path: Path) -> None:
    assert not {"paths", "headers", "writes sent"} & (await told(tmp_path)).keys()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "1x: up to 60 requests in 5.9s"),
        ({"amplify": "2x"}, "2x: up to 120 requests in 5.9s"),
        ({"amplify": "1.5x"}, "1.5x: about 90 requests in 5.9s"),  # halves are drawn
        ({"amplify": "2x", "squeeze": True}, "2x squeezed: up to 60 requests in 2.95s"),
        ({"amplify": "2x", "squeeze": True, "max_requests": 30}, "2x squeezed: up to 30 requests in 1.475s"),
        (
            {"amplify": "2x", "squeeze": True, "loop": True, "max_requests": 120},
            "2x squeezed, over and over: up to 120 requests in 5.9s",
        ),
        (
            {"amplify": "2x", "squeeze": True, "loop": True, "duration": "5.9s"},
            "2x squeezed, over and over: up to 120 requests in 5.9s",
        ),
    ],
)
async def test_how_much_will_be_sent(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    assert (await told(tmp_path, allow=["POST *", "DELETE *"], **changes))["to send"] == f"the recording {said}"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "1x: up to 15 requests in 5.9s"),
        ({"allow": ["POST /orders"]}, "1x: up to 30 requests in 5.9s"),
        ({"amplify": "1.5x"}, "1.5x: about 22 requests in 5.9s"),
        ({"max_requests": 30, "loop": True}, "1x, over and over: up to 30 requests in 11.8s"),
    ],
)
async def test_what_is_skipped_is_not_counted_in(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    assert (await told(tmp_path, **changes))["to send"] == f"the recording {said}"
