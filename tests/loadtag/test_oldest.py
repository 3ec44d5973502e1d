"""The oldest Python that loadtag supports, if the machine has it."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEED_A_LIBRARY = {
    "loadtag.django",
    "loadtag.integrations.aiohttp",
    "loadtag.integrations.celery",
    "loadtag.integrations.django",
    "loadtag.integrations.grpc",
    "loadtag.integrations.httpx",
    "loadtag.integrations.requests",
    "loadtag.integrations.rq",
    "loadtag.integrations.urllib3",
    "loadtag.keys",
    "loadtag.opentelemetry",
    "loadtag.opentelemetry_sdk",
    "loadtag.sqlalchemy",
}
"""What may be impossible to import there. All other modules have to be importable with the standard library alone."""


def candidates() -> Iterator[str]:
    yield from filter(None, [shutil.which("python3.9")])
    for root in (os.environ.get("PYENV_ROOT"), Path.home() / ".pyenv"):
        if root:
            yield from map(str, sorted(Path(root).glob("versions/3.9*/bin/python3.9")))


def oldest() -> str | None:
    """The first that runs: pyenv puts a `python3.9` on the path that may only say that no version is chosen."""
    for path in candidates():
        asked = subprocess.run(
            [path, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True, check=False
        )
        if asked.stdout.strip() == "(3, 9)":
            return path
    return None


def test_it_works_under_python_3_9(tmp_path: Path) -> None:
    python = oldest()
    if python is None:
        pytest.skip("no Python 3.9 here (python3.9 on the PATH, or one of pyenv's)")
    command = [python, "-W", "error", "-X", "utf8", str(ROOT / "tests" / "support" / "oldest.py")]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "loadtag" / "src"),
        "PYTHONPYCACHEPREFIX": str(tmp_path),
    }
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=50)
    assert done.returncode == 0, done.stderr
    version, *without = done.stdout.split()
    assert version.startswith("3.9.")
    assert set(without) <= NEED_A_LIBRARY


def test_its_metadata_says_the_same() -> None:
    assert re.search(r'requires-python = ">=3\.9"', (ROOT / "loadtag" / "pyproject.toml").read_text())
    assert re.search(r'target-version = "py39"', (ROOT / "loadtag" / "ruff.toml").read_text())
