"""Fixtures of the end-to-end tests."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from loadtag import keys
from tests.support.processes import shop
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A shop, and its log: it remembers nothing, so that the tests of a module share one."""
    with shop(tmp_path_factory.mktemp("shop")) as ready:
        yield ready


@pytest.fixture
def site(tmp_path: Path, app: tuple[str, Path]) -> Stack:
    """A real app that was asked nothing yet, as far as its log tells, and a pair of keys, in a folder of its own."""
    url, log = app
    # Whatever an earlier test's sidecar had sent when it was killed comes before this one.
    httpx.get(url, trust_env=False, verify=False).raise_for_status()
    log.write_text("")
    private, _ = keys.generate(tmp_path, "load")
    return Stack(tmp_path, url, log, keys.load_private(private))
