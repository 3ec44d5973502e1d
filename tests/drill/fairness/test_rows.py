"""Lists in answers, told by their rows."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drill.fairness.rows import FEWEST, Rows, rows


def page(count: int, tag: str = "li") -> bytes:
    items = "".join(f"<{tag} class='p'>product {n:05} with a name</{tag}>\n" for n in range(count))
    return f"<!doctype html><nav><a>home</a></nav><ul>{items}</ul><footer>{'x' * 300}</footer>".encode()


@pytest.mark.parametrize("tag", ["li", "tr", "article", "LI"])
def test_rows_of_a_page_tell_how_many_a_larger_one_has(tag: str) -> None:
    found = rows(page(12, tag))
    assert found is not None
    assert found.number == 12
    assert found.filling(len(page(12, tag)), len(page(50_000, tag))) == 50_000


def test_rows_of_json_do_too() -> None:
    def document(count: int) -> bytes:
        products = [{"id": 10_000 + n, "name": "a product"} for n in range(count)]
        return json.dumps({"total": count, "products": products, "tags": ["a", "b", "c"]}).encode()

    found = rows(document(12))
    assert found is not None
    assert found.number == 12
    filling = found.filling(len(document(12)), len(document(40_000)))
    assert filling is not None
    assert 36_000 <= filling <= 48_000


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"<p>one</p>", b"{", b"[1]", b"[" * 100_000, page(FEWEST - 1), b"\xff<li>"]
)
def test_what_is_no_list_is_none(body: bytes) -> None:
    assert rows(body) is None


@given(st.binary(max_size=500) | st.binary(max_size=300).map(lambda tail: b"<li>" * 5 + tail))
def test_no_answer_is_too_odd(body: bytes) -> None:
    found = rows(body)
    assert found is None or (found.number >= FEWEST and found.size > 0)


def test_a_large_answer_is_looked_at_in_part() -> None:
    found = rows(b"[" + b"[],{}," * 150_000 + b"1]")
    assert found is not None
    assert found.number == 300_001
    assert rows(b"[" + b"[[" * 30_000 + b"]]" * 30_000 + b"]") is None
    assert rows(b"<li" * 300_000) is None


def test_an_answer_with_less_than_nothing_has_no_rows() -> None:
    assert Rows(10, 100).filling(2000, 900) is None
    assert Rows(10, 100).filling(2000, 2000) == 10
