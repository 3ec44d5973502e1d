"""Who runs this, and where: for the journal and for announcements. Edge: asks the system."""

import getpass
import os
import socket


def person(named: str | None = None) -> str:
    """Give the name that somebody gave, or that of the system's user. A container often has a number only."""
    if named:
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def host() -> str:
    """Give the name of this machine."""
    return socket.gethostname() or "?"
