"""How a process ends."""

import subprocess
import sys

PROGRAM = """
import atexit, threading, time
from rules.exits import leave

def last():
    time.sleep(0.2)
    print("thread")

atexit.register(print, "atexit")
threading.Thread(target=last).start()
try:
    leave(99)
finally:
    print("finally")
"""


def test_leaving_does_all_that_an_ordinary_end_does() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.split(), ended.stderr) == (99, ["finally", "thread", "atexit"], "")
