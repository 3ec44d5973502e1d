"""The small tricks: each does what mitmproxy does, or is left out with one warning."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.coretypes.multidict import _MultiDict

from addons.internals import contexts, handler, lookups, loop, messages, trial
from addons.internals.dispatch import _self_test as dispatch_self_test

TESTS: dict[str, Callable[[], None]] = {
    "dispatch": dispatch_self_test,
    "handler": handler._self_test,
    "messages": messages._self_test,
    "contexts": contexts._self_test,
    "lookups": lookups._self_test,
    "loop": loop._self_test,
}


@pytest.mark.parametrize("name", TESTS)
def test_every_trick_fits_the_installed_mitmproxy(name: str) -> None:
    TESTS[name]()


names = st.sampled_from([b"Host", b"host", b"accept", b"Accept", b"X-\xc3\xa9", b"x-\xff", b""]) | st.binary(max_size=3)


@given(st.lists(st.tuples(names, st.binary(max_size=4)), max_size=5), names | st.text(max_size=3))
def test_headers_are_found_as_mitmproxy_finds_them(fields: list[tuple[bytes, bytes]], name: str | bytes) -> None:
    headers = http.Headers(fields)
    found = http.Headers.get_all(headers, name)
    theirs = http.Headers._reduce_values(found) if found else None
    assert lookups._get(headers, name) == theirs
    assert lookups._contains(headers, name) is bool(found)
    if found:
        assert lookups._getitem(headers, name) == _MultiDict.__getitem__(headers, name) == theirs
    else:
        with pytest.raises(KeyError):
            lookups._getitem(headers, name)


def test_a_trick_that_does_not_fit_is_left_out_with_one_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_passed", {})

    def fails() -> None:
        trial.expect([], "one is not more than two")

    assert trial.passes("arithmetic", fails) is trial.passes("arithmetic", fails) is False
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "arithmetic" in caplog.text
    assert "one is not more than two" in caplog.text


async def test_a_self_test_may_not_wait() -> None:
    with pytest.raises(RuntimeError, match="waits"):
        trial.at_once(asyncio.sleep(0))


def test_a_loop_is_had_without_uvloop_too(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(trial, "_passed", {})
    monkeypatch.setitem(sys.modules, "uvloop", None)
    made = loop.new_event_loop()
    try:
        assert type(made).__module__.startswith("asyncio")
    finally:
        made.close()
    assert len(caplog.records) == 1


def test_a_process_that_is_quickened_makes_messages_like_any_other() -> None:
    """In a process of its own: it can't be undone."""
    script = """
import asyncio
from mitmproxy import http, options
from mitmproxy.master import Master
from addons.internals.quickening import carried, quicken

async def main():
    master = Master(options.Options())
    quicken(master)
    quicken(master)
    request = http.Request.make("POST", "http://shop/cart?x=1", b"body", {"X-One": "1"})
    assert http.Request.from_state(request.get_state()).get_state() == request.get_state()
    assert request.headers.get("x-one") == request.headers["X-ONE"] == "1" and "x-two" not in request.headers
    request.headers.update({"x-two": "2"})
    assert list(request.headers) == ["X-One", "content-length", "x-two"], list(request.headers)
    assert request.headers.setdefault("x-two", "3") == "2" == request.headers.pop("x-two")
    assert carried({"mode": ["reverse:http://app"]}) == {"mode": ["sidecar:http://app"]}
    http.Response.make(200).data.__post_init__()

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
