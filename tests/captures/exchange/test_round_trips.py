"""Whatever a record is: written and read again it is the same, but for what was told to be lost.

The file really goes through bytes and the reader of the format; what the writer told is held against what came back.
"""

import io
from collections import Counter
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captures.exchange import goreplay, har, jsonlines, vegeta
from captures.exchange.notes import Notes
from captures.exchange.options import ReadOptions, WriteOptions
from captures.records import Record
from tests.captures.making import MS, NOON, record
from tests.captures.making import records as odd_records

# Traffic as it is: what every format is there for.
_names = st.sampled_from([b"Accept", b"Cookie", b"X-Trace", b"user-agent", b"Content-Type"])
_values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12).map(str.encode)
_separator = st.sampled_from([b"", goreplay.SEPARATOR, b"x" + goreplay.SEPARATOR + b"y", b"\r\n\r\n", b"1 ab 7\nGET"])
_bodies = st.builds(bytes.__add__, st.binary(max_size=40), _separator)


@st.composite
def usual_records(draw: st.DrawFn) -> Record:
    body = draw(_bodies | st.just(b""))
    rows = draw(st.lists(st.tuples(_names, _values), max_size=4, unique_by=lambda row: row[0].lower()))
    answered = draw(st.booleans())
    ttfb = draw(st.integers(1, 10**12))
    return Record(
        arrival_ns=draw(st.integers(NOON, NOON + 10**15)),
        method=draw(st.sampled_from(["GET", "POST", "DELETE", "PURGE"])),
        scheme="http",
        authority="shop.example:8080",
        path="/"
        + draw(st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=9))
        + draw(st.sampled_from(["", "?", "?a=b&a=%20", "?q=ä"])),
        http_version="HTTP/1.1",
        headers=((b"Host", b"shop.example:8080"), *rows, *([(b"Content-Length", b"%d" % len(body))] if body else [])),
        body=body,
        body_size=len(body),
        status=draw(st.integers(200, 599).filter(lambda code: code not in {204, 304})) if answered else 0,
        response_size=draw(st.integers(0, 2**40)) if answered else 0,
        ttfb_ns=ttfb if answered else -1,
        duration_ns=ttfb + draw(st.integers(0, 10**12)) if answered else 0,
    )


@st.composite
def bent_records(draw: st.DrawFn) -> Record:
    """Usual ones, but for a few fields: what a format cannot hold, beside what it can."""
    odd = draw(odd_records)
    names = draw(st.lists(st.sampled_from(Record._fields), min_size=1, max_size=3))
    return draw(usual_records())._replace(**{name: getattr(odd, name) for name in names})


def across(format_: ModuleType, some: list[Record]) -> tuple[list[Record], Notes, Notes]:
    file, written, read = io.BytesIO(), Notes(), Notes()
    format_.write(iter(some), file, WriteOptions(), written)
    file.seek(0)
    return list(format_.read(file, ReadOptions(iter(range(-1, -9, -1))), read)), written, read


ALL = [goreplay, har, jsonlines, vegeta]


@pytest.mark.parametrize("format_", ALL)
@given(st.lists(usual_records(), max_size=4))
@settings(max_examples=100)
def test_usual_traffic_goes_across_whole(format_: ModuleType, some: list[Record]) -> None:
    back, written, read = across(format_, some)
    if format_ is vegeta:  # a target is a request without time and answer, which is what is told
        blank: dict[str, Any] = {"arrival_ns": 0, "status": 0, "response_size": 0, "ttfb_ns": -1, "duration_ns": 0}
        back, some = [one._replace(**blank) for one in back], [one._replace(**blank) for one in some]
    else:
        assert not written.lost
    assert sorted(back) == sorted(some)
    assert not written.skipped
    assert not read.bad
    assert not read.skipped


def told(format_: ModuleType, before: list[Record], after: list[Record]) -> Counter[str]:
    """Count the fields that differ, in the words of the format."""
    words: dict[str, str] = getattr(format_, "LOSES", {})
    return Counter(
        words[name]
        for one, other in zip(before, after, strict=True)
        for name, was, is_ in zip(one._fields, one, other, strict=True)
        if was != is_
    )


@pytest.mark.parametrize("format_", ALL)
@given(bent_records(), odd_records)
@settings(max_examples=300)
def test_every_field_that_does_not_come_back_was_told(format_: ModuleType, first: Record, second: Record) -> None:
    """One file each, so that what came back is known to be of which record; told exactly, not too much either."""
    for one in (first, second):
        back, written, read = across(format_, [one])
        assert not read.bad
        if written.skipped:
            assert back == []
            assert sum(written.skipped.values()) == 1
        else:
            assert written.lost == told(format_, [one], back)


@given(odd_records)
@settings(max_examples=200)
def test_json_lines_hold_everything(one: Record) -> None:
    back, written, _ = across(jsonlines, [one])
    assert back == [one]
    assert not written.lost


def test_what_is_cut_is_told() -> None:
    cut = record(body=b"abc", body_size=9, headers=((b"Host", b"shop.example"), (b"Content-Length", b"9")))
    _, written, _ = across(vegeta, [cut])
    assert written.lost[vegeta.LOSES["body_size"]] == 1
    back, written, _ = across(goreplay, [cut])
    assert (back[0].body, back[0].body_size) == (b"abc", 3)
    assert written.lost == {goreplay.LOSES["body_size"]: 1, goreplay.LOSES["headers"]: 1}
    back, written, _ = across(har, [cut])
    assert back == [cut]


def test_a_gap_between_first_and_last_byte_survives() -> None:
    one = record(ttfb_ns=1 * MS + 1, duration_ns=7 * MS + 3)
    for format_ in (goreplay, har):
        assert across(format_, [one])[0] == [one]
