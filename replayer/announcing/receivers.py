"""Whom to tell. Edge: reads a file, and has Apprise look at the URLs, in a process of its own."""

import difflib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr

from rules.exits import UserError

MOST = 20
"""Each receiver has a thread of its own."""

MOST_BYTES = 1 << 16

CHECK_SECONDS = 60.0

_COMMON = (
    *(
        "mailto",
        "mailtos",
        "slack",
        "json",
        "jsons",
        "xml",
        "xmls",
        "msteams",
        "workflows",
        "discord",
        "tgram",
        "webex",
    ),
    *("pagerduty", "opsgenie", "ntfy", "ntfys", "gchat", "mmost", "mmosts", "matrix", "rocket", "sns"),
)


class Receiver(NamedTuple):
    """Somebody to tell."""

    name: str
    """What may be said of it: ``Slack (1)``. The URL may not."""
    url: SecretStr


def receivers(given: Sequence[SecretStr], file: Path | None) -> tuple[Receiver, ...]:
    """Put together whom to tell, and check each. Raises UserError, in which no URL is."""
    urls = [("--announce", number, url) for number, url in enumerate(given, 1)]
    if file is not None:
        urls += [(f"--announce-file {file}, line", number, url) for number, url in _read(file)]
    if not urls:
        return ()
    if len(urls) > MOST:
        raise UserError(
            f"--announce: {len(urls)} receivers are too many, at most {MOST}: a mailing list tells more people"
        )
    names = _names([url.get_secret_value() for _, _, url in urls])
    found = []
    for number, ((where, which, url), name) in enumerate(zip(urls, names, strict=True), 1):
        if name is None:
            raise UserError(_unknown(where, which, url.get_secret_value()))
        found.append(Receiver(f"{name} ({number})", url))
    return tuple(found)


def _read(path: Path) -> list[tuple[int, SecretStr]]:
    try:
        with path.open("rb") as file:
            info = os.fstat(file.fileno())
            if stat.S_ISREG(info.st_mode) and info.st_mode & 0o077:
                mode = f"mode {stat.S_IMODE(info.st_mode):04o}"
                raise UserError(
                    f"--announce-file {path} holds secrets and may be read by others ({mode}): chmod 600 {path}"
                )
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UserError(f"--announce-file {path}: it is larger than {MOST_BYTES >> 10} KiB: is it the file?")
        lines = content.decode().splitlines()
    except OSError as error:
        raise UserError(f"--announce-file {path}: {os.strerror(error.errno or 0)}") from None
    except UnicodeDecodeError:
        raise UserError(f"--announce-file {path}: it is not text in UTF-8") from None
    # A # within a line is part of its URL: slack://.../#channel
    found = [(n, SecretStr(line.strip())) for n, line in enumerate(lines, 1) if line.strip() and line.strip()[0] != "#"]
    if not found:
        raise UserError(f"--announce-file {path} holds no URL: write one a line")
    return found


def _names(urls: Sequence[str]) -> list[str | None]:
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "replayer.announcing.courier", "--check"],
            input=json.dumps(urls),
            capture_output=True,
            text=True,
            check=True,
            timeout=CHECK_SECONDS,
        )
        names: list[str | None] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        # Not the error itself: what ran is no secret, but what it was given is.
        raise UserError(f"--announce: its URLs could not be checked ({type(error).__name__})") from None
    return names


def _unknown(where: str, which: int, url: str) -> str:
    scheme, colon, _ = url.partition("://")
    how = "write it as on https://appriseit.com/services/, like slack://TOKEN_A/TOKEN_B/TOKEN_C/#channel"
    if not colon:
        return f"{where} {which}: it is no URL: {how}"
    near = difflib.get_close_matches(scheme.lower(), _COMMON, 1)
    meant = f" (did you mean {near[0]}://?)" if near and near[0] != scheme else ""
    return f"{where} {which}: Apprise knows no such {scheme[:20]}:// URL{meant}: {how}"
