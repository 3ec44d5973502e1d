"""What a service is told when it starts, and the diary in which it writes what reached it."""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

VARIABLE = "CHAIN"


class Setting(NamedTuple):
    """Where everybody is. Comes as JSON in the environment."""

    mode: str
    """``library``, ``traces`` or ``both``."""
    diaries: str
    front: int
    warehouse: int
    courier: int
    ledger: int
    queue: int
    certificate: str = ""
    """Of the ledger, if it speaks TLS: a file with its key and its certificate."""
    trusted: str = ""
    """Whom its callers trust then: a file with the certificate of an authority."""

    def url(self, port: int) -> str:
        """Where a service of this machine is."""
        return f"http://127.0.0.1:{port}"

    def written(self) -> dict[str, str]:
        """The environment of a service."""
        return {VARIABLE: json.dumps(self._asdict())}

    @classmethod
    def read(cls) -> "Setting":
        """Read it from the environment."""
        return cls(**json.loads(os.environ[VARIABLE]))


_TOKEN = re.compile(r"loadtest=v1\.[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[0-9]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}")

NOBODY = "-"
"""Stands for: no run."""


def mark(headers: Iterable[tuple[str, str]]) -> str:
    """Tell which run the header fields name, as somebody reads them who has no library.

    `NOBODY` if there is no trace of a load tag; ``?...`` if there is one and it is not whole.
    """
    baggage, named = [], []
    for name, value in headers:
        if name.lower() == "baggage":
            baggage += [member.strip() for member in value.split(",") if "loadtest" in member.lower()]
        elif name.lower() == "x-load-test":
            named.append(value)
    if not baggage and not named:
        return NOBODY
    tokens = [_TOKEN.fullmatch(member) for member in baggage]
    if len(tokens) == len(named) == 1 and tokens[0] and tokens[0][1] == named[0]:
        return named[0]
    return f"?{len(baggage)}/{len(named)}"


class Diary:
    """Writes ``station order run-by-the-headers run-by-the-library`` a line, for each that reached a station."""

    def __init__(self, setting: Setting, service: str) -> None:
        # Written at once: what a line tells of has happened, also if the service is killed.
        self._file = Path(setting.diaries, service).open("a", buffering=1)  # noqa: SIM115 - open as long as it serves

    def write(self, station: str, order: str, headers: Iterable[tuple[str, str]], told: str | None) -> None:
        """Note one. `told`: what the library says of it, if it is asked."""
        self._file.write(f"{station} {order} {mark(headers)} {told or NOBODY}\n")
