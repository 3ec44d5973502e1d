"""The native lane under AddressSanitizer and UndefinedBehaviorSanitizer, against an origin that misbehaves."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from replayer.lanes.build import build


@pytest.mark.timeout(240)
def test_nothing_is_read_or_written_out_of_bounds(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("gcc is not there, whose sanitizers this uses")
    runtime = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    if not Path(runtime.stdout.strip()).exists():
        pytest.skip("gcc's sanitizers are not installed")
    sanitize = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")
    library = build(tmp_path / "sanitized.so", *sanitize)
    environment = {
        "LD_PRELOAD": runtime.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",  # of the interpreter, which frees little when it ends
        "PYTHONMALLOC": "malloc",  # so that what Python hands down has its borders watched too
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.sanitized", str(library)],
        capture_output=True, text=True, check=False, env=environment,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "20000 answers and 400 blocks" in done.stdout
    assert "runtime error" not in done.stderr
