"""Fixtures of the end-to-end tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import Stack, stack


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Stack]:
    """A real app and a pair of keys, in a folder of its own."""
    with stack(tmp_path) as made:
        yield made
