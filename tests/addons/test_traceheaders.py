"""Trace ids in header fields: what is found, and that what is written is found again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.glance import TRACED, glance
from addons.traceheaders import LOW, NAMES, STYLES, Style, find, strip, write

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
KEY = int(TRACE[16:], 16)
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("traceparent", PARENT),
        ("TraceParent", f"\t{PARENT.upper()} "),
        ("traceparent", f"01-{TRACE}-00f067aa0ba902b7-01-what-a-later-version-adds"),
        ("b3", f"{TRACE}-00f067aa0ba902b7-1-05e3ac9a4f6e3b90"),
        ("b3", f"{TRACE}-00f067aa0ba902b7"),
        ("B3", f"{TRACE[16:]}-00f067aa0ba902b7-d"),
        ("X-B3-TraceId", TRACE),
        ("x-b3-traceid", TRACE[16:]),
        ("X_B3_TraceId", TRACE),
        ("x-datadog-trace-id", str(KEY)),
        ("X-Datadog-Trace-Id", str(int(TRACE, 16) & LOW)),
    ],
)
def test_one_trace_is_the_same_in_every_header(name: str, value: str) -> None:
    fields = ((b"host", b"shop"), (name.encode(), value.encode()), (b"x-b3-spanid", b"00f067aa0ba902b7"))
    assert find(fields) == (KEY,)
    assert glance(fields)[0] & TRACED, "those who only glance at headers see it, too"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("traceparent", ""),
        ("traceparent", f"ff-{TRACE}-00f067aa0ba902b7-01"),  # no version
        ("traceparent", f"00-{'0' * 32}-00f067aa0ba902b7-01"),  # no trace
        ("traceparent", f"00-{TRACE[1:]}-00f067aa0ba902b7-01"),
        ("traceparent", f"00-{TRACE}-00f067aa0ba902b7"),
        ("traceparent", f"{PARENT}, {PARENT}"),
        ("b3", "0"),  # a decision about sampling and nothing else
        ("b3", "d"),
        ("b3", TRACE),
        ("x-b3-traceid", TRACE[:20]),
        ("x-datadog-trace-id", "0"),
        ("x-datadog-trace-id", "-1"),
        ("x-datadog-trace-id", "1" * 5000),  # more digits than can be read
        ("x-datadog-trace-id", "\N{ARABIC-INDIC DIGIT ONE}"),
        ("tracestate", PARENT),
        ("x-trace", PARENT),
    ],
)
def test_what_is_no_trace_is_not_taken_for_one(name: str, value: str) -> None:
    assert find([(name.encode(), value.encode())]) == ()


def test_all_traces_of_a_request_count_and_no_number_of_them_is_too_many() -> None:
    other = f"00-{'1' * 32}-00f067aa0ba902b7-01".encode()
    fields = [(b"traceparent", PARENT.encode()), (b"traceparent", other), (b"x-datadog-trace-id", str(KEY).encode())]
    assert find(fields) == (KEY, 0x1111111111111111)
    many = [(b"x-datadog-trace-id", b"%d" % number) for number in range(1, 3000)]
    assert find(many) == (1, 2999), "an app takes the first or the last"
    assert find([*many, (b"traceparent", other)]) == (1, 0x1111111111111111, 2999), "none is hidden behind others"


@given(st.lists(st.tuples(st.sampled_from([*NAMES, b"x"]), st.binary(max_size=80))))
def test_nothing_makes_it_fail(fields: list[tuple[bytes, bytes]]) -> None:
    assert all(0 < key <= LOW for key in find(fields))


ids = st.integers(1, LOW)


@given(st.sampled_from(STYLES), ids, st.integers(0, LOW), ids, st.booleans())
def test_what_is_written_is_found_and_stripped_again(
    style: Style, low: int, high: int, span: int, sampled: bool
) -> None:
    fields = [(b"accept", b"*/*"), *write(style, high << 64 | low, span, sampled=sampled)]
    assert find(fields) == (low,)
    assert strip(fields) == [(b"accept", b"*/*")]
