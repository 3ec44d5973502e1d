"""JSON of strangers: it reads, or it is told, and takes no more than it may."""

import tracemalloc
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, FailFast

from drill.sources import documents
from rules.exits import UserError


class Thing(BaseModel):
    names: dict[str, int] = {}
    items: Annotated[list[int], FailFast()] = []


def test_what_fits_is_read() -> None:
    assert documents.read(b'\xef\xbb\xbf{"names":{"a":1},"items":[2],"more":{}}', Thing, "a thing's") == Thing(
        names={"a": 1}, items=[2]
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "does not read as a thing's JSON"),
        (b"{", "EOF"),
        (b"[]", "valid dictionary"),
        (b'{"items":[NaN]}', "does not read"),
        (b'{"items":[1,"x"]}', "items.1: "),
        (b"[" * 1_000_000, "recursion"),
        (b'{"names":{' + b",".join(b'"%d":"x"' % each for each in range(20_000)) + b"}}", "20,000 names in one place"),
        (b'{"more":[[' + b"0," * 200_000 + b"0]]}", "200,001 items in one place"),
        (b'{"items":[' + b'"x",' * 50_000 + b"0]}", "items.0: "),
    ],
)
def test_what_does_not_fit_is_told_in_bounded_memory(text: bytes, says: str) -> None:
    tracemalloc.start()
    with pytest.raises(UserError, match=says):
        documents.read(text, Thing, "a thing's")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20 << 20


@given(st.binary(max_size=60))
def test_whatever_it_is_it_reads_or_is_told(text: bytes) -> None:
    try:
        documents.read(text, Thing, "a thing's")
    except UserError:
        return
