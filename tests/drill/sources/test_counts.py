"""Tables of URLs and counts, however they are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures.moments import SECOND
from drill.sources import counts
from drill.sources.rates import Rates
from rules.exits import UserError

HOUR = 3600 * SECOND


def read(text: str) -> Rates:
    assert counts.looks_like("top.csv", text.encode())
    return counts.read(text.encode(), 7 * SECOND, HOUR)


def found(rates: Rates) -> dict[tuple[str, str, str], float]:
    return {(route.method, route.authority, route.path): route.requests for route in rates.routes}


@pytest.mark.parametrize(
    "text",
    [
        "url,count\n/a,3\n/b,4\n",
        "/a,3\n/b,4\n",
        "\ufeffURL;Requests\r\n/a;3\r\n\r\n/b;4\r\n",
        "share\tpath\thits\n1%\t/a\t3\n2%\t/b\t4",
        'url,count\n"/a",1\n/a,2\n/b,4.0\n',
    ],
)
def test_columns_are_found(text: str) -> None:
    rates = read(text)
    assert found(rates) == {("", "", "/a"): 3, ("", "", "/b"): 4}
    assert (rates.begin_ns, rates.end_ns, rates.grains) == (7 * SECOND, 7 * SECOND + HOUR, 1)
    assert any("no method" in note for note in rates.notes)


def test_methods_and_hosts_are_kept() -> None:
    rates = read("method,url,count\nput,https://a.example/x?q=1,2\n,POST /cart,3\n,b.example/y#top,1\nGET,/z,0\n")
    assert found(rates) == {("PUT", "a.example", "/x?q=1"): 2, ("POST", "", "/cart"): 3, ("", "b.example", "/y"): 1}


def test_a_count_that_is_not_whole_is_an_expected_one() -> None:
    assert [route.known for route in read("url,count\n/a,2.5\n/b,2\n").routes] == ["rate", "grain"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/a,1795269720\n/b,1795269721.5\n",
        "url,timestamp\n/a,2026-11-22T10:00:00Z\n",
        "url,timestamp,count\n/a,1,1\n",
        "a,b\n1,2\n",
        "/a\n/b\n",
        "{}",
    ],
)
def test_another_table_is_none(text: str) -> None:
    assert not counts.looks_like("top.csv", text.encode())


def test_a_table_without_a_head_is_told_by_its_name() -> None:
    assert not counts.looks_like("top.txt", b"/a,3\n")
    assert counts.looks_like("top.csv.gz", b"/a,3\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("url,count\n/a\n", "row 2: it has too few columns"),
        ("url,count\n/a,many\n", "row 2: 'many' is no count"),
        ("url,count\n/a,-1\n", "no count"),
        ("url,count\n/a,nan\n", "no count"),
        ("url,count\n/a,inf\n", "no count"),
        ("url,count\n/a,1e300\n", "no count"),
        ("url,count\n/a b,1\n", "no URL"),
        ("url,count\nftp://x/y,1\n", "no URL and no path"),
        ("url,count\n" + "\n".join(f"/{number},1" for number in range(6000)), "routes"),
        ('url,count\n"' + "x" * 200_000 + '",1\n', "CSV"),
    ],
)
def test_what_does_not_read_is_told(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        counts.read(text.encode(), 0, HOUR)


@given(st.binary(max_size=200))
def test_whatever_it_is_it_reads_or_is_told(text: bytes) -> None:
    counts.looks_like("top.csv", text)
    try:
        counts.read(b"url,count\n" + text, 0, HOUR)
    except UserError:
        return
