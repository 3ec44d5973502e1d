"""Memory that processes of one sidecar share: a file without a name, which they inherit."""

import os
import tempfile


class Inherited:
    """Something in such memory, which a descriptor stands for."""

    def __init__(self, fd: int = -1) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """Give the descriptor that another process has to inherit."""
        return self._fd

    def close(self) -> None:
        """Give the descriptor back. The memory stays for as long as somebody here uses it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def anonymous(name: str) -> int:
    """Open a file in memory; where the system knows no such thing, one on the disk. `name`: for people who look."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
