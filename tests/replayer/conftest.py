"""A real disk that is tiny, and the native lane."""

from typing import Any

import pytest

from replayer.lanes.build import build
from replayer.lanes.native import load
from tests.support.disks import disk, pytest_pyfunc_call

__all__ = ["disk", "pytest_pyfunc_call"]


@pytest.fixture(scope="session")
def native() -> Any:
    """The native lane's library; skips where there is no compiler to build it."""
    try:
        return load(build())
    except OSError as error:
        pytest.skip(str(error))
