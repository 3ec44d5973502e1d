"""Request lines: read by known hosts as mitmproxy itself reads them."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mitmproxy.net.http.http1 import read

from addons.internals import targets
from addons.internals.targets import read_targets_quickly

plainly: Any = getattr(read, "_read_request_line")  # noqa: B009
plainly = getattr(plainly, "_plainly", plainly)

hosts = st.sampled_from(["a.example", "A.example:80", "127.0.0.1:8000", "x:0", "x:99999", "-", "a..b", "[::1]:80", ""])
paths = st.sampled_from(["/", "", "/a//b/../c?d=e#f", "//x", "/?", "/\xe4", "/a b", "?x", "/%ff"])
words = st.sampled_from(["GET", "CONNECT", "get", "G@T", "", "POST "])
schemes = st.sampled_from(["http://", "HTTP://", "https://", "ftp://", ""])
versions = st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.1 "])
lines = st.builds("{} {}{}{} {}".format, words, schemes, hosts, paths, versions)


def outcome(function: Callable[[bytes], Any], line: bytes) -> Any:
    try:
        return function(line)
    except ValueError as error:
        return str(error)


@pytest.fixture(autouse=True)
def _for_this_test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "_read_request_line", plainly)


@given(st.lists(lines, min_size=1, max_size=6))
@example(["GET http://a.example/1 HTTP/1.1", "GET http://a.example/2 HTTP/1.0"])
def test_whatever_came_before_a_line_is_read_as_it_would_be_alone(texts: list[str]) -> None:
    read_targets_quickly()
    quick: Any = getattr(read, "_read_request_line")  # noqa: B009
    for text in texts:
        line = text.encode("latin-1")
        assert outcome(quick, line) == outcome(plainly, line)


def test_made_up_hosts_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "REMEMBERED", 4)
    read_targets_quickly()
    quick: Any = getattr(read, "_read_request_line")  # noqa: B009
    for number in range(20):
        quick(b"GET http://h%d/ HTTP/1.1" % number)
    assert len(vars(quick)["_known"]) <= 4
