"""Processes whose clock on the wall a test sets, while the monotonic clock goes on: as when somebody sets a machine's.

By a few lines of C that are loaded into them. (libfaketime 0.9.10 does the same and more, but `clock_nanosleep` fails
under it with EINVAL, and with it Python's `time.sleep`.)
"""

import shutil
import struct
import subprocess
from functools import cache
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("clocks.c")


@cache
def _compiler() -> str:
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), "")


class WallClock:
    """Give `env` to a process, and `step` its clock while it runs. `folder` is made.

    Without a C compiler `env` is empty, and who steps the clock is skipped: other tests may share the process.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        library, self._file = folder / "clock.so", folder / "offset"
        self.env: dict[str, str] = {}
        if not _compiler():
            return
        command = [_compiler(), "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(library), str(_SOURCE)]
        subprocess.run(command, check=True)
        self._file.write_bytes(bytes(8))
        self.env = {"LD_PRELOAD": str(library), "REAMP_TEST_CLOCK": str(self._file)}

    def step(self, seconds: int) -> None:
        """Set it to so many seconds off the right time."""
        if not self.env:
            pytest.skip("there is no C compiler here (Debian: apt-get install gcc libc6-dev), and so no clock to set")
        with self._file.open("r+b", buffering=0) as file:
            file.write(struct.pack("@q", seconds * 1_000_000_000))
