"""One run of a mixed recording onto a mixed app, looked at by many tests."""

from pathlib import Path

import pytest

from tests.support.place import Place


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="session")
def ended(place: Place) -> Path:
    """Give the folder of a run that ended as planned."""
    with place.app(SLOW="0.022"):  # uvloop's timers are up to a millisecond early
        return place.replay("ended")


@pytest.fixture(scope="session")
def slower(place: Place) -> Path:
    """Give the folder of the same run, onto an app whose /slow takes three times as long."""
    with place.app(SLOW="0.06"):
        return place.replay("slower")
