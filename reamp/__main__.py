"""Where the command begins: `reamp`, and `python -m reamp`.

Loading everything takes the better part of a second. Whoever presses Ctrl-C in it gets an exit code and no traceback,
so this module loads nothing itself, and neither does the package around it. And a sidecar that users wait for is not
ended by a signal that it obeys later on.
"""

import os
import signal
import sys
from types import FrameType

_INTERRUPTED = 105  # `rules.exits.Exit`, which is not loaded yet


def _end(_signal: int, _frame: FrameType | None) -> None:
    os._exit(_INTERRUPTED)  # nothing is open that would have to be closed


def _hold_back() -> None:
    """Have what pulls the lever wait until there is one, and pass over what has settings read that are not read yet."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    if not os.isatty(2):  # of a terminal it says that this was closed
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def main() -> None:
    """Load the command line and run it."""
    if sys.argv[1:2] == ["sidecar"]:
        _hold_back()
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # and not ignored, as in the background of a script
        signal.signal(signal.SIGINT, _end)
    from reamp.cli import main as run  # noqa: PLC0415 - this is what takes the time

    signal.signal(signal.SIGINT, before)
    run()


if __name__ == "__main__":
    main()
