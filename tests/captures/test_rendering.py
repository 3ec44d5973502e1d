import gzip
import subprocess
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures import rates
from captures.codec import Frame
from captures.rendering import _quoted, as_curl, as_http, as_line
from tests.captures.making import record


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 50)), max_size=20))
def test_a_picture_of_the_rate_loses_no_record(spans: list[tuple[int, int, int]]) -> None:
    frames = [Frame(0, min(a, b), max(a, b), records, 0) for a, b, records in spans]
    counts = rates.spread(frames, 0, 10**6, 7)
    assert sum(counts) == pytest.approx(sum(frame.records for frame in frames))
    assert len(rates.sparkline(counts)) == 7


def test_a_sparkline_shows_gaps() -> None:
    assert rates.sparkline([0, 1, 4, 8]) == " ▂▅█"
    assert rates.sparkline([]) == ""


@given(st.binary(max_size=60).filter(lambda value: b"\0" not in value))
def test_quoting_survives_any_bytes(value: bytes) -> None:
    quoted = _quoted(value)
    assert quoted.isprintable()
    assert quoted.isascii()
    if len(value) > 40:  # the shell itself, for a few
        echoed = subprocess.run(["bash", "-c", f"printf %s {quoted}"], capture_output=True, check=True)
        assert echoed.stdout == value


def test_a_binary_body_goes_to_curl_by_base64() -> None:
    command = as_curl(record(method="POST", body=b"\0\1\2", body_size=3))
    assert command.startswith("base64 -d <<< AAEC | curl ")
    assert "--data-binary @-" in command


def test_a_text_body_is_shown_and_a_binary_one_dumped() -> None:
    assert '\n{"a": 1}\n' in as_http(record(body=b'{"a": 1}', body_size=8))
    dumped = as_http(record(body=bytes(range(250, 256)) + b"abc", body_size=5000))
    assert "000000  fa fb fc fd fe ff 61 62 63                       ......abc" in dumped
    assert "# 9 of 5000 bytes of the body were kept" in dumped
    assert "bytes more" in as_http(record(body=b"\xff" * 1000, body_size=1000))
    assert "and 808 bytes more" in as_http(record(body=b"x" * 9000, body_size=9000))


def test_a_packed_body_is_shown_as_it_was_meant_and_sent_as_it_was() -> None:
    packed = gzip.compress(b'{"a": 1}', mtime=0)
    one = record(headers=((b"Content-Encoding", b"gzip"),), body=packed, body_size=len(packed))
    assert f'\n# {len(packed)} bytes unpacked to 8:\n{{"a": 1}}\n' in as_http(one)
    assert b64encode(packed).decode() in as_curl(one)
    bomb = gzip.compress(bytes(50_000_000))
    assert "unpacked to at least 1048576:" in as_http(one._replace(body=bomb))
    assert "bytes unpacked" not in as_http(one._replace(body=b"not packed"))


def test_a_request_without_an_answer_says_so() -> None:
    assert as_http(record(status=0, ttfb_ns=-1)).endswith("# no answer after 3.000 ms")


def test_where_no_answers_were_seen_none_is_said_to_be_missing() -> None:
    one = record(status=0, response_size=0, ttfb_ns=-1, duration_ns=0)
    assert as_http(one).endswith("# its answer is not known")
    assert as_line(one).endswith("-> not known")
