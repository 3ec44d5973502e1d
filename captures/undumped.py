"""No core dumps of processes that hold keys: what was in memory would lie on a disk, for whoever reads it there."""

import resource


def undumped() -> None:
    """Have this process, and all that it starts from now on, leave no core dump behind.

    One byte and not none: a limit of 0 keeps the kernel from writing a file, but not from giving the dump to a program
    that collects them (core(5), on ``core_pattern`` with a pipe). It gives those nothing at a limit of exactly 1
    (``fs/coredump.c``), and one byte is too little for a file as well.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    most = 1 if hard == resource.RLIM_INFINITY else min(1, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
