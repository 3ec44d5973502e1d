"""Names for made-up people."""

import re
import sqlite3

import pytest
from django.core.validators import validate_email
from hypothesis import given
from hypothesis import strategies as st

from loadtag import is_synthetic, recognise, synthetic_email, synthetic_username
from loadtag.records import DOMAIN, like, run_name

runs = st.text("ABCXYZabcxyz0189_-", min_size=1, max_size=64)
numbers = st.integers(0, 10**20 - 1)


def test_what_they_look_like() -> None:
    assert synthetic_username("shop-20261122-0300", 7) == "loadtest-shop-20261122-0300-7"
    assert synthetic_email("shop-1", 7) == "loadtest-shop-1-7@loadtest.example.com"
    assert synthetic_email("shop-1", 7, domain="load.shop.test") == "loadtest-shop-1-7@load.shop.test"
    assert recognise("loadtest-shop-20261122-0300-7") == ("shop-20261122-0300", 7)


@given(runs, numbers)
def test_every_name_is_recognised_in_any_case(run: str, n: int) -> None:
    for name in (synthetic_username(run, n), synthetic_email(run, n), synthetic_email(run, n, DOMAIN.title())):
        for text in (name, name.upper(), f" {name}\n"):
            assert recognise(text) == (run_name(run), n)
            assert is_synthetic(text)
            assert is_synthetic(text, run)


@given(runs, numbers)
def test_every_address_is_one(run: str, n: int) -> None:
    address = synthetic_email(run, n)
    validate_email(address)
    assert len(address.partition("@")[0]) <= 64


@given(runs, runs, numbers, numbers)
def test_no_two_people_have_one_name(one: str, other: str, n: int, m: int) -> None:
    same = synthetic_username(one, n).lower() == synthetic_username(other, m).lower()
    assert same is ((one, n) == (other, m))
    if one != other:
        assert not is_synthetic(synthetic_email(one, n), other)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "alice",
        "alice@example.com",
        "loadtest-",
        "loadtest-7",
        "loadtest--7",
        "loadtest-shop-",
        "loadtest-shop-07",
        "loadtest-shop-7@example.com",
        "loadtest-shop-7@loadtest.example.com.evil.com",
        "xloadtest-shop-7",
        "loadtest-shop-7 and more",
        "loadtest-shop-7\nalice",
        "loadtest-shop-\u0667",
        "load\u017ftest-shop-7",
        "loadte\u017ft-shop-7",
        "loadtest-shop-7@loadtest.example.com@x",
        "loadtest-" + "9" * 100_000,
    ],
)
def test_others_are_not(text: str | None) -> None:
    if text == "loadtest--7":
        assert recognise(text) is None
    assert not is_synthetic(text)


@given(st.text())
def test_no_text_however_strange_raises(text: str) -> None:
    for prefix in ("", "loadtest-"):
        found = recognise(prefix + text)
        assert found is None or is_synthetic(prefix + text)


@pytest.mark.parametrize("run", ["", "a b", "a@b", "\u20ac", "x" * 65, "run\n", "a.b"])
def test_what_is_no_run_is_refused(run: str) -> None:
    with pytest.raises(ValueError, match="no run id"):
        synthetic_email(run, 1)


@pytest.mark.parametrize("n", [-1, 10**20])
def test_what_is_no_number_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match="number"):
        synthetic_username("run-1", n)


@given(st.lists(st.tuples(runs, numbers), min_size=1, max_size=5))
def test_the_pattern_finds_them_in_a_database(people: list[tuple[str, int]]) -> None:
    with sqlite3.connect(":memory:") as database:
        database.execute("create table users (email text)")
        emails = {synthetic_email(run, n) for run, n in people}
        database.executemany("insert into users values (?)", [("alice@example.com",), *((email,) for email in emails)])
        select = "select email from users where email like ? escape '\\'"
        assert {email for (email,) in database.execute(select, (like(),))} == emails
        for run, _ in people:
            found = {email for (email,) in database.execute(select, (like(run),))}
            assert found >= {email for email in emails if is_synthetic(email, run)}
            assert all(re.match(re.escape(f"loadtest-{run_name(run)}-"), email, re.IGNORECASE) for email in found)
    database.close()
