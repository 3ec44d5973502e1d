"""As many open files as a run's connections need. Edge: asks the system, and raises the process's own limit.

Most systems give a process 1024 to begin with and let it have many more. Without one, no connection is opened, and
the recording isn't read on either.
"""

import resource

from rules.exits import UserError

BESIDE = 128
"""Files beside the connections to the target: the recording's, the run's folder, sidecars, processes, a plugin's."""


def enough(connections: int) -> None:
    """See that there can be so many connections. Raises UserError if the system does not allow it."""
    needed = connections + BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _covers(soft, needed):
        return
    try:
        if _covers(hard, needed):
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
            return
    except (OSError, ValueError):
        pass  # some systems have another bound beside it
    raise UserError(
        f"--max-connections {connections} takes {needed} open files, and this system gives a process {hard} at most: "
        "ask for fewer connections, or have it give more (ulimit -n, LimitNOFILE)"
    )


def room(wanted: int, least: int) -> int:
    """Give `wanted` connections, or as many as the system allows, but `least` at least: that many `enough` refuses."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return wanted if _covers(hard, wanted + BESIDE) else max(least, hard - BESIDE)


def _covers(limit: int, needed: int) -> bool:
    return limit in (-1, resource.RLIM_INFINITY) or limit >= needed
