"""Lists of allowed targets: what they say, and that nothing goes where they don't allow it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replayer.plan import Plan
from replayer.preparing import lists
from replayer.preparing.prepare import prepare
from replayer.preparing.targets import Allowed, allowed, by, destinations, parse, refusals
from rules.exits import UserError


def listed(*lines: str) -> tuple[Allowed, ...]:
    return (parse("\n".join(lines), "the list"),)


def plan(**changes: Any) -> Plan:
    return Plan(**{"recording": "r", "to": "http://shop.example", "idle_target": True, "key": "k", **changes})


@pytest.mark.parametrize(
    ("pattern", "url", "fits"),
    [
        ("shop.example", "http://shop.example", True),
        ("shop.example", "https://SHOP.example.:8443", True),
        ("Shop.Example.", "http://shop.example", True),
        ("shop.example", "http://ashop.example", False),
        ("shop.example", "http://shop.example.evil.example", False),
        ("shop.example", "http://www.shop.example", False),
        ("*.shop.example", "http://www.shop.example", True),
        ("*.shop.example", "http://a.b.shop.example", True),
        ("*.shop.example", "http://shop.example", False),
        ("*.shop.example", "http://xshop.example", False),
        ("shop.example:80", "http://shop.example", True),
        ("shop.example:80", "https://shop.example", False),
        ("shop.example:443", "https://shop.example", True),
        ("shop.example:*", "http://shop.example:1234", True),
        ("localhost:8080", "http://localhost:8080", True),
        ("localhost", "http://127.0.0.1", False),  # names are not looked up
        ("127.0.0.1", "http://127.0.0.1:9", True),
        ("127.0.0.1", "http://127.0.0.2", False),
        ("10.0.0.0/8", "http://10.200.1.1", True),
        ("10.0.0.0/8:8080", "http://10.200.1.1", False),
        ("10.0.0.0/8:8080", "http://10.200.1.1:8080", True),
        ("10.0.0.0/8", "http://11.0.0.1", False),
        ("10.0.0.0/8", "http://10.shop.example", False),
        ("10.0.0.1", "http://[::ffff:10.0.0.1]", True),  # that is where it leads
        ("::1", "http://[::1]:8080", True),
        ("[::1]:8080", "http://[0:0:0:0:0:0:0:1]:8080", True),
        ("[fd00::/8]:80", "http://[fd12::1]", True),
        ("fd00::/8", "http://10.0.0.1", False),
        ("*", "http://anything.example:1", True),
        ("*:80", "https://anything.example", False),
        ("", "http://shop.example", False),  # an empty list allows nothing
        ("# *", "http://shop.example", False),
        ("  shop.example  # ours", "http://shop.example", True),
    ],
)
def test_patterns(pattern: str, url: str, fits: bool) -> None:
    why = allowed(listed(pattern), url)
    assert (why is None) == fits, why


@given(st.lists(st.lists(st.sampled_from(["shop.example", "*.example:80", "*", "10.0.0.0/8"]), max_size=3), max_size=3))
def test_lists_only_narrow(lists: list[list[str]]) -> None:
    found = tuple(parse("\n".join(lines), str(number)) for number, lines in enumerate(lists))
    for url in ("http://shop.example", "https://shop.example", "http://10.1.1.1", "http://other.test"):
        assert (allowed(found, url) is None) == all(allowed((one,), url) is None for one in found)


@pytest.mark.parametrize(
    "line",
    ["http://shop.example", "shop.example/path", "a b", "10.0.0.1/8", "10.0.0.0/33", "shop:0", "shop:99999", "shop:x",
     "user@shop", "shop.*", "*shop.example", "[shop]", "[::1", ":80", "**"],
)  # fmt: skip
def test_what_is_no_pattern_is_named_with_its_line(line: str) -> None:
    with pytest.raises(ValueError, match=r"^line 2, "):
        parse(f"# ours\n{line}\n", "the list")


def test_the_message_says_what_to_do() -> None:
    why = allowed(listed("shop.staging.example", "10.0.0.0/8"), "https://shop.example")
    assert why is not None
    for words in (
        "shop.example:443 is not on",
        "(the list)",
        "has shop.staging.example, 10.0.0.0/8",
        "add the line 'shop.example:443'",
    ):
        assert words in why
    assert "is empty" in (allowed(listed(), "http://a") or "")
    assert allowed(listed(*(why.rpartition("'")[0].rpartition("'")[2],)), "https://shop.example") is None


def test_all_places_that_a_plan_names_are_looked_at() -> None:
    told = plan(
        to="https://shop.example",
        host="recorded",
        diff="status",
        diff_against="http://old.example:81",
        resolve=("shop.example:443:10.0.0.5,::1", "other.example:443:10.0.0.6"),
    )
    named = list(destinations(told))
    assert named == [
        ("--to", "https://shop.example"),
        ("--diff-against", "http://old.example:81"),
        ("--resolve", "http://shop.example:443"),
        ("--resolve", "http://10.0.0.5:443"),
        ("--resolve", "http://[::1]:443"),
        ("--resolve", "http://other.example:443"),
        ("--resolve", "http://10.0.0.6:443"),
    ]
    found = listed("shop.example:443", "old.example", "::1", "10.0.0.5")
    assert [line.split()[:2] for line in refusals(found, named)] == [
        ["--resolve", "other.example:443"],
        ["--resolve", "10.0.0.6:443"],
    ]
    assert by(found, "http://[::1]:443") == ["'::1' in the list"]


def test_the_machines_list_binds_and_a_plans_own_does_not_widen_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MACHINE", tmp_path / "machine")
    own = tmp_path / "own"
    own.write_text("*\n")
    assert lists.target_lists(plan()) == ()
    assert [one.name for one in lists.target_lists(plan(allowed_targets=own))] == [str(own)]
    (tmp_path / "machine").write_text("*.staging.example\n")
    found = lists.target_lists(plan(allowed_targets=own))
    assert f"({tmp_path / 'machine'})" in (allowed(found, "http://shop.example") or "")
    (tmp_path / "machine").write_text("shop\n not a host\n")
    with pytest.raises(UserError, match="machine: line 2"):
        lists.target_lists(plan())
    (tmp_path / "machine").write_bytes(b"\xff")
    with pytest.raises(UserError, match="machine"):
        lists.target_lists(plan())


def test_a_list_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        lists.target_lists(plan(allowed_targets=tmp_path / "missing"))
    (tmp_path / "large").write_bytes(b"a\n" * (1 << 20))
    with pytest.raises(UserError, match="too large"):
        lists.target_lists(plan(allowed_targets=tmp_path / "large"))


async def test_nothing_is_even_looked_at_when_the_target_is_not_allowed(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("staging.example\n")
    with pytest.raises(UserError, match=r"--to shop.example:80 is not on the list of allowed targets"):
        await prepare(plan(allowed_targets=tmp_path / "list"))
