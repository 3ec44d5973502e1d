import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from captures.errors import CaptureError
from captures.exchange.formats import guess
from captures.exchange.table import looks_like
from tests.captures.exchange.reading import packed, read
from tests.captures.making import MS, NOON

SECOND = 1000 * MS


@pytest.mark.parametrize(
    "text",
    [
        "url,timestamp\n/item/7?a=1,2026-11-21T12:00:00Z\n",
        "timestamp;url\n2026-11-21 12:00:00;/item/7?a=1\n",
        '"URL"\t"Time"\n"/item/7?a=1"\t"1795262400"\n',
        "\ufefftime,id,path\r\n21/Nov/2026:13:00:00 +0100,9,/item/7?a=1\r\n",
        "/item/7?a=1,1795262400\n",
        "2026-11-21T12:00:00Z,/item/7?a=1\n",
        "1795262400000,https://shop.example/item/7?a=1\n",
    ],
)
def test_columns_are_known_by_name_or_by_what_is_in_them(text: str) -> None:
    assert looks_like(text.encode())
    (one,), notes = read("csv", text)
    assert (one.method, one.path, one.arrival_ns) == ("GET", "/item/7?a=1", NOON)
    assert one.unknown
    assert not notes.bad


def test_all_that_a_row_can_tell() -> None:
    (one,), _ = read(
        "csv",
        "ts,method,url,host,status,duration_ms,bytes,user_agent\n"
        '1795262400.25,POST,"/cart?a=1,2",shop.example,503,1500,12,"Mozilla, really"\n',
        scheme="https",
    )
    assert (one.arrival_ns, one.method, one.path) == (NOON + 250 * MS, "POST", "/cart?a=1,2")
    assert (one.scheme, one.authority, one.status) == ("https", "shop.example", 503)
    assert (one.duration_ns, one.response_size) == (1500 * MS, 12)
    assert (b"User-Agent", b"Mozilla, really") in one.headers


def test_rows_of_one_second_are_spread_over_it() -> None:
    rows, notes = read("csv", "url,ts\n" + "/a,1795262400\n" * 4)
    assert [one.arrival_ns - NOON for one in rows] == [0, SECOND // 4, SECOND // 2, 3 * SECOND // 4]
    assert notes.step_ns == SECOND


def test_rows_that_do_not_read_are_told_with_their_line() -> None:
    rows, notes = read("csv", "url,ts\n/a,1795262400\n/b\n/c,soon\n\n,1795262400\n/d,1795262401\n")
    assert [one.path for one in rows] == ["/a", "/d"]
    assert [line.partition(":")[0] for line in notes.bad] == ["line 3", "line 4", "line 6"]


@pytest.mark.parametrize("start", ["url,count\n/a,5\n", "/a,5\n", "a,b\n", "", '{"a": "b,c"}\n', "/a /b,/c\n"])
def test_other_tables_are_none_of_these(start: str) -> None:
    assert not looks_like(start.encode())
    found = guess("some.csv", start.encode())
    assert found is None or found.name != "csv"


def test_a_table_of_something_else_is_refused() -> None:
    with pytest.raises(CaptureError, match="url and timestamp"):
        read("csv", "name,colour\nfox,red\n")


@example(b"\x28\xb5\x2f\xfd")  # what a zstd file begins with
@given(st.binary(max_size=200) | st.text(alphabet='/a1,;\t"\n\r\0:-T ', max_size=200).map(str.encode))
def test_whatever_the_bytes_it_ends_well(data: bytes) -> None:
    for text in (data, b"url,ts\n" + data):
        looks_like(text)
        try:
            read("csv", text)
        except CaptureError:
            assert packed(text) or not looks_like(text[:1])
