"""A real disk that is tiny, as a fixture: a conftest.py imports `disk` and `pytest_pyfunc_call`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

IN_NAMESPACE = "REAMP_TESTS_IN_NAMESPACE"


class Disk:
    """A file system of its own, in memory. Only works where this process may mount."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def mount(self, options: str) -> str:
        """Mount, or mount again with other options; give what went wrong."""
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stderr if done.returncode else ""

    def remount(self, options: str) -> None:
        assert not self.mount(f"remount,{options}")

    def fill(self) -> Path:
        """Leave no room; give the file to delete to make room again."""
        ballast = self.folder / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        return ballast


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Give a disk of 256 KiB (an unmounted one if the test is going to run in a namespace)."""
    disk = Disk(tmp_path / "disk")
    problem = disk.mount("size=256k")
    if problem and IN_NAMESPACE in os.environ:
        pytest.skip(f"nothing can be mounted here: {problem}")
    yield disk
    if not problem:
        subprocess.run(["umount", "-l", str(disk.folder)], check=True)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that needs a disk in a user namespace of its own if this process may not mount."""
    disk = pyfuncitem.funcargs.get("disk")
    if not isinstance(disk, Disk) or os.path.ismount(disk.folder):
        return None
    command = ["unshare", "-rm", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", pyfuncitem.nodeid]
    try:
        again = subprocess.run(
            command,
            cwd=pyfuncitem.config.rootpath,
            env={**os.environ, IN_NAMESPACE: "1"},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("nothing can be mounted here, and there is no unshare")
    if "unshare failed" in again.stderr or "1 skipped" in again.stdout:
        pytest.skip(f"nothing can be mounted here, not even in a namespace: {again.stderr or again.stdout}")
    assert again.returncode == 0, again.stdout + again.stderr
    return True
