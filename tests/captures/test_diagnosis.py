"""Strangers among the segments, and the ends of torn ones, by name."""

import bz2
import gzip
import io
import lzma
import zipfile

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy.io import FlowWriter
from mitmproxy.test import tflow

from captures import codec
from captures.diagnosis import stranger, tail
from tests.captures.making import NOON, frame, record, segment


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", "b")
    return buffer.getvalue()


def flows() -> bytes:
    buffer = io.BytesIO()
    FlowWriter(buffer).add(tflow.tflow(resp=True))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (gzip.compress(b"x", mtime=0), "a gzip file"),
        (bz2.compress(b"x"), "a bzip2 file"),
        (lzma.compress(b"x"), "an xz file"),
        (zstandard.compress(b"x"), "a zstd file"),
        (zipped(), "a zip archive"),
        (flows(), "a file of mitmproxy flows: `reamp captures import` reads those"),
        (b"1 8e091765ae902fef8a2b7d9dd960e9d52222bd8c 1795262400000000000 0\nGET / HTTP/1.1", "a GoReplay file"),
        (b'{"log": {"version": "1.2", "creator": {}, "entries": []}}', "a HAR file"),
        (b'{"a": 1}', "JSON"),
        (b"<!DOCTYPE html><html>", "an HTML page"),
        (b"\n <html lang=en>", "an HTML page"),
        (b"<?xml version='1.0'?>", "XML"),
        (b"hello\nworld\n", "text"),
        ("grüße\n".encode(), "text"),
        (bytes(4096), "nothing but zeros"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"age-encryption.org/v1\n-> X25519", "a file encrypted with age"),
        (b"\x7fELF\x02", "a program"),
        (b"\x93\x01\x02\xff\x00", ""),
    ],
)
def test_strangers_are_named(start: bytes, what: str) -> None:
    assert stranger(start).startswith(what)
    assert bool(stranger(start)) == bool(what)


@given(st.binary(max_size=2000))
def test_whatever_it_is_it_gets_a_name_or_none(start: bytes) -> None:
    assert isinstance(stranger(start), str)


FRAME = frame([record(NOON)])
FOOTER = segment([[record(NOON)]])[-1]


@pytest.mark.parametrize(
    ("rest", "led_to", "kind", "words"),
    [
        (b"", False, "nothing", ""),
        (FRAME[:60], False, "block", f"60 bytes of a torn block after it, of {len(FRAME)}"),
        (FRAME[:1], False, "block", "1 bytes of a torn block after it"),
        (FRAME[: codec.FRAME_HEAD - 1], False, "block", f"{codec.FRAME_HEAD - 1} bytes of a torn block after it"),
        (FOOTER[:40], False, "cut footer", "40 bytes of a torn footer after it"),
        (FOOTER[:1], False, "cut footer", "1 bytes of a torn footer after it"),
        (FOOTER, True, "broken footer", "its footer is broken"),
        (bytes(5000), False, "zeros", "5000 bytes after it that begin with zeros"),
        (b"hello" * 20, False, "other", "100 bytes after it that are no block"),
    ],
)
def test_the_end_of_a_torn_segment_is_named(rest: bytes, led_to: bool, kind: str, words: str) -> None:
    found = tail(rest, len(rest), led_to=led_to)
    assert found.kind == kind
    assert found.words.startswith(words)
