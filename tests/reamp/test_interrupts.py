"""Ctrl-C before anything has begun."""

import signal
import subprocess
import sys

from rules.exits import Exit


def test_ctrl_c_while_the_command_is_being_loaded_is_no_traceback() -> None:
    # With -v, Python tells of each import on a pipe that nobody empties from some moment on: it stands still there.
    command = [sys.executable, "-v", "-m", "reamp", "--version"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as loading:
        assert loading.stderr is not None
        told = next(line for line in loading.stderr if "reamp/cli" in line or "'reamp.cli'" in line)
        loading.send_signal(signal.SIGINT)
        told += loading.stderr.read()
    assert loading.returncode == Exit.INTERRUPTED
    assert "Traceback" not in told
