"""Builds the native lane with whatever C compiler is at hand: ``python -m replayer.lanes.build``. Edge.

The library lies beside its sources and bears a mark of them in its name, so that one that was built from others is
never loaded. Without a compiler there is no library, and runs take the Python lane.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parent / "native"

FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-fPIC", "-shared", "-pthread")
WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Wvla", "-Werror")
"""The compiler's warnings are errors, as Python's are."""


def library() -> Path:
    """Tell where the library of these very sources lies, or would lie."""
    mark = hashlib.sha256(" ".join(FLAGS).encode())
    for source in sorted(SOURCES.glob("*.[ch]")):
        mark.update(source.read_bytes())
    return SOURCES / f"sender-{mark.hexdigest()[:16]}.so"


def compiler() -> list[str] | None:
    """Find a C compiler: `CC`, the system's, or the one that PyPI's ``ziglang`` brings."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        if name and shutil.which(name.split()[0]):
            return name.split()
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    return None


def build(into: Path | None = None, *more: str) -> Path:
    """Build the library, unless it is there; `more` are further flags. Raises OSError, in words, if that can't be."""
    into = into or library()
    if into.exists():
        return into
    command = compiler()
    if command is None:
        raise OSError("no C compiler was found (cc, gcc or clang)")
    part = into.with_suffix(f".{os.getpid()}.part")
    sources = [str(source) for source in sorted(SOURCES.glob("*.c"))]
    # S603: the compiler is the user's own
    done = subprocess.run(  # noqa: S603
        [*command, *FLAGS, *WARNINGS, *more, "-o", str(part), *sources], capture_output=True, text=True, check=False
    )
    if done.returncode:
        part.unlink(missing_ok=True)
        raise OSError(f"{command[0]} can't build it: {done.stderr.strip()[-2000:]}")
    part.replace(into)
    for old in into.parent.glob("sender-*.so"):
        if old != into:
            old.unlink(missing_ok=True)
    return into


def main() -> int:
    """Build it and say where it is, or why not. Not having it is no failure."""
    if sys.platform != "linux":
        print("The native lane is for Linux; replays take the Python lane.")
        return 0
    try:
        print(f"native lane: {build().name}")
    except OSError as error:
        print(f"The native lane is not built; replays take the Python lane. {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
