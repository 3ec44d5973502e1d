"""Who pulled the lever without saying so: the users of this machine who can."""

import os
import pwd


def user(uid: int) -> str:
    """Name root and whom this process runs as; anybody else by number.

    Who else there is, a directory in the network may know, and nobody who stops something waits for that.
    """
    return _KNOWN.get(uid) or f"uid {uid}"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container often runs under a number that has no name
        return ""


_KNOWN = {uid: _name(uid) for uid in {0, os.getuid()}}
